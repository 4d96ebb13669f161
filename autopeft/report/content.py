"""What a report says, before it is written: sections of texts, tables and pictures.

Whoever writes it (`markdown`, `html`) decides how it looks, and nothing of what it says. In texts
`code` and **weight** are marked as in Markdown; cells of tables may hold `code` too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from autopeft.trial import Purpose

Write = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that went wrong, or that a reader might miss."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; its first column names the rows. ``folded`` ones may be shown on demand only."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """Lines that were too long for a table."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One direction of a chart; ``least`` is where it begins if that is not left to the values."""

    label: str
    write: Write
    least: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A trial in a chart: ``marked`` if it stands out, not ``whole`` where its training was cut."""

    x: float
    y: float
    kind: Purpose
    tip: str
    marked: bool = False
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of steps, from left to right."""

    kind: Literal["front", "best"]
    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Points and lines between two axes; ``limit`` is an upright line with its name.

    ``name`` is that of its file, ``text`` says in words what is to be seen.
    """

    name: str
    title: str
    text: str
    x: Axis
    y: Axis
    points: tuple[Point, ...] = ()
    lines: tuple[Line, ...] = ()
    limit: tuple[float, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """Sizes, blocks by slots; sizes of two methods mean two things, so each has its own scale.

    ``largest`` are those of each column's method.
    """

    name: str
    title: str
    text: str
    columns: tuple[str, ...]
    largest: tuple[int, ...]
    sizes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A value with the ends of its interval."""

    label: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Values with intervals below one another; ``line`` is a value that all are held against."""

    name: str
    title: str
    text: str
    axis: Axis
    bars: tuple[Bar, ...]
    line: tuple[float, str] | None = None


Picture = Scatter | HeatMap | Bars
Part = Text | Warned | Table | Details | Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with what stands below it."""

    heading: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A whole report: the answer in a sentence, the verdict, what went wrong, and the sections."""

    title: str
    sentence: str
    verdict: Text
    warnings: tuple[Warned, ...]
    sections: tuple[Section, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures, in their order."""
        parts = [part for section in self.sections for part in section.parts]
        return tuple(part for part in parts if isinstance(part, Scatter | HeatMap | Bars))
