"""Two searches side by side."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def cells(page, caption: str, name: str) -> list[str]:
    table = page.get_by_role("table", name=caption)
    row = table.get_by_role("row", name=re.compile(f"^{name}"))
    return row.locator("td").all_inner_texts()


def test_two_searches_are_chosen_and_shown_side_by_side(site, page):
    page.goto(f"{site.url}#/compare")
    expect(page.get_by_text("Choose two searches")).to_be_visible()
    page.get_by_label("First").select_option(site.ids["finished"])
    page.get_by_label("Second").select_option(site.ids["second"])

    expect(page.get_by_text("Verdict: better.")).to_have_count(2)
    jobs = [site.written.service.jobs.job(site.ids[name]) for name in ("finished", "second")]
    scores = [job.result["answer"]["searched"]["score"]["mean"] for job in jobs]
    shown = cells(page, "What they have found", "Score of the plan")
    assert [float(text.split()[0]) for text in shown] == pytest.approx(scores, abs=1e-3)


def test_what_was_asked_differently_is_marked(site, page):
    page.goto(f"{site.url}#/compare/{site.ids['finished']}/{site.ids['second']}")

    expect(page.get_by_role("row", name="Seed differs")).to_be_visible()
    assert cells(page, "What they were asked", "Seed") == ["0", "5"]
    marked = page.locator("tr.differs th").all_inner_texts()
    assert marked == ["Seed differs", "Labels differs"]


def test_both_fronts_are_in_one_plot(site, page):
    page.goto(f"{site.url}#/compare/{site.ids['finished']}/{site.ids['second']}")
    picture = page.get_by_role("img", name="of both searches")

    expect(picture.locator("path.front")).to_have_count(2)
    expect(picture.locator("line.budget")).to_have_count(2)


def test_scores_of_two_data_sets_are_not_held_against_each_other(fresh, page):
    first = fresh.written.submitted()
    second = fresh.written.submitted(data={"path": "others.csv"})
    page.goto(f"{fresh.url}#/compare/{first.id}/{second.id}")

    expect(page.get_by_text("they were given two data sets")).to_be_visible()
