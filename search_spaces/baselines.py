"""Plain configurations that people use today: the bar that a search is held against."""

from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from autopeft.errors import SpaceError
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Configuration, Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """The same slots in every block that can hold them.

    ``most`` is the largest size in use; a budget that allows more is not filled. ``instead`` is
    what is meant on backbones that have not all of ``slots``.
    """

    name: str
    slots: tuple[str, ...]
    most: int
    instead: tuple[str, ...] = ()

    def columns(self, slots: tuple[Slot, ...]) -> set[int]:
        """Find the columns that it means.

        Raises:
            SpaceError: The backbone has neither its slots nor those that stand in for them.
        """
        try:
            return {column for name in self.slots for column in columns(name, slots)}
        except SpaceError:
            if not self.instead:
                raise
            return {column for name in self.instead for column in columns(name, slots)}


BASELINES = (
    Pattern(name="plain LoRA", slots=("lora@attention.query", "lora@attention.value"), most=256),
    Pattern(
        name="serial adapter",
        slots=("serial_adapter@ffn.norm",),
        most=512,
        instead=("serial_adapter@ffn.output",),  # where a norm opens the sub-layer
    ),
    Pattern(name="prefix", slots=("prefix@attention",), most=200),
)


def columns(pattern: str, slots: tuple[Slot, ...]) -> list[int]:
    """Find the columns that a pattern names, such as ``lora@*`` or ``lora@decoder.cross.query``.

    A site may be written without its stack, and then means that place in every stack.

    Raises:
        SpaceError: There is no such slot on this backbone.
    """
    found = [
        column
        for column, slot in enumerate(slots)
        if fnmatchcase(slot.name, pattern) or fnmatchcase(f"{slot.method}@{slot.place}", pattern)
    ]
    if not found:
        raise SpaceError(
            f"there is no slot {pattern!r} on this backbone: {_instead(pattern, slots)}"
        )
    return found


def _instead(pattern: str, slots: tuple[Slot, ...]) -> str:
    """Say why a pattern finds nothing, and what is there."""
    method = pattern.partition("@")[0]
    if not any(fnmatchcase(name, method) for name in METHODS):
        close = get_close_matches(method, METHODS, 1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        return f"there is no method {method!r}; {meant}'autopeft methods' lists them"
    sites = dict.fromkeys(slot.site for slot in slots if fnmatchcase(slot.method, method))
    if not sites:
        return f"the method {method!r} has no place in it; 'autopeft methods' says what it needs"
    return f"the sites of {method!r} here are {', '.join(sites)}"


def fill(
    pattern: Pattern, blocks: int, slots: tuple[Slot, ...], ceiling: int
) -> Configuration | None:
    """Give every cell of a pattern the largest common size that the ceiling allows.

    Returns None where not even size 1 fits.

    Raises:
        SpaceError: A slot of the pattern does not exist on this backbone.
    """
    chosen = pattern.columns(slots)
    low, high = 0, min([pattern.most, *(slots[c].most or pattern.most for c in chosen)])
    while low < high:
        size = (low + high + 1) // 2
        if _table(chosen, blocks, slots, size).parameters(slots) <= ceiling:
            low = size
        else:
            high = size - 1
    return _table(chosen, blocks, slots, low) if low else None


def _table(chosen: set[int], blocks: int, slots: tuple[Slot, ...], size: int) -> Configuration:
    return Configuration(
        tuple(
            tuple(
                size if column in chosen and slot.has(block) else 0
                for column, slot in enumerate(slots)
            )
            for block in range(blocks)
        )
    )
