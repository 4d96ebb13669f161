"""Errors are problems of RFC 9457, whoever finds them."""

import re

import pytest

from autopeft.api.problems import CODES, MEDIA_TYPE, MOST_ERRORS, documented
from autopeft.errors import (
    BudgetError,
    JobError,
    OutputError,
    StoreError,
    StudyError,
    UnknownError,
)
from tests.api.serving import SEARCH

MEMBERS = {
    *("type", "title", "status", "detail", "code", "param", "errors", "remedy", "request_id"),
}
JSON = {"Content-Type": "application/json"}


def problem(answer, status, code, param=None):
    """Check that an answer is a problem, and return it."""
    assert answer.headers["Content-Type"] == MEDIA_TYPE
    found = answer.json()
    assert set(found) == MEMBERS
    assert (answer.status_code, found["status"]) == (status, status)
    assert (found["code"], found["param"]) == (code, param)
    assert [each["param"] for each in found["errors"][:1]] == ([param] if param else [])
    assert found["type"] == f"/docs/problems#{code}"
    assert found["title"] == CODES[code].title
    assert found["remedy"]
    assert found["request_id"] == answer.headers["X-Request-Id"]
    return found


def test_an_address_that_leads_nowhere_is_a_problem(client):
    found = problem(client.get("/v1/nothing"), 404, "not_found")

    assert found["detail"] == "there is nothing at /v1/nothing"


def test_a_method_that_does_not_apply_names_those_that_do(client):
    answer = client.delete("/v1/searches/search_1")

    assert problem(answer, 405, "method_not_allowed")["detail"].startswith("DELETE does not apply")
    assert answer.headers["Allow"] == "GET"
    assert client.delete("/v1/searches").headers["Allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("change", "param", "detail"),
    [
        ({"epochs": 3}, "epochs", "Extra inputs are not permitted"),
        ({"limits": {"trials": 0}}, "limits.trials", "greater than or equal to 1"),
        ({"data": {}}, "data", "^data: name either a dataset or a path, and not both"),
        ({"data": {"dataset": 3}}, "data.dataset", "valid string"),
        ({"objectives": ["score", "taste"]}, "objectives.1", "'score', 'params'"),
        ({"seed": -1, "priority": 101}, "seed", r"\(and 1 more\)"),
        ({"model": ""}, "model", "at least 1 character"),
    ],
)
def test_a_field_that_is_wrong_is_named_by_its_path(client, change, param, detail):
    found = problem(
        client.post("/v1/searches", json=SEARCH | change), 422, "invalid_request", param
    )

    assert re.search(detail, found["detail"])


def test_all_fields_that_are_wrong_are_named(client):
    wrong = {"seed": -1, "priority": 101, "limits": {"trials": 0}, "colour": "red"}
    found = problem(
        client.post("/v1/searches", json=SEARCH | wrong), 422, "invalid_request", "seed"
    )

    named = {each["param"]: each["detail"] for each in found["errors"]}
    assert set(named) == {"seed", "priority", "limits.trials", "colour"}
    assert named["colour"] == "Extra inputs are not permitted"
    assert found["detail"].startswith(f"seed: {named['seed']} (and 3 more)")


def test_no_more_fields_are_named_than_anybody_would_read(client):
    found = client.post("/v1/searches", json=SEARCH | {f"f{n}": n for n in range(500)}).json()

    assert len(found["errors"]) == MOST_ERRORS
    assert "(and 499 more)" in found["detail"]


def test_a_parameter_that_is_wrong_is_named(client):
    problem(client.get("/v1/searches?limit=101"), 422, "invalid_request", "limit")
    problem(client.get("/v1/searches?state=tired"), 422, "invalid_request", "state.0")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("{", "no JSON at character 1: Expecting property name"),
        ("[" * 50_000, "parsing the body"),
        ("[]", "no JSON object"),
        ('"a text"', "no JSON object"),
        ("", "needs a body"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(client, body, detail):
    found = problem(client.post("/v1/searches", content=body, headers=JSON), 422, "invalid_request")

    assert detail in found["detail"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_body_of_another_type_is_refused(client, kind):
    headers = {"Content-Type": kind} if kind else {}
    answer = client.post("/v1/searches", content=b"{}", headers=headers)

    assert (kind or "without a Content-Type") in problem(answer, 415, "unsupported_media_type")[
        "detail"
    ]


def test_the_page_of_problems_has_every_code_under_its_own_link(client):
    page = client.get("/docs/problems").text

    assert re.findall(r'id="(\w+)"', page) == list(CODES)


def test_a_route_documents_its_errors_by_status():
    found = documented("conflict", "idempotency_in_progress")

    assert list(found) == [401, 403, 409, 422, 429, 500, 503]
    assert set(found[409]["content"][MEDIA_TYPE]["examples"]) == {
        "conflict",
        "idempotency_in_progress",
    }
    assert "Retry-After" in found[429]["headers"]


@pytest.mark.parametrize(
    ("error", "status", "code", "detail"),
    [
        (UnknownError("there is no job x"), 404, "not_found", "there is no job x"),
        (JobError("it has ended"), 409, "conflict", "it has ended"),
        (StudyError("it is busy"), 409, "conflict", "it is busy"),
        (BudgetError("no budget"), 422, "invalid_request", "no budget"),
        (StoreError("/a/b is locked"), 503, "store_unavailable", "cannot read or write its store"),
        (OutputError("/a/b is full"), 503, "store_unavailable", "cannot read or write its store"),
        (ZeroDivisionError("of ours"), 500, "internal", "something went wrong inside"),
    ],
)
def test_what_any_room_raises_becomes_a_problem(raising, error, status, code, detail):
    answer = raising(error)

    assert detail in problem(answer, status, code)["detail"]
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert "/a/b" not in answer.text
    assert "of ours" not in answer.text
