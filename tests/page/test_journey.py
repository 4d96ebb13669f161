"""From a file to a plan in the browser: a real service, real workers, a real search."""

import json
import threading
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect

from autopeft.service.job import Lane
from autopeft.storage.service.sql import SqlService
from autopeft.storage.sql import SqlStore
from tests.page.content import Clock, Written
from tests.page.sites import serving, settings_in

pytestmark = pytest.mark.slow
LONG = 60_000


@contextmanager
def working(written, settings, cache):
    """Work on the jobs of both lanes during a ``with`` block."""
    from autopeft.worker.lane import Worker
    from autopeft.worker.means import Means

    stop = threading.Event()
    means = Means(service=written.service, store=written.store, settings=settings, cache=cache)
    threads = [
        threading.Thread(target=Worker(means, lane, f"{lane} lane", stop.is_set).run, daemon=True)
        for lane in Lane
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


@pytest.fixture
def service(tmp_path):
    """Serve an empty store with workers, a tiny model and data that it can learn."""
    from tests.models import opinions, save_tiny, write_rows

    model = save_tiny(tmp_path / "models" / "tiny")
    data = write_rows(tmp_path / "opinions.csv", opinions(160)).train
    url = f"sqlite:///{tmp_path / 'store.db'}"
    written = Written(store=SqlStore(url), service=SqlService(url), clock=Clock())
    settings = settings_in(tmp_path).model_copy(update={"models": (str(tmp_path / "models"),)})
    with working(written, settings, tmp_path / "cache"), serving(written, settings) as address:
        yield address, model, data


def test_from_a_file_to_a_plan(service, window):
    address, model, data = service
    page = window.page
    page.goto(f"{address}#/submit")
    page.get_by_label("Model").fill(str(model))
    page.get_by_label("Budget").fill("5%")
    page.get_by_label("Trials", exact=True).fill("5")
    page.get_by_label("Fresh seeds").fill("2")
    page.get_by_label("A file with labelled data").set_input_files(data)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("opinions.csv is ready.")).to_be_visible(timeout=LONG)
    expect(page.get_by_label("Data set", exact=True)).not_to_have_value("")

    page.get_by_text("Further choices").click()
    page.get_by_label("Strategy", exact=True).select_option("random")
    page.get_by_label("Epochs").fill("2")
    page.get_by_role("button", name="Estimate").click()
    expect(page.get_by_text("The search would take about")).to_be_visible(timeout=LONG)
    page.get_by_role("button", name="Start the search").click()

    heading = page.get_by_role("heading", level=1)
    expect(heading).to_contain_text("running", timeout=LONG)
    expect(heading).to_contain_text("done", timeout=LONG)
    expect(page.get_by_role("region", name="The answer")).to_contain_text("Verdict:")
    expect(page.get_by_role("region", name="Trials").locator("tbody tr")).to_have_count(9)
    expect(page.get_by_role("img", name="blocks by slots")).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download plan.json").click()
    plan = json.loads(saved.value.path().read_text("utf-8"))
    assert plan["provenance"]["budget"] == "5%"

    page.get_by_role("link", name="Data sets").click()
    expect(page.get_by_role("row", name="opinions.csv")).to_contain_text("160 rows")


def test_data_that_cannot_be_used_says_why_and_can_be_deleted(service, window, tmp_path):
    address, _, _ = service
    page = window.page
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "fine"\n', "utf-8")
    page.goto(f"{address}#/datasets")
    page.get_by_label("A file with labelled data").set_input_files(str(broken))
    page.get_by_role("button", name="Upload").click()

    expect(page.get_by_role("alert")).to_contain_text("broken.jsonl", timeout=LONG)
    page.get_by_role("button", name="Delete broken.jsonl").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_text("There are no data sets yet")).to_be_visible()


def test_an_estimate_of_what_cannot_be_says_what_to_change(service, window):
    address, model, data = service
    page = window.page
    page.goto(f"{address}#/submit")
    page.get_by_label("Model").fill(str(model))
    page.get_by_label("A file with labelled data").set_input_files(data)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("opinions.csv is ready.")).to_be_visible(timeout=LONG)
    page.get_by_label("Budget").fill("0.00001%")
    page.get_by_role("button", name="Estimate").click()

    expect(page.get_by_text("This search cannot be run.")).to_be_visible(timeout=LONG)
    expect(page.get_by_label("Budget")).to_have_attribute("aria-invalid", "true")
