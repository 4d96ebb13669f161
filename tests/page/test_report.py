"""The report as a file in a real browser: no network, no complaint, and everybody can read it."""

import pytest

from autopeft.report.html import html_page, svg_file
from tests.page.test_accessible import WCAG
from tests.report.studies import alone, whole

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Write a report with all of its sections, one with next to none, and the pictures."""
    folder = tmp_path_factory.mktemp("reports")
    (folder / "whole.html").write_text(html_page(whole()), "utf-8")
    (folder / "alone.html").write_text(html_page(alone()), "utf-8")
    for picture in whole().pictures:
        (folder / f"{picture.name}.svg").write_text(svg_file(picture), "utf-8")
    return folder


@pytest.mark.parametrize("name", ["whole", "alone"])
def test_it_opens_from_a_file_and_asks_nobody(reports, window, name):
    address = (reports / f"{name}.html").as_uri()
    window.page.goto(address)

    assert window.asked == [address]
    assert window.page.locator("h1").inner_text().startswith("Study ")


def test_it_is_read_without_a_script(reports, browser_window):
    with browser_window(java_script_enabled=False) as window:
        window.page.goto((reports / "whole.html").as_uri())
        window.page.locator("summary").first.click()

        assert window.page.locator("details table").first.is_visible()
        assert window.page.locator("svg[role=img]").count() == 6
        assert window.page.locator("figcaption").first.bounding_box()["height"] > 10
        assert window.complaints == []


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("name", ["whole", "alone"])
def test_axe_finds_nothing(reports, browser_window, name, colours):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    with browser_window(color_scheme=colours) as window:
        window.page.goto((reports / f"{name}.html").as_uri())
        window.page.evaluate(
            "document.querySelectorAll('details').forEach((part) => (part.open = true))"
        )
        found = axe.Axe().run(window.page, options=WCAG).response

    told = [
        (rule["id"], node["target"], node.get("failureSummary", "")[:200])
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
    assert told == []
    assert len(found["passes"]) > 15, "axe has looked at something"


def test_a_dark_screen_shows_it_dark(reports, browser_window):
    grounds = {}
    for colours in ("light", "dark"):
        with browser_window(color_scheme=colours) as window:
            window.page.goto((reports / "whole.html").as_uri())
            read = "getComputedStyle(document.querySelector('{}')).{}"
            grounds[colours] = (
                window.page.evaluate(read.format("body", "backgroundColor")),
                window.page.evaluate(read.format("svg path.search", "fill")),
            )

    assert grounds["light"] == ("rgb(244, 246, 249)", "rgb(29, 86, 176)")
    assert grounds["dark"] == ("rgb(15, 20, 27)", "rgb(139, 184, 255)")


@pytest.mark.parametrize("name", ["whole", "alone"])
def test_a_narrow_screen_needs_no_scrolling_sideways(reports, browser_window, name):
    with browser_window(viewport={"width": 320, "height": 800}) as window:
        window.page.goto((reports / f"{name}.html").as_uri())

        assert window.page.evaluate("document.documentElement.scrollWidth") <= 320


def test_pictures_open_alone(reports, window):
    for picture in sorted(reports.glob("*.svg")):
        window.page.goto(picture.as_uri())

        assert window.page.evaluate("document.documentElement.tagName") == "svg"
    assert len(window.asked) == 6
