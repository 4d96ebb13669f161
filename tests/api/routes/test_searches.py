"""Searches over HTTP: submitted, listed, stopped and continued."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from autopeft.service.dataset import Dataset, DatasetState
from autopeft.service.job import JobState, Lane, Progress, Trouble, cancelled
from autopeft.service.key import Quota, Scope
from tests.api.serving import SEARCH
from tests.api.studies import a_job, an_ended_search
from tests.api.test_problems import problem

NOW = datetime.now(UTC)


@pytest.fixture
def ada(server, request):
    """Return a client of an owner who has nothing yet; ``ada.owner`` is the name."""
    name = f"ada_{abs(hash(request.node.name)):x}"
    client = server.as_(name)
    client.owner = name
    return client


def add_dataset(server, owner, name, state=DatasetState.READY, trouble=None):
    server.service.datasets.add(
        Dataset(
            id=name, owner=owner, name="reviews.csv", file="reviews.csv", bytes=3, digest="0",
            created=NOW, state=state, trouble=trouble,
        )
    )  # fmt: skip


def test_a_search_that_is_submitted_can_be_found_where_it_is_said_to_be(server, ada):
    asked = SEARCH | {"metadata": {"team": "search"}, "priority": -3, "seed": 7}
    answer = ada.post("/v1/searches", json=asked)

    assert answer.status_code == 202
    made = answer.json()
    assert answer.headers["Location"] == f"/v1/searches/{made['id']}"
    assert ada.get(answer.headers["Location"]).json() == made
    assert (made["object"], made["state"], made["priority"]) == ("search", "validating", -3)
    assert made["metadata"] == {"team": "search"}
    assert made["request"]["seed"] == 7
    assert made["request"]["limits"] == {"trials": 30, "seconds": None, "finals": 3}
    job = server.service.jobs.job(made["id"])
    assert (job.owner, job.state, job.events) == (ada.owner, JobState.VALIDATING, 1)


def test_what_has_become_of_a_search_is_told(server, ada):
    job = server.add(a_job("00000000b001", ada.owner))
    server.set(
        job.id,
        state=JobState.RUNNING,
        started=NOW,
        study="",
        progress=Progress(phase="trials", share=0.5, trials=3, of=6, best=0.8, seconds=2.0),
    )
    found = ada.get(f"/v1/searches/{job.id}").json()
    assert found["state"] == "running"
    assert found["started"]
    assert found["progress"] == {
        "phase": "trials", "share": 0.5, "trials": 3, "of": 6, "best": 0.8, "seconds": 2.0,
        "remaining": None,
    }  # fmt: skip

    folder = server.settings.folder
    server.set(
        job.id,
        state=JobState.FAILED,
        ended=NOW,
        trouble=Trouble(
            code="invalid_data", detail=f"{folder}/datasets/dataset_1/a.csv is empty", param="data"
        ),
    )
    found = ada.get(f"/v1/searches/{job.id}").json()
    assert found["trouble"] == {
        "code": "invalid_data", "detail": "dataset_1/a.csv is empty", "param": "data",
    }  # fmt: skip


@pytest.mark.parametrize("part", ["dataset", "validation_dataset", "test_dataset"])
def test_a_data_set_that_is_not_there_is_found_out_at_once(ada, part):
    data = {"dataset": "dataset_ffffffffffff", part: "dataset_ffffffffffff"}
    found = problem(
        ada.post("/v1/searches", json=SEARCH | {"data": data}),
        422, "invalid_request", "data.dataset",
    )  # fmt: skip

    assert found["detail"].startswith("there is no data set 'dataset_ffffffffffff'")
    assert [each["param"] for each in found["errors"]] == [
        *dict.fromkeys(f"data.{p}" for p in data)
    ]
    assert "POST /v1/datasets" in found["remedy"]


@pytest.mark.parametrize("place", ["searches", "estimates"])
@pytest.mark.parametrize(
    ("changes", "param", "said", "remedy"),
    [
        ({"model": "package:numpy"}, "model", "is not one that this service offers", "/v1/models"),
        ({"model": "bert-base-uncased"}, "model", "is not one that this service", "/v1/models"),
        ({"model": "/etc"}, "model", "is not one that this service offers", "/v1/models"),
        ({"data": {"path": "/etc/passwd"}}, "data.path", "cannot read the data", "upload it"),
        ({"data": {"path": "../x.csv"}}, "data.path", "cannot read the data", "upload it"),
        (
            *({"data": {"path": "reviews.csv", "test_path": "nowhere.csv"}}, "data.test_path"),
            *("cannot read the data 'nowhere.csv'", "upload it"),
        ),
    ],
)
def test_a_model_or_path_that_may_not_be_named_is_refused_at_once(
    ada, place, changes, param, said, remedy
):
    answer = ada.post(f"/v1/{place}", json=SEARCH | changes)

    found = problem(answer, 422, "invalid_request", param)
    assert said in found["detail"]
    assert remedy in found["remedy"]
    assert ada.get(f"/v1/{place}").json()["data"] == []


def test_data_that_a_training_may_not_name_is_refused_at_once(server, ada):
    job = an_ended_search(server, "00000000f204", ada.owner, seed=204)
    wrong = {"data": {"path": "/etc/passwd", "test_dataset": "dataset_ffffffffffff"}}
    answer = ada.post(f"/v1/plans/{job.id}/train", json=wrong)

    found = problem(answer, 422, "invalid_request", "data.path")
    assert [each["param"] for each in found["errors"]] == ["data.path", "data.test_dataset"]


def test_all_fields_that_are_wrong_are_named_at_once(ada):
    wrong = {
        "model": "package:none", "data": {"dataset": "dataset_ffffffffffff"}, "budget": "much",
        "strategy": "randm", "rungs": [0.5, 0.2], "run": {"workers": 7},
    }  # fmt: skip
    found = problem(ada.post("/v1/searches", json=wrong), 422, "invalid_request", "model")

    assert "(and 5 more)" in found["detail"]
    assert [each["param"] for each in found["errors"]] == [
        *("model", "budget", "strategy", "rungs", "run.workers", "data.dataset"),
    ]
    assert "cannot read budget 'much'" in found["errors"][1]["detail"]


def test_a_data_set_of_another_owner_is_not_there(server, ada):
    add_dataset(server, "somebody", "dataset_00000000b002")
    data = {"data": {"dataset": "dataset_00000000b002"}}

    problem(ada.post("/v1/searches", json=SEARCH | data), 422, "invalid_request", "data.dataset")


def test_a_data_set_that_cannot_be_used_is_said_to_be_so(server, ada):
    trouble = Trouble(code="invalid_data", detail="it has no rows")
    add_dataset(server, ada.owner, "dataset_00000000b003", DatasetState.INVALID, trouble)
    data = {"data": {"dataset": "dataset_00000000b003"}}

    found = problem(
        ada.post("/v1/searches", json=SEARCH | data), 422, "invalid_request", "data.dataset"
    )
    assert found["detail"] == "the data set dataset_00000000b003 cannot be used: it has no rows"


def test_a_data_set_that_is_still_being_read_can_be_named(server, ada):
    add_dataset(server, ada.owner, "dataset_00000000b004", DatasetState.VALIDATING)
    data = {"data": {"dataset": "dataset_00000000b004"}}

    assert ada.post("/v1/searches", json=SEARCH | data).status_code == 202


def test_searches_are_listed_a_page_after_the_other_the_newest_first(server, ada):
    for number in range(5):
        created = NOW + timedelta(seconds=number)
        server.add(a_job(f"00000000c00{number}", ada.owner, created=created))

    first = ada.get("/v1/searches?limit=2").json()
    second = ada.get("/v1/searches", params={"limit": 2, "after": first["next"]}).json()
    third = ada.get("/v1/searches", params={"limit": 2, "after": second["next"]}).json()

    pages = [[each["id"][-1] for each in page["data"]] for page in (first, second, third)]
    assert pages == [["4", "3"], ["2", "1"], ["0"]]
    assert [page["has_more"] for page in (first, second, third)] == [True, True, False]
    assert third["next"] is None


def test_a_list_can_be_of_some_states_and_metadata_only(server, ada):
    server.add(a_job("00000000d001", ada.owner, metadata={"team": "a", "n": "1"}))
    server.add(a_job("00000000d002", ada.owner, metadata={"team": "a"}))
    server.add(a_job("00000000d003", ada.owner, metadata={"team": "b"}))
    ada.post("/v1/searches/search_00000000d002/cancel")

    def ids(query):
        answer = ada.get(f"/v1/searches?{query}")
        return {each["id"][-1] for each in answer.json()["data"]}

    assert ids("state=cancelled") == {"2"}
    assert ids("state=cancelled&state=validating") == {"1", "2", "3"}
    assert ids("metadata[team]=a") == {"1", "2"}
    assert ids("metadata[team]=a&metadata[n]=1") == {"1"}
    assert ids("metadata[team]=a&state=validating") == {"1"}
    assert ids("metadata[team]=nobody") == set()
    problem(ada.get("/v1/searches?metadata[team]=%00"), 422, "invalid_request", "metadata")


@pytest.mark.parametrize(
    "name", ["search_ffffffffffff", "x", "%00", "search_%F0%9F%8E%82", "a" * 200]
)
def test_a_search_that_is_not_there_is_not_found(ada, name):
    problem(ada.get(f"/v1/searches/{name}"), 404, "not_found")


def test_a_job_of_another_kind_is_not_found_among_searches(server, ada):
    job = server.add(a_job("00000000e001", ada.owner))

    problem(ada.get(f"/v1/estimates/{job.id}"), 404, "not_found")
    problem(ada.get(f"/v1/trainings/{job.id}"), 404, "not_found")


def test_a_search_that_waits_is_cancelled_at_once(ada):
    place = ada.post("/v1/searches", json=SEARCH).headers["Location"]

    answer = ada.post(f"{place}/cancel")
    again = ada.post(f"{place}/cancel")

    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")
    assert again.json()["events"] == answer.json()["events"]


@pytest.mark.parametrize(("verb", "state"), [("cancel", "cancelling"), ("pause", "pausing")])
def test_a_search_that_runs_is_told_to_stop(server, ada, verb, state):
    job = server.add(a_job(f"00000000f{len(verb):03}", ada.owner, state=JobState.QUEUED))
    server.set(job.id, state=JobState.RUNNING)

    answer = ada.post(f"/v1/searches/{job.id}/{verb}")

    assert (answer.status_code, answer.json()["state"]) == (202, state)


def test_a_paused_search_is_resumed(ada):
    place = ada.post("/v1/searches", json=SEARCH).headers["Location"]

    assert ada.post(f"{place}/pause").json()["state"] == "paused"
    answer = ada.post(f"{place}/resume")

    assert (answer.status_code, answer.json()["state"]) == (200, "validating")


def test_what_a_state_does_not_allow_is_a_conflict(server, ada):
    job = server.add(a_job("00000000f101", ada.owner))
    server.set(job.id, state=JobState.SUCCEEDED, ended=NOW)

    for verb in ("cancel", "pause", "resume"):
        found = problem(ada.post(f"/v1/searches/{job.id}/{verb}"), 409, "conflict")
        assert job.id in found["detail"]


def test_a_search_is_extended_by_other_limits(server, ada):
    job = an_ended_search(server, "00000000f201", ada.owner, seed=201)

    answer = ada.post(f"/v1/searches/{job.id}/extend", json={"trials": 50})

    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert answer.json()["request"]["limits"] == {"trials": 50, "seconds": None, "finals": 3}


def test_an_extension_to_the_same_limits_leaves_a_search_as_it_is(server, ada):
    job = an_ended_search(server, "00000000f202", ada.owner, seed=202)
    place = f"/v1/searches/{job.id}"
    before = ada.get(place).json()

    answer = ada.post(f"{place}/extend", json={"trials": 30, "finals": 3})

    assert (answer.status_code, answer.json()) == (200, before)


@pytest.mark.parametrize(
    ("known", "asked", "param", "said"),
    [
        ({}, {"trials": 3}, "trials", "has 3 trials already: a limit of 3 leaves nothing to do"),
        ({}, {"trials": 2}, "trials", "has 3 trials already"),
        ({"trials": 3}, {"finals": 1}, "trials", "has 3 trials already"),
        ({}, {"trials": 50, "seconds": 5}, "seconds", "has taken 6 seconds already"),
        ({"seconds": 5.5}, {"trials": 50}, "seconds", "a limit of 5.5 leaves nothing to do"),
    ],
)
def test_an_extension_that_leaves_nothing_to_do_is_refused(server, ada, known, asked, param, said):
    name = f"{abs(hash(repr((known, asked)))):012x}"[:12]
    job = an_ended_search(server, name, ada.owner, seed=int(name, 16) % 2**31)
    server.set(job.id, request={**job.request, "limits": known})

    answer = ada.post(f"/v1/searches/{job.id}/extend", json=asked)

    found = problem(answer, 409, "conflict", param)
    assert said in found["detail"]
    assert "Limits are totals" in found["remedy"]
    assert ada.get(f"/v1/searches/{job.id}").json()["state"] == "succeeded"


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        ({"trials": 3}, {"finals": 5}),
        ({"trials": 3, "seconds": 5.5}, {"seconds": 60}),
        ({"trials": 3}, {"trials": 4}),
    ],
)
def test_an_extension_that_leaves_something_to_do_goes_on(server, ada, known, asked):
    name = f"{abs(hash(repr((known, asked)))):012x}"[:12]
    job = an_ended_search(server, name, ada.owner, seed=int(name, 16) % 2**31)
    server.set(job.id, request={**job.request, "limits": known})

    assert ada.post(f"/v1/searches/{job.id}/extend", json=asked).json()["state"] == "queued"


def test_a_search_that_was_cancelled_concludes_with_the_trials_that_it_has(server, ada):
    job = an_ended_search(server, "00000000f203", ada.owner, seed=203)
    server.set(job.id, state=JobState.CANCELLED)

    answer = ada.post(f"/v1/searches/{job.id}/extend", json={"trials": 2})

    assert answer.json()["state"] == "queued"


@pytest.mark.parametrize(
    ("body", "param"), [({}, "trials"), ({"trials": 0}, "trials"), ({"epochs": 1}, "epochs")]
)
def test_an_extension_that_is_none_is_refused(ada, body, param):
    place = ada.post("/v1/searches", json=SEARCH).headers["Location"]

    problem(ada.post(f"{place}/extend", json=body), 422, "invalid_request", param)


def test_a_search_that_is_being_cancelled_cannot_be_extended(server, ada):
    job = server.add(a_job("00000000f301", ada.owner))
    server.set(job.id, state=JobState.CANCELLING)

    problem(ada.post(f"/v1/searches/{job.id}/extend", json={"trials": 50}), 409, "conflict")


def test_a_worker_finds_what_was_submitted(server, ada):
    admin = server.client(server.key(ada.owner, scope=Scope.ADMIN))
    admin.post("/v1/searches", json=SEARCH | {"priority": 100})

    claim = server.take(Lane.CHECKS)

    assert claim.job.owner == ada.owner
    claim.write(lambda job: replace(job, state=JobState.CANCELLED))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("budget", "-3", "budget"),
        ("budget", "500%", "budget"),
        ("space", "loar", "there is no search space 'loar'"),
        ("strategy", "randm", "randm"),
        ("options", {"strategy-without-such-an-option": "1"}, "option"),
        ("rungs", [0.5, 0.2], "rung"),
    ],
)
@pytest.mark.parametrize("place", ["searches", "estimates"])
def test_what_means_nothing_is_refused_before_it_is_a_job(ada, server, place, field, value, said):
    before = len(server.service.jobs.page(owner=ada.owner, limit=100).jobs)

    found = problem(
        ada.post(f"/v1/{place}", json=SEARCH | {field: value}), 422, "invalid_request", field
    )

    assert said in found["detail"]
    assert len(server.service.jobs.page(owner=ada.owner, limit=100).jobs) == before


@pytest.mark.parametrize(
    ("address", "param", "said"),
    [
        ("/v1/searches?limt=3", "limt", "limit, after, state, metadata"),
        ("/v1/searches?metadata=x", "metadata", "there is no parameter 'metadata'"),
        ("/v1/searches?metadata[]=x", "metadata[]", "there is no parameter 'metadata[]'"),
        ("/v1/searches/search_1?verbose=1", "verbose", "it takes none"),
        ("/v1/datasets?state=ready", "state", "limit, after"),
        ("/v1/spaces?name=lora", "name", "it takes none"),
    ],
)
def test_a_parameter_that_a_route_does_not_know_is_refused(ada, address, param, said):
    found = problem(ada.get(address), 422, "invalid_request", param)

    assert said in found["detail"]


def test_all_parameters_that_are_unknown_are_named(ada):
    found = problem(ada.get("/v1/searches?a=1&limit=2&b=2"), 422, "invalid_request", "a")

    assert [each["param"] for each in found["errors"]] == ["a", "b"]
    assert "there is no parameter 'a', 'b' in this address" in found["detail"]


def test_a_parameter_of_a_post_is_looked_at_too(ada):
    problem(ada.post("/v1/searches?dry=1", json=SEARCH), 422, "invalid_request", "dry")
    problem(ada.post("/v1/datasets?nme=a.csv", content=b"a"), 422, "invalid_request", "nme")


def test_probes_may_add_what_they_like(ada):
    assert ada.get("/healthz?from=balancer").status_code == 200


def test_only_an_administrator_may_go_before_everybody_else(server, ada):
    asked = {"json": SEARCH | {"priority": 5}}

    refused = problem(ada.post("/v1/searches", **asked), 403, "forbidden", "priority")
    admin = server.client(server.key(ada.owner, scope=Scope.ADMIN))

    assert "needs a key with the scope admin" in refused["detail"]
    assert admin.post("/v1/searches", **asked).json()["priority"] == 5
    for job in server.service.jobs.page(owner=ada.owner).jobs:
        server.service.jobs.change(job.id, cancelled)
    assert ada.post("/v1/searches", json=SEARCH | {"priority": -5}).status_code == 202


def test_going_on_counts_against_the_quota_of_what_waits(server):
    client = server.client(server.key("eve", quota=Quota(waiting=1)))
    first = client.post("/v1/searches", json=SEARCH).json()["id"]
    assert client.post(f"/v1/searches/{first}/cancel").status_code == 200
    assert client.post("/v1/searches", json=SEARCH).status_code == 202

    for verb, body in (("resume", None), ("extend", {"trials": 50})):
        answer = client.post(f"/v1/searches/{first}/{verb}", json=body)
        assert "wait, and no more are allowed" in problem(answer, 429, "quota_exceeded")["detail"]
