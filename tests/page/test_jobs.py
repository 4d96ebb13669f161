"""The list of searches."""

import pytest
from playwright.sync_api import expect

from tests.page.sites import PATIENCE

pytestmark = pytest.mark.slow


def states(page) -> list[str]:
    return page.locator("tbody .badge").all_inner_texts()


def test_all_searches_are_listed_the_newest_first(site, page):
    page.goto(site.url)

    expect(page.locator("tbody tr")).to_have_count(len(site.ids))
    assert states(page) == [
        "checking", "running", "cancelled", "paused", "done", "done", "failed",
    ]  # fmt: skip
    assert page.title() == "Searches · autopeft"


@pytest.mark.parametrize(
    ("choice", "shown"),
    [
        ("failed", ["failed"]),
        ("done", ["done", "done"]),
        ("going on", ["checking", "running"]),
        ("ended", ["cancelled", "done", "done", "failed"]),
    ],
)
def test_the_filter_keeps_what_is_in_a_state(site, page, choice, shown):
    page.goto(site.url)
    page.get_by_label("State").select_option(label=choice)

    expect(page.locator("tbody tr")).to_have_count(len(shown))
    assert states(page) == shown


def test_a_state_without_a_search_says_so(site, page):
    page.goto(site.url)
    page.get_by_label("State").select_option(label="pausing")

    expect(page.get_by_text("No search is in that state.")).to_be_visible()


def test_an_empty_service_leads_to_the_form(fresh, page):
    page.goto(fresh.url)
    page.get_by_role("link", name="Start the first one").click()

    expect(page.get_by_role("heading", name="New search")).to_be_focused()


def test_what_is_submitted_elsewhere_appears_and_older_ones_come_on_demand(fresh, page):
    for _ in range(25):
        fresh.written.submitted()
    page.goto(fresh.url)

    expect(page.locator("tbody tr")).to_have_count(20)
    page.get_by_role("button", name="Show older ones").click()
    expect(page.locator("tbody tr")).to_have_count(25)

    fresh.written.submitted(budget="7%")
    expect(page.get_by_role("link", name="at 7%")).to_be_visible(timeout=PATIENCE)


def test_how_far_a_search_is_stands_in_its_row(site, page):
    page.goto(site.url)
    row = page.get_by_role("row").filter(has_text="running")

    expect(row).to_contain_text("14 of 36")
    expect(row.get_by_role("progressbar")).to_have_attribute("value", "14")
