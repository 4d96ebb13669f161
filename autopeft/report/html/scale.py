"""Scales and axes of a picture: from what is measured to places on it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from autopeft.report.html.element import Markup, element, joined

_MARGIN = 0.06


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The size of a picture, and where its axes leave room for what is measured."""

    width: float
    height: float
    left: float = 70
    right: float = 22
    top: float = 24
    bottom: float = 46

    @property
    def base(self) -> float:
        """Where the axis below lies."""
        return self.height - self.bottom

    @property
    def end(self) -> float:
        """Where the axis below ends."""
        return self.width - self.right


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A linear map of the values from ``low`` to ``high`` onto places."""

    low: float
    high: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        share = (value - self.low) / (self.high - self.low)
        return self.first + share * (self.last - self.first)

    def ticks(self, most: float) -> tuple[float, ...]:
        """Return round values between the ends, about as many as are wanted.

        Example:
            >>> Scale(low=0.0, high=1.0, first=0, last=1).ticks(5)
            (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
        """
        rough = (self.high - self.low) / max(1.0, most)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return tuple(float(f"{place * step:.12g}") for place in range(first, last + 1))


def ends(values: Iterable[float], least: float | None = None) -> tuple[float, float]:
    """Return the ends of an axis that shows some values, with room around them.

    Example:
        >>> ends([0.5, 0.5])
        (0.47, 0.53)
    """
    found = [*values, *(() if least is None else (least,))] or [0.0, 1.0]
    low, high = min(found), max(found)
    room = _MARGIN * ((high - low) or abs(high) or 1.0)
    return (low - room if least is None or low < least else least), high + room


def across(frame: Frame, scale: Scale, label: str, texts: Iterable[tuple[float, str]]) -> Markup:
    """Draw the axis below, with its grid."""
    base = frame.base
    parts = [
        joined(
            element("line", class_="grid", x1=scale(value), x2=scale(value), y1=frame.top, y2=base),
            element("text", text, x=scale(value), y=base + 17, text_anchor="middle"),
        )
        for value, text in texts
    ]
    middle = (frame.left + frame.end) / 2
    return joined(
        *parts,
        element("line", class_="axis", x1=frame.left, x2=frame.end, y1=base, y2=base),
        element("text", label, class_="label", x=middle, y=frame.height - 8, text_anchor="middle"),
    )


def upwards(frame: Frame, scale: Scale, label: str, texts: Iterable[tuple[float, str]]) -> Markup:
    """Draw the axis on the left, with its grid."""
    parts = [
        joined(
            element(
                "line", class_="grid", x1=frame.left, x2=frame.end, y1=scale(value), y2=scale(value)
            ),
            element("text", text, x=frame.left - 8, y=scale(value) + 4, text_anchor="end"),
        )
        for value, text in texts
    ]
    middle = (frame.top + frame.base) / 2
    turned = f"rotate(-90 14 {middle:g})"
    name = element(
        "text", label, class_="label", x=14, y=middle, text_anchor="middle", transform=turned
    )
    return joined(*parts, name)
