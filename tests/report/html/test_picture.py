"""Pictures as SVG."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings

from autopeft.report.content import Axis, Bar, Bars, HeatMap, Line, Point, Scatter
from autopeft.report.html import svg_file
from autopeft.report.html.picture import heat, svg
from autopeft.report.writing import brief
from autopeft.trial import Purpose
from tests.report.html.test_element import ANY
from tests.report.studies import whole

SVG = "{http://www.w3.org/2000/svg}"
AXIS = Axis(label="x", write=brief)
SCATTER = Scatter(
    name="front", title="accuracy against parameters", text="two trials", x=AXIS, y=AXIS,
    points=(
        Point(x=10, y=0.5, kind=Purpose.BASELINE, tip="a"),
        Point(x=20, y=0.9, kind=Purpose.SEARCH, tip="b", marked=True, whole=False),
    ),
    lines=(Line(kind="front", name="front", points=((10, 0.5), (20, 0.9))),),
    limit=(30.0, "budget"),
)  # fmt: skip
MAP = HeatMap(
    name="map", title="sizes", text="t", columns=("lora@a", "lora@b", "ia3@a"),
    largest=(8, 8, 1), sizes=((8, 1, 0), (0, 4, 1)),
)  # fmt: skip
BARS = Bars(
    name="bars", title="worth", text="t", axis=AXIS, line=(0.0, "nothing"),
    bars=(Bar(label="lora", value=0.1, low=0.0, high=0.2),),
)  # fmt: skip


def read(picture) -> ElementTree.Element:
    return ElementTree.fromstring(svg_file(picture).encode())


@pytest.mark.parametrize("picture", whole().pictures, ids=lambda picture: picture.name)
def test_a_file_stands_alone_with_title_description_and_style(picture):
    root = read(picture)

    assert root.tag == f"{SVG}svg"
    assert root.find(f"{SVG}title").text == picture.title
    assert root.find(f"{SVG}desc").text == picture.text
    style = root.find(f"{SVG}style").text
    assert "var(" not in style
    assert "prefers-color-scheme: dark" in style
    assert f'aria-labelledby="{picture.name}-title {picture.name}-text"' in svg(picture)


def test_points_differ_in_form_and_say_what_they_are():
    points = [p for p in read(SCATTER).iter(f"{SVG}path") if p.find(f"{SVG}title") is not None]

    assert [p.get("class") for p in points] == ["point baseline", "point search part marked"]
    assert [p.find(f"{SVG}title").text for p in points] == ["a", "b"]
    assert len({p.get("d").split()[-1] for p in points}) == 2


def test_the_front_goes_on_to_the_budget():
    line = next(p for p in read(SCATTER).iter(f"{SVG}path") if p.get("class") == "front")
    limit = next(p for p in read(SCATTER).iter(f"{SVG}line") if p.get("class") == "limit")

    assert line.get("d").count("V") == 1
    assert float(line.get("d").rpartition("H")[2]) == pytest.approx(float(limit.get("x1")), abs=0.1)


def test_a_map_shows_sizes_and_is_dark_where_they_are_large_for_their_method():
    rects = [r for r in read(MAP).iter(f"{SVG}rect") if len(r)]
    cells = [(r.get("class"), r.find(f"{SVG}title").text) for r in rects]

    assert cells == [
        ("heat5", "block 0, lora@a: 8"), ("heat1", "block 0, lora@b: 1"),
        ("heat0", "block 0, ia3@a: nothing"), ("heat0", "block 1, lora@a: nothing"),
        ("heat3", "block 1, lora@b: 4"), ("heat5", "block 1, ia3@a: 1"),
    ]  # fmt: skip
    assert [heat(size, 10) for size in (0, 1, 2, 3, 9, 10)] == [0, 1, 1, 2, 5, 5]


def test_an_interval_is_drawn_from_its_lower_to_its_upper_end():
    root = read(BARS)
    reach = next(p for p in root.iter(f"{SVG}line") if p.get("class") == "reach")
    middle = next(root.iter(f"{SVG}circle"))
    limit = next(p for p in root.iter(f"{SVG}line") if p.get("class") == "limit")

    assert float(reach.get("x1")) == float(limit.get("x1")) < float(middle.get("cx"))
    assert 2 * float(middle.get("cx")) == pytest.approx(
        float(reach.get("x1")) + float(reach.get("x2")), abs=0.1
    )


@settings(max_examples=40, deadline=None)
@given(ANY)
def test_whatever_a_name_holds_the_file_is_well_formed(name):
    bar = replace(BARS.bars[0], label=name)
    for picture in (
        replace(SCATTER, title=name, text=name, points=(replace(SCATTER.points[0], tip=name),)),
        replace(BARS, bars=(bar,)),
        replace(MAP, columns=(name, "b", "c")),
    ):
        assert read(picture).tag == f"{SVG}svg"
