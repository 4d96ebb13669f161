"""What one adapter of the `peft` library holds, and the cells of a plan that it comes from.

Axes: I inputs, O outputs of the whole matrix, R rank.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from autopeft.backbone import Site
from autopeft.plan import Plan
from autopeft.search_spaces.configuration import Slot

Kind = Literal[
    "LORA", "IA3", "LOHA", "LN_TUNING", "PROMPT_TUNING", "PREFIX_TUNING", "ADAPTION_PROMPT"
]
Values = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A low-rank product on a whole matrix: ``scale · upᵀ · down`` is added to its weight.

    ``magnitude`` are DoRA's row norms by the first row that they are for; empty for LoRA.
    """

    down_RI: Tensor
    up_RO: Tensor
    scale: float
    magnitude: Mapping[int, Tensor] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """The rank."""
        return len(self.down_RI)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescaling:
    """IA3's factors on a matrix: on its inputs, or on its outputs."""

    factors: Tensor
    of_inputs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """What one adapter of the library holds, by the path of the module in the backbone.

    ``biases`` are whole biases, ``copies`` parameters of modules that are saved whole, by path and
    name. ``hadamard`` are LoHa's four factors and their scale. ``learned`` are prompts and
    prefixes by block, and the only ones here that have no path.
    """

    kind: Kind
    products: Mapping[str, Product] = field(default_factory=dict)
    rescalings: Mapping[str, Rescaling] = field(default_factory=dict)
    hadamard: Mapping[str, tuple[Values, float]] = field(default_factory=dict)
    biases: Mapping[str, Tensor] = field(default_factory=dict)
    copies: Mapping[str, Values] = field(default_factory=dict)
    learned: Mapping[int, Values] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One filled cell of a plan's table, with the site that it is at."""

    block: int
    slot: Slot
    size: int
    site: Site

    def __str__(self) -> str:
        return f"{self.slot.name} in block {self.block}"


def cells_of(plan: Plan) -> Iterator[Cell]:
    """Yield the cells of a plan that are not empty."""
    for block, row in enumerate(plan.configuration.sizes):
        for slot, size in zip(plan.slots, row, strict=True):
            if size:
                site = plan.backbone.site(slot.site)
                yield Cell(block=block, slot=slot, size=size, site=site)
