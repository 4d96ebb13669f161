"""The entries of a search space in YAML, as records that are right in themselves."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from autopeft.search_spaces.allocation import Pattern

Tie = Literal["none", "slots", "blocks", "all", "layer_groups"]
TIES: dict[Tie, str] = {
    "none": "a size for every slot in every block",
    "slots": "in every block one size for all slots of the group",
    "blocks": "for every slot one size for all blocks",
    "all": "one size for all slots and blocks",
    "layer_groups": "for every layer group one size for all slots and its blocks",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Slots that take the same sizes.

    ``slots`` are alternatives: the first whose patterns the backbone has is meant. ``sizes`` are
    numbers; None for ``halvings`` of the width, the width divided by 1, 2, 4 and so on. Where
    ``filled``, the budget decides. ``depths`` are shares of a stack's blocks, of which the group
    can be in the first ones only; ``last``, of which it can be in the last ones only.
    ``follows`` are patterns of slots: a slot of the group is then on where one of them is on at the
    same site. ``where`` is the place in the file.
    """

    name: str
    where: str
    slots: tuple[tuple[str, ...], ...]
    sizes: tuple[int, ...] | None = None
    halvings: int = 0
    filled: bool = False
    tie: Tie = "none"
    depths: tuple[Fraction, ...] = ()
    last: tuple[Fraction, ...] = ()
    optional: bool = False
    follows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGroups:
    """Into how many consecutive groups the blocks of a stack are divided, and by which patterns."""

    count: int
    patterns: tuple[Pattern, ...]
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOf:
    """Groups of which only one can be there: in the whole model, or in each block."""

    groups: tuple[str, ...]
    tie: Literal["none", "blocks"]
    where: str
