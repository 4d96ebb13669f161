"""Pictures as PNG, drawn by matplotlib, which is an extra."""

import importlib.util
import io
from typing import TYPE_CHECKING, assert_never

from autopeft.errors import OptionError
from autopeft.report.content import Bars, HeatMap, Line, Picture, Scatter
from autopeft.report.html.picture import heat
from autopeft.report.html.style import colour
from autopeft.report.writing import PURPOSES
from autopeft.trial import Purpose

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI = 150
_FORMS = {Purpose.BASELINE: ("s", "warn"), Purpose.SEARCH: ("o", "accent"),
          Purpose.FINAL: ("^", "muted")}  # fmt: skip


def available() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def png(picture: Picture) -> bytes:
    """Return a picture as the content of a PNG file.

    Raises:
        OptionError: matplotlib is not installed.
    """
    if not available():
        raise OptionError(
            "PNG files are drawn by matplotlib, which is not installed: pip install "
            "'autopeft[report]', or use the SVG files"
        )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_inches(picture), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    match picture:
        case Scatter():
            _scatter(axes, picture)
        case HeatMap():
            _heat_map(axes, picture)
        case Bars():
            _bars(axes, picture)
        case _:
            assert_never(picture)
    axes.set_title(picture.title, fontsize=10, parse_math=False)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI)
    return content.getvalue()


def _inches(picture: Picture) -> tuple[float, float]:
    match picture:
        case Scatter():
            return 6.0, 4.0
        case HeatMap():
            return 2.5 + 0.4 * len(picture.columns), 2.5 + 0.26 * len(picture.sizes)
        case Bars():
            return 6.5, 1.4 + 0.32 * len(picture.bars)
        case _:
            assert_never(picture)


def _scatter(axes: "Axes", picture: Scatter) -> None:
    for line in picture.lines:
        _line(axes, line)
    for point in sorted(picture.points, key=lambda point: point.marked):
        marker, name = _FORMS[point.kind]
        face = colour(name) if point.whole else colour("card")
        edge = colour("text") if point.marked else colour(name)
        axes.scatter([point.x], [point.y], marker=marker, s=36, color=[face], edgecolors=[edge])
    if picture.limit:
        value, name = picture.limit
        axes.axvline(value, color=colour("bad"), linestyle="--", label=name)
    for kind in dict.fromkeys(point.kind for point in picture.points):
        marker, shade = _FORMS[kind]
        axes.scatter([], [], marker=marker, s=36, color=[colour(shade)], label=PURPOSES[kind])
    axes.legend(fontsize=8)
    axes.set_xlabel(picture.x.label)
    axes.set_ylabel(picture.y.label)
    if picture.x.least is not None:
        axes.set_xlim(left=picture.x.least)


def _line(axes: "Axes", line: Line) -> None:
    shade = colour("accent" if line.kind == "front" else "good")
    axes.step(*zip(*line.points, strict=True), where="post", color=shade, zorder=0, label=line.name)


def _heat_map(axes: "Axes", picture: HeatMap) -> None:
    rows = enumerate(picture.sizes)
    shades = ["raised", "heat1", "heat2", "heat3", "heat4", "heat5"]
    for block, row in rows:
        for column, size in enumerate(row):
            level = heat(size, picture.largest[column])
            axes.bar(column, 0.9, width=0.9, bottom=block - 0.45, color=colour(shades[level]))
            if size:
                ink = colour("text" if level < 4 else "on4")
                axes.text(column, block, str(size), ha="center", va="center", color=ink, fontsize=8)
    axes.set_xticks(range(len(picture.columns)), picture.columns, rotation=50, ha="left")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(picture.sizes)))
    axes.set_ylabel("block")
    axes.invert_yaxis()


def _bars(axes: "Axes", picture: Bars) -> None:
    for row, bar in enumerate(picture.bars):
        axes.plot([bar.low, bar.high], [row, row], color=colour("heat3"), linewidth=5)
        axes.plot([bar.value], [row], "o", color=colour("accent"))
    if picture.line:
        axes.axvline(picture.line[0], color=colour("bad"), linestyle="--")
    axes.set_yticks(range(len(picture.bars)), [bar.label for bar in picture.bars])
    axes.set_xlabel(picture.axis.label)
    axes.invert_yaxis()
