"""The methods: where each can sit, what it costs there, and how it is trained by default.

Costs follow from the backbone's shape alone. ``autopeft/methods`` holds the modules; a property
test holds their number of trained elements against the counts given here.
"""

from collections.abc import Callable
from dataclasses import dataclass

from autopeft.backbone import Backbone
from autopeft.errors import SpaceError
from autopeft.search_spaces.configuration import Configuration, Slot

Cost = Callable[[Backbone, str], tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The learning rates within which a method is searched, and the one it starts from."""

    low: float
    default: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What is known of a method without building it.

    ``size`` says what a size means (``switch``: 1 is on). ``scale`` is the constant factor on the
    method's contribution, independent of the size; None where the method has none. ``identity``
    tells whether a freshly built module leaves the backbone's output as it was.
    """

    name: str
    summary: str
    paper: str
    sites: tuple[str, ...]
    size: str
    identity: bool
    rates: Rates
    cost: Cost
    scale: float | None = None


def _lora(backbone: Backbone, site: str) -> tuple[int, int]:
    linear = backbone.site(site)
    return linear.inputs + linear.outputs, 0


def _serial_adapter(backbone: Backbone, site: str) -> tuple[int, int]:
    width = backbone.site(site).outputs
    return 2 * width + 1, width


def _parallel_adapter(backbone: Backbone, _site: str) -> tuple[int, int]:
    inputs, outputs = backbone.site("ffn.input").inputs, backbone.site("ffn.output").outputs
    return inputs + outputs + 1, outputs


def _prefix(backbone: Backbone, site: str) -> tuple[int, int]:
    attention = backbone.site(site)
    return attention.inputs + attention.outputs, 0


def _bitfit(backbone: Backbone, _site: str) -> tuple[int, int]:
    return sum(site.outputs for site in backbone.sites if site.kind != "attention" and site.bias), 0


LORA_SITES = (
    "attention.query",
    "attention.key",
    "attention.value",
    "attention.output",
    "ffn.input",
    "ffn.output",
)

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="lora",
            summary="a low-rank product added to a frozen matrix",
            paper="Hu et al. 2021, arXiv 2106.09685",
            sites=LORA_SITES,
            size="rank",
            identity=True,
            rates=Rates(low=1e-4, default=1e-3, high=1e-2),
            cost=_lora,
            scale=2.0,
        ),
        Method(
            name="serial_adapter",
            summary="a bottleneck after each sub-layer (Houlsby), or at the last norm (Pfeiffer)",
            paper="Houlsby et al. 2019, arXiv 1902.00751; Pfeiffer et al. 2020, arXiv 2005.00052",
            sites=("attention.output", "ffn.output", "ffn.norm"),
            size="bottleneck width",
            identity=True,
            rates=Rates(low=1e-4, default=1e-3, high=1e-2),
            cost=_serial_adapter,
            scale=1.0,
        ),
        Method(
            name="parallel_adapter",
            summary="a scaled bottleneck beside the feed-forward layer",
            paper="He et al. 2022, arXiv 2110.04366",
            sites=("ffn",),
            size="bottleneck width",
            identity=True,
            rates=Rates(low=1e-4, default=5e-4, high=1e-2),
            cost=_parallel_adapter,
            scale=4.0,
        ),
        Method(
            name="prefix",
            summary="learned keys and values in front of the sequence",
            paper="Li and Liang 2021, arXiv 2101.00190",
            sites=("attention.prefix",),
            size="prefix length",
            identity=False,
            rates=Rates(low=1e-3, default=1e-2, high=1e-1),
            cost=_prefix,
        ),
        Method(
            name="bitfit",
            summary="the biases of a block, trained in place",
            paper="Ben Zaken et al. 2022, arXiv 2106.10199",
            sites=("block",),
            size="switch",
            identity=True,
            rates=Rates(low=1e-4, default=2e-3, high=2e-2),
            cost=_bitfit,
        ),
    )
}


def slots_of(backbone: Backbone) -> tuple[Slot, ...]:
    """List every method at every site that the backbone has: the columns of its configurations."""
    present = {site.name for site in backbone.sites} | {"ffn", "block"}
    return tuple(
        Slot(method=method.name, site=site, unit=cost[0], fixed=cost[1])
        for method in METHODS.values()
        for site in method.sites
        if site in present
        for cost in [method.cost(backbone, site)]
        if cost[0] > 0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A plain configuration that people use today: the same slots in every block.

    ``most`` is the largest size in use; a budget that allows more is not filled.
    """

    name: str
    slots: tuple[str, ...]
    most: int


BASELINES = (
    Pattern(name="plain LoRA", slots=("lora@attention.query", "lora@attention.value"), most=256),
    Pattern(name="serial adapter", slots=("serial_adapter@ffn.norm",), most=512),
    Pattern(name="prefix", slots=("prefix@attention.prefix",), most=200),
)


def fill(
    pattern: Pattern, blocks: int, slots: tuple[Slot, ...], ceiling: int
) -> Configuration | None:
    """Give every cell of a pattern the largest common size that the ceiling allows.

    Returns None where not even size 1 fits.

    Raises:
        SpaceError: A slot of the pattern does not exist on this backbone.
    """
    chosen = [_column(name, slots) for name in pattern.slots]
    fixed = blocks * sum(slots[column].fixed for column in chosen)
    unit = blocks * sum(slots[column].unit for column in chosen)
    size = min(pattern.most, (ceiling - fixed) // unit)
    if size < 1:
        return None
    row = tuple(size if column in chosen else 0 for column in range(len(slots)))
    return Configuration((row,) * blocks)


def _column(name: str, slots: tuple[Slot, ...]) -> int:
    for column, slot in enumerate(slots):
        if slot.name == name:
            return column
    known = ", ".join(slot.name for slot in slots)
    raise SpaceError(f"there is no slot {name!r} on this backbone: there are {known}")
