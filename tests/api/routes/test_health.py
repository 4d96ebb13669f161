"""Whether the service lives, is ready, and what it counts."""

import re

import pytest

from autopeft.errors import StoreError
from autopeft.service.job import JobState, Lane, Progress
from tests.api.serving import serving
from tests.api.studies import a_job, an_ended_search
from tests.api.test_problems import problem


def test_a_process_that_answers_lives(server):
    answer = server.client().get("/healthz")

    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_a_service_is_ready_when_store_and_files_can_be_used(tmp_path):
    with serving(tmp_path) as served:
        served.service.jobs.sign(Lane.RUNS, "a worker")
        answer = served.client().get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == {
        "ready": True, "parts": {"store": "ok", "files": "ok", "workers": "1 for runs"},
    }  # fmt: skip


def test_what_is_not_ready_is_named(tmp_path):
    with serving(tmp_path) as served:
        served.settings.folder.rmdir()
        answer = served.client().get("/readyz")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert answer.json()["ready"] is False
    assert answer.json()["parts"] == {
        "store": "ok",
        "files": "the folder of data sets and results cannot be written",
        "workers": "none: what is submitted waits for one",
    }


def test_a_store_that_is_away_makes_the_service_unready_and_answers_503(tmp_path):
    with serving(tmp_path) as served:
        client = served.client()
        assert client.get("/v1/searches").status_code == 200
        for name in ("store.db", "store.db-wal", "store.db-shm"):
            (tmp_path / name).write_bytes(b"no database " * 500)
        served.service.close()
        ready, listed = client.get("/readyz"), client.get("/v1/searches")
        log = served.log.getvalue()

    assert ready.status_code == 503
    assert ready.json()["parts"]["store"].startswith("the store cannot be read or written")
    problem(listed, 503, "store_unavailable")
    assert listed.headers["Retry-After"] == "5"
    assert str(tmp_path) not in listed.text + ready.text
    assert str(tmp_path) in log


def test_the_store_is_looked_at_once_a_second_at_most(tmp_path):
    with serving(tmp_path) as served:
        looked = []
        checked = served.service.check
        object.__setattr__(served.app.state.parts, "service", _Counting(served.service, looked))
        for _ in range(20):
            assert served.client().get("/readyz").status_code == 200

    assert 1 <= len(looked) <= 3
    assert checked


class _Counting:
    def __init__(self, service, looked):
        self._service, self._looked = service, looked

    def __getattr__(self, name):
        if name == "check":
            self._looked.append(name)
        return getattr(self._service, name)


def value(text, name):
    """Return the value of a metric, None where it is not there."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def test_metrics_have_the_names_that_dashboards_look_for(tmp_path):
    with serving(tmp_path) as served:
        an_ended_search(served, "dddd00000001", "local")
        running = served.add(a_job("dddd00000002", "local"))
        served.set(running.id, state=JobState.RUNNING, progress=Progress(best=0.75, seconds=12.0))
        served.add(a_job("dddd00000003", "local"))
        client = served.client()
        client.get("/v1/searches")
        client.get("/nothing")
        answer = client.get("/metrics")

    text = answer.text
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert value(text, 'autopeft_jobs{kind="search",state="validating"}') == 1
    assert value(text, 'autopeft_queue_depth{lane="checks"}') == 1
    assert value(text, 'autopeft_trials_total{state="complete"}') == 2
    assert value(text, 'autopeft_trials_total{state="failed"}') == 1
    assert value(text, "autopeft_oom_total") == 0
    assert value(text, f'autopeft_search_duration_seconds{{search="{running.id}"}}') == 12
    assert value(text, f'autopeft_best_objective{{search="{running.id}"}}') == 0.75
    assert value(text, "autopeft_event_streams") == 0
    assert value(text, "process_resident_memory_bytes") > 0
    listed = 'autopeft_http_requests_total{method="GET",route="/v1/searches",status="200"}'
    assert value(text, listed) == 1
    nothing = 'autopeft_http_requests_total{method="GET",route="other",status="404"}'
    assert value(text, nothing) == 1


@pytest.mark.parametrize("route", ["/v1/searches/{id}"])
def test_requests_are_counted_by_route_and_not_by_address(tmp_path, route):
    with serving(tmp_path) as served:
        client = served.client()
        for number in range(3):
            client.get(f"/v1/searches/search_{number:012}")
        text = client.get("/metrics").text

    name = f'autopeft_http_requests_total{{method="GET",route="{route}",status="404"}}'
    assert value(text, name) == 3


def test_metrics_of_a_store_that_is_away_are_a_problem(raising):
    problem(raising(StoreError("away")), 503, "store_unavailable")
