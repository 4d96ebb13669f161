"""What the tests of the page share: servers, and the browser of the test run."""

import shutil
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.page.content import some_of_all
from tests.page.sites import Site, Window, serving, settings_in, stored_in, window_of

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Iterator[Site]:
    """Serve searches in all states, for tests that change none of them."""
    folder = tmp_path_factory.mktemp("site")
    written = stored_in(folder)
    ids = some_of_all(written)
    settings = settings_in(folder)
    with serving(written, settings) as url:
        yield Site(url=url, written=written, settings=settings, ids=ids)


@pytest.fixture
def fresh(tmp_path) -> Iterator[Site]:
    """Serve an empty store, for a test to fill."""
    written, settings = stored_in(tmp_path), settings_in(tmp_path)
    with serving(written, settings) as url:
        yield Site(url=url, written=written, settings=settings, ids={})


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Start the browser of the test run."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=["--no-sandbox"]
        )
        yield found
        found.close()


@pytest.fixture
def window(browser) -> Iterator[Window]:
    """Open a tab; it must have had nothing to complain about when the test is over."""
    with window_of(browser) as opened:
        yield opened
        assert opened.complaints == []


@pytest.fixture
def page(window) -> Any:
    """Open a tab."""
    return window.page


@pytest.fixture
def browser_window(browser):
    """Return what opens a tab that may complain."""
    return partial(window_of, browser)
