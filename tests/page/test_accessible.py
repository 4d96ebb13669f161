"""Everybody can use the page: axe finds nothing, in light and dark, wide and narrow."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.slow
PAGES = {
    "jobs": "#/",
    "finished": "#/searches/{finished}",
    "running": "#/searches/{running}",
    "failed": "#/searches/{failed}",
    "submit": "#/submit",
    "compare": "#/compare/{finished}/{second}",
    "datasets": "#/datasets",
    "nowhere": "#/nowhere",
}
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def opened(page, site, name: str) -> None:
    """Open a page and wait for what it loads; all that can be unfolded is unfolded."""
    page.goto(site.url + PAGES[name].format(**site.ids))
    page.get_by_role("heading", level=1).wait_for()
    expect(page.locator(".loading:not(#estimate *)")).to_have_count(0)
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(site, browser_window, name, colours):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    with browser_window(color_scheme=colours, reduced_motion="reduce") as window:
        opened(window.page, site, name)
        found = axe.Axe().run(window.page, options=WCAG).response

    told = [
        (rule["id"], node["target"], node.get("failureSummary", "")[:200])
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
    assert told == []
    assert len(found["passes"]) > 15, "axe has looked at something"


@pytest.mark.parametrize("name", PAGES)
def test_a_narrow_screen_needs_no_scrolling_sideways(site, browser_window, name):
    with browser_window(viewport={"width": 320, "height": 800}) as window:
        opened(window.page, site, name)

        assert window.page.evaluate("document.documentElement.scrollWidth") <= 320


def test_the_skip_link_is_first_and_leads_to_the_content(site, page):
    page.goto(site.url)
    page.get_by_role("heading", name="Searches").wait_for()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.locator("main")).to_be_focused()
    assert page.url.endswith("/")


def test_the_focus_goes_to_the_heading_of_a_page_that_is_opened(site, page):
    page.goto(site.url)
    page.get_by_role("link", name="Data sets").press("Enter")

    expect(page.get_by_role("heading", name="Data sets", level=1)).to_be_focused()


def test_what_has_the_focus_can_be_seen(site, page):
    page.goto(f"{site.url}#/submit")
    page.get_by_label("Budget").focus()
    page.keyboard.press("Tab")

    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_nothing_moves_where_that_is_not_wanted(site, browser_window):
    with browser_window(reduced_motion="reduce") as window:
        window.page.goto(site.url)
        button = window.page.get_by_role("button", name="API key")

        assert button.evaluate("(one) => getComputedStyle(one).transitionDuration") == "0s"


@pytest.mark.parametrize(("verb", "state"), [("Pause", "paused"), ("Cancel", "cancelled")])
def test_a_search_is_halted_with_the_keyboard_alone(fresh, page, verb, state):
    job = fresh.written.submitted()
    page.goto(f"{fresh.url}#/searches/{job.id}")
    page.get_by_role("button", name=verb).wait_for()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == verb:
            break
    page.keyboard.press("Enter")
    if verb == "Cancel":
        page.get_by_role("dialog").wait_for()
        page.keyboard.press("Enter")  # the focus is on the first button

    expect(page.get_by_role("heading", level=1)).to_contain_text(state)
    expect(page.get_by_role("button", name=verb)).to_be_focused()
