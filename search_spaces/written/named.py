"""Named configurations: what papers and libraries publish, relative to a backbone's depth.

Each is a YAML file in ``configurations/``. A size is fixed, or ``budget``: then the budget decides
(see ``allocation``). Blocks are a span of each stack's depth, or layer groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import resources

from autopeft.backbone import Backbone
from autopeft.errors import BudgetError, SpaceError
from autopeft.search_spaces.allocation import PATTERNS, Pattern, Unit, fill_rows, groups_of_rows
from autopeft.search_spaces.baselines import columns
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.search_spaces.written.lines import Value, read_lines

_KEYS = {"name", "summary", "paper", "verified", "unverified", "layer_groups", "cells"}
_CELL_KEYS = {"slots", "size", "span", "groups"}
_WHOLE = (Fraction(0), Fraction(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Slots at one size; ``size`` is None where the budget decides.

    ``slots`` are alternatives: the first whose patterns the backbone has is meant. ``span`` is the
    part of every stack's depth, ``groups`` the layer groups, counted from 1; empty for all.
    """

    slots: tuple[tuple[str, ...], ...]
    size: int | None
    span: tuple[Fraction, Fraction] = _WHOLE
    groups: tuple[int, ...] = ()

    def columns(self, slots: tuple[Slot, ...]) -> tuple[int, ...]:
        """Find the columns of the first alternative that the backbone has.

        Raises:
            SpaceError: It has none of them.
        """
        for alternative in self.slots[:-1]:
            try:
                return _columns(alternative, slots)
            except SpaceError:
                continue
        return _columns(self.slots[-1], slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedConfiguration:
    """A published configuration before it is laid over a backbone.

    ``verified`` says what was checked against paper or code, ``unverified`` what was not.
    """

    name: str
    summary: str
    paper: str
    verified: str
    unverified: str
    cells: tuple[Cells, ...]
    count: int = 0
    pattern: Pattern = "uniform"

    @property
    def filled(self) -> bool:
        """Whether sizes follow from the budget."""
        return any(cells.size is None for cells in self.cells)

    def columns(self, slots: tuple[Slot, ...]) -> set[int]:
        """Find the columns that it uses.

        Raises:
            SpaceError: The backbone lacks a slot that it needs.
        """
        return {column for cells in self.cells for column in cells.columns(slots)}

    def slots(self, slots: tuple[Slot, ...]) -> tuple[Slot, ...]:
        """Keep the slots that it uses.

        Raises:
            SpaceError: The backbone lacks a slot that it needs.
        """
        try:
            used = self.columns(slots)
        except SpaceError as error:
            raise SpaceError(
                f"the configuration {self.name!r} does not fit this model: {error}; take another "
                "one ('autopeft spaces published') or another model"
            ) from None
        return tuple(slot for column, slot in enumerate(slots) if column in used)

    def within(
        self, backbone: Backbone, slots: tuple[Slot, ...], ceiling: int | None
    ) -> Configuration:
        """Lay it over a backbone and hold it to a budget, where there is one.

        Raises:
            SpaceError: The backbone lacks a slot, has too few blocks, or a budget is needed and not
                named.
            BudgetError: It trains nothing, or more than the budget allows.
        """
        found = self.on(backbone, slots, ceiling)
        trained = found.parameters(slots)
        if not trained and ceiling is None:
            raise SpaceError(
                f"the configuration {self.name!r} has nothing in any of the "
                f"{backbone.blocks} blocks of this backbone: take a deeper one, or another "
                "configuration"
            )
        if not trained:
            raise BudgetError(
                f"a budget of {ceiling:,} parameters leaves nothing of the configuration "
                f"{self.name!r}: raise it"
            )
        if ceiling is not None and trained > ceiling:
            raise BudgetError(
                f"the configuration {self.name!r} trains {trained:,} parameters "
                f"({trained / backbone.parameters:.4%} of the backbone), and the budget allows "
                f"{ceiling:,}: raise it, or take another configuration"
            )
        return found

    def on(self, backbone: Backbone, slots: tuple[Slot, ...], ceiling: int | None) -> Configuration:
        """Lay it over a backbone; without a ceiling, sizes that follow from one are refused.

        Raises:
            SpaceError: The backbone lacks a slot, or a budget is needed and not named.
        """
        if ceiling is None and self.filled:
            raise SpaceError(
                f"the sizes of the configuration {self.name!r} follow from the budget: name one"
            )
        table = [[0] * len(slots) for _ in range(backbone.blocks)]
        groups = groups_of_rows(self.pattern, backbone, self.count) if self.count else ()
        units = []
        for cells in self.cells:
            found = cells.columns(slots)
            for row in _rows(cells, backbone, groups):
                here = tuple(column for column in found if slots[column].has(row))
                if cells.size is None and here:
                    units.append(Unit(row, here))
                for column in here:
                    most = slots[column].most
                    table[row][column] = min(cells.size or 0, most or cells.size or 0)
        if ceiling is not None and units:
            fill_rows(table, units, slots, [1] * backbone.blocks, ceiling)
        return Configuration(tuple(map(tuple, table)))


@cache
def named_configurations() -> tuple[NamedConfiguration, ...]:
    """Read the published configurations, by name."""
    folder = resources.files("autopeft.search_spaces").joinpath("configurations")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return tuple(parse_configuration(file.read_text("utf-8"), file.name) for file in files)


def names() -> tuple[str, ...]:
    """List the names of the published configurations."""
    return tuple(configuration.name for configuration in named_configurations())


def named_configuration(name: str) -> NamedConfiguration:
    """Find a published configuration.

    Raises:
        SpaceError: There is none of this name.
    """
    for configuration in named_configurations():
        if configuration.name == name:
            return configuration
    raise SpaceError(f"there is no named configuration {name!r}: there are {', '.join(names())}")


def parse_configuration(text: str, file: str) -> NamedConfiguration:
    """Read a named configuration from YAML.

    Raises:
        SpaceError: The text is no YAML, or a key is missing, unknown or of the wrong kind.
    """
    whole = read_lines(text, file)
    document = whole.mapping("a configuration", _KEYS)
    if "cells" not in document:
        raise whole.wrong("a configuration must have 'cells', a list such as [{slots, size}]")
    words = {key: document[key].text(f"{key!r}") if key in document else ""
             for key in ("name", "summary", "paper", "verified", "unverified")}  # fmt: skip
    count, pattern = _layer_groups(document.get("layer_groups"))
    cells = document["cells"].items("'cells'", "[{slots: [lora@attention.query], size: 8}]")
    return NamedConfiguration(
        **words,
        cells=tuple(_cells(cell, count) for cell in cells),
        count=count,
        pattern=pattern,
    )


def _layer_groups(value: Value | None) -> tuple[int, Pattern]:
    if value is None:
        return 0, "uniform"
    entry = value.mapping("'layer_groups'", {"count", "pattern"})
    count = entry["count"].number() if "count" in entry else None
    if not count or "pattern" not in entry:
        raise value.wrong("'layer_groups' must have 'count', above 0, and 'pattern'")
    return count, entry["pattern"].one_of("'pattern'", PATTERNS)  # type: ignore[return-value]


def _cells(value: Value, count: int) -> Cells:
    entry = value.mapping("an entry of 'cells'", _CELL_KEYS)
    if "slots" not in entry or "size" not in entry:
        raise value.wrong("an entry of 'cells' must have 'slots' and 'size'")
    size = None if entry["size"].data == "budget" else entry["size"].number()
    if size == 0 or (size is None and entry["size"].data != "budget"):
        raise entry["size"].wrong("'size' must be a whole number above 0, or budget")
    return Cells(
        slots=entry["slots"].alternatives(),
        size=size,
        span=_span(entry["span"]) if "span" in entry else _WHOLE,
        groups=_groups(entry["groups"], count) if "groups" in entry else (),
    )


def _span(value: Value) -> tuple[Fraction, Fraction]:
    shares = [share.share("an end of 'span'") for share in value.items("'span'", "[1/2, 1]")]
    if len(shares) != 2 or shares[0] >= shares[1]:
        raise value.wrong("'span' must be two shares of the depth, the smaller first")
    return shares[0], shares[1]


def _groups(value: Value, count: int) -> tuple[int, ...]:
    numbers = [n.number() or 0 for n in value.items("'groups'", "[1, 2]")]
    if not all(1 <= number <= count for number in numbers):
        raise value.wrong(f"'groups' must be numbers of layer groups, from 1 to {count}")
    return tuple(numbers)


def _columns(patterns: Sequence[str], slots: tuple[Slot, ...]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(c for pattern in patterns for c in columns(pattern, slots)))


def _rows(cells: Cells, backbone: Backbone, groups: tuple[int, ...]) -> list[int]:
    low, high = cells.span
    return [
        stack.first + number
        for stack in backbone.stacks
        for number in range(stack.blocks)
        if low * stack.blocks <= number < high * stack.blocks
        if not cells.groups or groups[stack.first + number] + 1 in cells.groups
    ]
