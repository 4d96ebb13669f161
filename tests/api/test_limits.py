"""How much a caller may ask for at once."""

import asyncio
import json

import pytest

from autopeft.api.limits import JSON_BYTES, Buckets, SmallBodies
from autopeft.api.problems import ProblemError
from autopeft.service.key import Quota
from tests.api.serving import SEARCH, serving
from tests.api.test_problems import problem


class Tick:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_bucket_is_filled_again_with_time():
    tick = Tick()
    buckets = Buckets(rate=2, burst=3, tick=tick)
    for _ in range(3):
        buckets.take("ada")
    with pytest.raises(ProblemError, match=r"more requests than the 2 a second") as caught:
        buckets.take("ada")
    assert caught.value.headers == {"Retry-After": "1"}
    buckets.take("bob")

    tick.now += 0.5

    buckets.take("ada")
    with pytest.raises(ProblemError, match="more requests"):
        buckets.take("ada")


def test_how_long_to_wait_is_said():
    buckets = Buckets(rate=0.1, burst=1, tick=Tick())
    buckets.take("ada")

    with pytest.raises(ProblemError, match="more requests") as caught:
        buckets.take("ada")

    assert caught.value.headers == {"Retry-After": "10"}


def test_a_token_that_was_given_back_can_be_taken_again():
    buckets = Buckets(rate=0.1, burst=1, tick=Tick())
    buckets.take("ada")

    buckets.give_back("ada")

    buckets.take("ada")


def test_buckets_that_are_full_again_are_forgotten(monkeypatch):
    monkeypatch.setattr("autopeft.api.limits._MOST_NAMES", 10)
    tick = Tick()
    buckets = Buckets(rate=1, burst=1, tick=tick)
    for name in range(11):
        buckets.take(str(name))

    tick.now += 10
    buckets.take("last")

    assert set(buckets._left) == {"last"}


def test_the_rate_is_limited_for_each_key(tmp_path):
    with serving(tmp_path, requests=0.01, burst=2) as served:
        ada, bob = served.as_("ada"), served.as_("bob")
        answers = [ada.get("/v1/searches") for _ in range(3)]
        assert bob.get("/v1/searches").status_code == 200
        assert served.client().get("/healthz").status_code == 200

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    problem(answers[-1], 429, "rate_limited")
    assert int(answers[-1].headers["Retry-After"]) > 50


def test_a_body_that_is_too_large_is_refused(client):
    answer = client.post("/v1/searches", content=b" " * (JSON_BYTES + 1))

    found = problem(answer, 413, "too_large")
    assert "2,097,152 bytes" in found["detail"]


def test_a_body_without_a_length_is_counted(client):
    def body():
        for _ in range(JSON_BYTES // 2**16 + 1):
            yield b" " * 2**16

    problem(client.post("/v1/searches", content=body()), 413, "too_large")


def test_a_body_that_is_just_small_enough_is_read(client):
    space = " " * (JSON_BYTES - 2)
    answer = client.post(
        "/v1/searches", content=f"{{{space}}}", headers={"Content-Type": "application/json"}
    )

    problem(answer, 422, "invalid_request", "model")


def test_a_client_that_leaves_in_the_middle_of_a_body_does_no_harm(open_server):
    def body():
        yield b"{"
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        open_server.client().post("/v1/searches", content=body())

    assert open_server.client().get("/healthz").status_code == 200


def test_more_waiting_jobs_than_the_quota_allows_are_refused(server):
    ada = server.as_("quota_ada", quota=Quota(waiting=1))
    assert ada.post("/v1/searches", json=SEARCH).status_code == 202

    found = problem(ada.post("/v1/searches", json=SEARCH), 429, "quota_exceeded")

    assert found["detail"] == "1 jobs of quota_ada wait, and no more are allowed"


def test_more_trials_than_the_quota_allows_are_refused(server):
    ada = server.as_("trials_ada", quota=Quota(trials=10))
    large = SEARCH | {"limits": {"trials": 11}}

    found = problem(ada.post("/v1/searches", json=large), 429, "quota_exceeded", "limits.trials")
    assert found["detail"] == "a search of trials_ada may have 10 trials, and not 11"
    made = ada.post("/v1/searches", json=SEARCH | {"limits": {"trials": 10}})
    answer = ada.post(f"{made.headers['Location']}/extend", json={"trials": 11})
    problem(answer, 429, "quota_exceeded", "limits.trials")


def test_a_body_that_does_not_come_is_not_waited_for():
    said = []

    async def receive():
        await asyncio.sleep(60)

    async def send(message):
        said.append(message)

    async def never(*_):
        raise AssertionError("the app was called")

    scope = {"type": "http", "method": "POST", "path": "/v1/searches", "headers": [], "state": {}}
    asyncio.run(SmallBodies(never, streamed=frozenset(), patience=0.01)(scope, receive, send))

    assert said[0]["status"] == 408
    assert "nothing more of the body came for 0.01 s" in json.loads(said[1]["body"])["detail"]
