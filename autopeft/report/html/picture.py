"""Pictures as SVG: each with a title and a description, and readable without a script."""

import math
from typing import assert_never

from autopeft.report.content import Bars, HeatMap, Line, Picture, Point, Scatter
from autopeft.report.html.element import Markup, element, joined
from autopeft.report.html.scale import Frame, Scale, across, ends, upwards
from autopeft.report.html.style import picture_style
from autopeft.trial import Purpose

_HEADER = '<?xml version="1.0" encoding="UTF-8"?>\n'
_LETTER = 6.7
_LEVELS = 5
_CELL = (36.0, 23.0)
_BAR = 28.0


def svg_file(picture: Picture) -> str:
    """Return a picture as a file of its own, with its style."""
    return f"{_HEADER}{_svg(picture, alone=True)}\n"


def svg(picture: Picture) -> Markup:
    """Return a picture as an element of a page, whose style it takes."""
    return _svg(picture, alone=False)


def _svg(picture: Picture, *, alone: bool) -> Markup:
    match picture:
        case Scatter():
            width, height, drawn = _scatter(picture)
        case HeatMap():
            width, height, drawn = _heat_map(picture)
        case Bars():
            width, height, drawn = _bars(picture)
        case _:
            assert_never(picture)
    title, text = f"{picture.name}-title", f"{picture.name}-text"
    styled = (
        (
            element("style", picture_style()),
            element("rect", class_="ground", width=width, height=height),
        )
        if alone
        else ()
    )
    return element(
        "svg",
        element("title", picture.title, id=title),
        element("desc", picture.text, id=text),
        *styled,
        element("g", drawn, aria_hidden="true"),
        **{"xmlns": "http://www.w3.org/2000/svg"} if alone else {},
        role="img",
        aria_labelledby=f"{title} {text}",
        width=math.ceil(width),
        height=math.ceil(height),
        viewBox=f"0 0 {math.ceil(width)} {math.ceil(height)}",
    )


def _scatter(picture: Scatter) -> tuple[float, float, Markup]:
    frame = Frame(width=520, height=330)
    steps = [point for line in picture.lines for point in line.points]
    limits = [picture.limit[0]] if picture.limit else []
    low, high = ends([*(p.x for p in picture.points), *(x for x, _ in steps), *limits],
                     picture.x.least)  # fmt: skip
    x = Scale(low=low, high=high, first=frame.left, last=frame.end)
    low, high = ends([*(p.y for p in picture.points), *(y for _, y in steps)], picture.y.least)
    y = Scale(low=low, high=high, first=frame.base, last=frame.top)
    parts = [
        across(frame, x, picture.x.label, [(v, picture.x.write(v)) for v in x.ticks(5)]),
        upwards(frame, y, picture.y.label, [(v, picture.y.write(v)) for v in y.ticks(5)]),
        *(_line(line, x, y, picture.limit[0] if picture.limit else None) for line in picture.lines),
    ]
    if picture.limit:
        parts.append(_limit(frame, x(picture.limit[0]), picture.limit[1]))
    drawn = sorted(picture.points, key=lambda point: point.marked)  # on top, where they can be seen
    parts += [_point(point, x(point.x), y(point.y)) for point in drawn]
    return frame.width, frame.height, joined(*parts)


def _line(line: Line, x: Scale, y: Scale, limit: float | None) -> Markup:
    first, *rest = line.points
    path = f"M{x(first[0]):.1f} {y(first[1]):.1f}"
    path += "".join(f"H{x(across):.1f}V{y(up):.1f}" for across, up in rest)
    if limit is not None:
        path += f"H{x(limit):.1f}"
    return element("path", class_=line.kind, d=path)


def _limit(frame: Frame, place: float, name: str) -> Markup:
    line = element("line", class_="limit", x1=place, x2=place, y1=frame.top, y2=frame.base)
    note = element("text", name, class_="note", x=min(place, frame.width - 4), y=frame.top - 7,
                   text_anchor="middle" if place < frame.end - 40 else "end")  # fmt: skip
    return joined(line, note)


def shape(kind: Purpose, x: float, y: float) -> str:
    """Return the path of a point; its form tells what it is, not its colour alone."""
    match kind:
        case Purpose.BASELINE:
            return f"M{x - 5:.1f} {y - 5:.1f}h10v10h-10z"
        case Purpose.SEARCH:
            return f"M{x - 4.5:.1f} {y:.1f}a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z"
        case Purpose.FINAL:
            return f"M{x:.1f} {y - 6:.1f}l6 10h-12z"
        case _:
            assert_never(kind)


def classes(kind: Purpose, *, whole: bool = True, marked: bool = False) -> str:
    """Name how a point is drawn."""
    words = ("point", kind.value, "" if whole else "part", "marked" if marked else "")
    return " ".join(filter(None, words))


def _point(point: Point, x: float, y: float) -> Markup:
    how = classes(point.kind, whole=point.whole, marked=point.marked)
    return element("path", element("title", point.tip), class_=how, d=shape(point.kind, x, y))


def _heat_map(picture: HeatMap) -> tuple[float, float, Markup]:
    wide, high = _CELL
    longest = max(map(len, picture.columns)) * _LETTER
    left, top = 56.0, 18 + longest * 0.78
    heads = []
    for column, name in enumerate(picture.columns):
        x, y = left + column * wide + wide / 2 + 2, top - 8
        turned = f"rotate(-50 {x:g} {y:g})"
        heads.append(element("text", name, class_="small", x=x, y=y, transform=turned))
    rows = [
        joined(
            element("text", str(block), class_="small", x=left - 8, y=top + block * high + 15,
                    text_anchor="end"),
            *(
                _cell(picture, block, column, left + column * wide, top + block * high)
                for column, _ in enumerate(row)
            ),
        )
        for block, row in enumerate(picture.sizes)
    ]  # fmt: skip
    head = element("text", "block", class_="small", x=left - 8, y=top - 8, text_anchor="end")
    width = left + len(picture.columns) * wide + longest * 0.7
    return width, top + len(picture.sizes) * high + 6, joined(head, *heads, *rows)


def _cell(picture: HeatMap, block: int, column: int, x: float, y: float) -> Markup:
    (wide, high), size = _CELL, picture.sizes[block][column]
    level = heat(size, picture.largest[column])
    tip = element("title", f"block {block}, {picture.columns[column]}: {size or 'nothing'}")
    cell = element("rect", tip, class_=f"heat{level}", x=x, y=y, width=wide - 2, height=high - 2,
                   rx=3)  # fmt: skip
    if not size:
        return cell
    text = element("text", str(size), class_=f"small on{level}", x=x + wide / 2 - 1, y=y + 15,
                   text_anchor="middle")  # fmt: skip
    return joined(cell, text)


def heat(size: int, largest: int) -> int:
    """Return how dark a size is, from 0 for nothing to 5."""
    return max(1, math.ceil(_LEVELS * size / largest)) if size else 0


def _bars(picture: Bars) -> tuple[float, float, Markup]:
    longest = max(len(bar.label) for bar in picture.bars) * _LETTER
    left = min(longest, 250) + 16
    frame = Frame(width=left + 390, height=24 + len(picture.bars) * _BAR + 46, left=left)
    values = [end for bar in picture.bars for end in (bar.low, bar.value, bar.high)]
    marks = [picture.line[0]] if picture.line else []
    low, high = ends([*values, *marks], picture.axis.least)
    x = Scale(low=low, high=high, first=frame.left, last=frame.end)
    axis = picture.axis
    parts = [across(frame, x, axis.label, [(v, axis.write(v)) for v in x.ticks(5)])]
    if picture.line:
        parts.append(_limit(frame, x(picture.line[0]), picture.line[1]))
    for row, bar in enumerate(picture.bars):
        y = frame.top + (row + 0.5) * _BAR
        tip = element("title", f"{bar.label}: {bar.value:.3f} [{bar.low:.3f}, {bar.high:.3f}]")
        parts += [
            element("text", _cut(bar.label), class_="label", x=left - 10, y=y + 4,
                    text_anchor="end"),
            element("line", tip, class_="reach", x1=x(bar.low), x2=x(bar.high), y1=y, y2=y),
            element("circle", class_="middle", cx=x(bar.value), cy=y, r=5),
        ]  # fmt: skip
    return frame.width, frame.height, joined(*parts)


def _cut(label: str) -> str:
    most = int(250 / _LETTER)
    return label if len(label) <= most else f"{label[: most - 1]}…"
