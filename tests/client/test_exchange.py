"""What is tried again and what is not, and in which words a refusal reaches the user."""

import pytest

from autopeft.client.exchange import Patience, RefusedError
from autopeft.errors import OptionError, ServiceError
from autopeft.resources.requests import DataSource, SearchRequest
from tests.client.answering import WAYS, Answer, answering, problem

EMPTY = Answer(body=b'{"object": "list", "data": [], "has_more": false}')
BUSY = problem(503, "store_unavailable", "the store is away", headers={"Retry-After": "0"})
REQUEST = SearchRequest(model="package:m", data=DataSource(dataset="dataset_1"))
pytestmark = pytest.mark.parametrize("run", WAYS)


def a_list(client):
    return client.datasets.list()


@pytest.mark.parametrize(
    "first",
    [BUSY, problem(429, "rate_limited", "slowly"), Answer(status=502, body=b"<html>"),
     Answer(body=b"x" * 100, cut=3)],
    ids=["store", "rate", "proxy", "cut"],
)  # fmt: skip
def test_reading_is_tried_again(run, first):
    with answering(first, EMPTY) as (url, asked):
        assert run(url, a_list).data == []

    assert len(asked) == 2


def test_what_is_made_is_tried_again_under_the_same_name(run):
    """Else a second search would begin where only the answer to the first was lost."""
    progress = problem(409, "idempotency_in_progress", "is being answered")
    refused = problem(422, "invalid_request", "no")
    with answering(BUSY, progress, refused) as (url, asked), pytest.raises(RefusedError):
        run(url, lambda client: client.searches.create(REQUEST))

    names = {each.headers["idempotency-key"] for each in asked}
    assert len(asked) == 3
    assert len(names) == 1


def test_a_name_of_the_user_is_taken(run):
    refused = problem(422, "invalid_request", "no")
    with answering(refused) as (url, asked), pytest.raises(RefusedError):
        run(url, lambda client: client.searches.create(REQUEST, once="mine"))

    assert asked[0].headers["idempotency-key"] == "mine"


def test_only_what_was_said_is_sent(run):
    """A newer service may have other defaults."""
    refused = problem(422, "invalid_request", "no")
    with answering(refused) as (url, asked), pytest.raises(RefusedError):
        run(url, lambda client: client.searches.create(REQUEST))

    assert asked[0].body == b'{"model":"package:m","data":{"dataset":"dataset_1"}}'


def test_deleting_is_not_tried_again(run):
    with answering(BUSY) as (url, asked), pytest.raises(RefusedError, match="the store is away"):
        run(url, lambda client: client.datasets.delete("dataset_1"))

    assert len(asked) == 1


def test_deleting_has_no_answer(run):
    with answering(Answer(status=204, body=b"")) as (url, _):
        assert run(url, lambda client: client.datasets.delete("dataset_1")) is None


def test_nobody_waits_for_an_hour(run):
    full = problem(429, "quota_exceeded", "all is used", headers={"Retry-After": "3600"})
    with answering(full) as (url, asked), pytest.raises(RefusedError, match="all is used"):
        run(url, a_list)

    assert len(asked) == 1


def test_patience_has_an_end(run):
    with answering(*[BUSY] * 4) as (url, asked), pytest.raises(ServiceError, match="is away"):
        run(url, a_list)

    assert len(asked) == 4


def test_a_refusal_says_what_is_wrong_where_and_what_to_do(run):
    wrong = problem(
        422, "invalid_request", "it must be a number", param="limits.trials", remedy="Give one."
    )
    with (
        answering(wrong) as (url, _),
        pytest.raises(
            RefusedError, match=r"^it must be a number \(limits\.trials\): give one$"
        ) as refused,
    ):
        run(url, lambda client: client.searches.get("search_1"))

    assert (refused.value.problem.status, refused.value.problem.code) == (422, "invalid_request")


def test_a_refusal_of_several_fields_names_them_all(run):
    fields = [("model", "there is no such"), ("seed", "it must be a number")]
    errors = [{"param": param, "detail": detail} for param, detail in fields]
    wrong = problem(422, "invalid_request", "there is no such", param="model", errors=errors)
    with (
        answering(wrong) as (url, _),
        pytest.raises(
            RefusedError, match=r"there is no such \(model\); also seed: it must be a number$"
        ),
    ):
        run(url, a_list)


def test_a_mistake_of_the_service_is_told_with_its_number(run):
    mistake = problem(500, "internal", "something went wrong", request_id="0b9d")
    with (
        answering(mistake) as (url, _),
        pytest.raises(RefusedError, match=r"something went wrong \(request 0b9d\)"),
    ):
        run(url, a_list)


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"<html>no</html>", "with the status 404$"), (b"not here", "with the status 404: not here$")],
)
def test_what_is_no_answer_of_ours_is_told(run, body, said):
    with (
        answering(Answer(status=404, body=body)) as (url, _),
        pytest.raises(RefusedError, match=said),
    ):
        run(url, a_list)


def test_an_answer_that_is_not_understood_is_told(run):
    with (
        answering(Answer(body=b'{"data": 3, "has_more": true}')) as (url, _),
        pytest.raises(ServiceError, match=r"does not understand .data: .*the same version on both"),
    ):
        run(url, a_list)


def test_where_nobody_answers_it_says_what_to_do(run):
    with answering() as (url, _):
        pass

    with pytest.raises(ServiceError, match=f"no service answers at {url}: start one with autopeft"):
        run(url, a_list)


def test_a_service_that_keeps_silent_is_left(run, silent):
    with pytest.raises(ServiceError, match="takes too long to answer: try again later"):
        run(silent, a_list, timeout=0.05, patience=Patience(retries=0))


def test_a_connection_that_always_breaks_is_told(run):
    with (
        answering(*[Answer(body=b"x" * 100, cut=3)] * 4) as (url, _),
        pytest.raises(ServiceError, match=r"the connection to the service at .* was lost .*again"),
    ):
        run(url, a_list)


@pytest.mark.parametrize("url", ["service", "ftp://host", "http://", "http://h?x=1"])
def test_an_address_that_is_none_is_refused(run, url):
    with pytest.raises(OptionError, match=r"cannot read the service's address .* http://HOST:PORT"):
        run(url, a_list)


@pytest.mark.parametrize("key", ["secret", "apk_1", "apk_1_2\r\nX: y", "apk_1_é", "Bearer apk_1_2"])
def test_a_key_that_is_none_is_refused_and_not_shown(run, key):
    with pytest.raises(OptionError, match="the key that was given is no API key") as refused:
        run("http://127.0.0.1:1", a_list, key=key)

    assert key not in str(refused.value)


def test_a_key_goes_along(run):
    with answering(EMPTY) as (url, asked):
        run(url, a_list, key="apk_1_2\n")

    assert asked[0].headers["authorization"] == "Bearer apk_1_2"


def test_neither_key_nor_password_is_in_an_error(run):
    with answering() as (url, _):
        address = url.replace("http://", "http://me:hidden@")

    with pytest.raises(ServiceError) as refused:
        run(address, a_list, key="apk_1_secret", patience=Patience(retries=0))

    assert url in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_an_id_stays_inside_its_place(run):
    refused = problem(404, "not_found", "no")
    with answering(refused) as (url, asked), pytest.raises(RefusedError):
        run(url, lambda client: client.searches.get("../datasets?x"))

    assert asked[0].path == "/v1/searches/..%2Fdatasets%3Fx"


def test_a_list_is_asked_for_as_the_service_reads_it(run):
    with answering(EMPTY) as (url, asked):
        run(url, lambda client: client.searches.list(
            limit=5, after="search_1", state=["queued", "running"], metadata={"team": "a b"}
        ))  # fmt: skip

    assert asked[0].path == (
        "/v1/searches?limit=5&after=search_1&state=queued&state=running&metadata%5Bteam%5D=a+b"
    )
