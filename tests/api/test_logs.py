"""The log: one line a request, and never a secret."""

import io
import json
import logging

import pytest

from autopeft.api.logs import ToLog, open_log, without_secrets
from tests.api.serving import SEARCH, serving
from tests.api.test_problems import problem


def lines(served):
    return [json.loads(line) for line in served.log.getvalue().splitlines()]


def line_of(served, request_id, event="request"):
    """Return the line of a request, which is written after the answer has gone out."""
    for _ in range(200):
        for line in lines(served):
            if line.get("request_id") == request_id and line["event"] == event:
                return line
        served.client().get("/healthz")
    raise AssertionError(f"no {event} line of the request {request_id}")


def test_a_request_is_one_line_with_what_an_operator_looks_for(server):
    token = server.key("ada")
    answer = server.client(token).get(
        "/v1/searches?limit=3",
        headers={
            "X-Request-Id": "mine-1",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        },
    )
    assert answer.headers["X-Request-Id"] == "mine-1"

    line = line_of(server, "mine-1")
    assert line.pop("ms") > 0
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "request", "level": "info", "method": "GET", "path": "/v1/searches",
        "status": 200, "request_id": "mine-1", "who": f"ada/{token.split('_')[1]}",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    }  # fmt: skip


@pytest.mark.parametrize("given", ["", "two words", "x" * 65, 'quote"', "line\tbreak"])
def test_a_request_id_that_could_confuse_a_log_is_replaced(client, given):
    answer = client.get("/healthz", headers={"X-Request-Id": given})

    assert answer.headers["X-Request-Id"] != given
    assert len(answer.headers["X-Request-Id"]) == 16


def test_no_secret_reaches_the_log_whatever_is_asked(tmp_path):
    with serving(tmp_path) as served:
        token = served.key("ada")
        secret = token.split("_", 2)[2]
        client = served.client(token)
        client.post("/v1/searches", json=SEARCH)
        client.post("/v1/searches", json=SEARCH | {"model": token, "nothing": token})
        client.get(f"/v1/searches/{token}", params={"key": token})
        client.get(f"/{token}")
        served.client(f"{token}wrong").get("/v1/searches")
        served.client(headers={"Authorization": f"Basic {token}"}).get("/v1/searches")
        client.get("/healthz", headers={"X-Request-Id": token})
        logged = served.log.getvalue

    assert secret not in logged()
    assert len(logged().splitlines()) >= 6


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("apk_0123_s3cret-_x and more", "apk_0123_*** and more"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("authorization: basic YWRh", "authorization: basic ***"),
        ("postgresql+psycopg://me:s3cret@host/db", "postgresql+psycopg://me:***@host/db"),
        ("http://host/a:b", "http://host/a:b"),
        ("nothing", "nothing"),
    ],
)
def test_secrets_are_taken_out_of_any_text(text, clean):
    assert without_secrets(text) == clean


def test_an_error_of_ours_is_logged_with_its_traceback_and_without_secrets(raising):
    answer = raising(ValueError("token apk_0123_s3cret"))
    found = problem(answer, 500, "internal")

    line = line_of(raising.served, found["request_id"], "the service made a mistake")

    assert "Traceback" in line["exception"]
    assert "apk_0123_***" in line["exception"]


def test_what_libraries_log_is_a_line_too():
    stream = io.StringIO()
    logger = logging.Logger("library")
    logger.addHandler(ToLog(open_log(stream)))

    logger.warning("it is %s", "late")
    logger.info("not told")

    (line,) = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert (line["event"], line["logger"], line["level"]) == ("it is late", "library", "warning")


def test_what_somebody_did_is_in_the_audit_log(server):
    ada = server.as_("audit_ada")
    place = ada.post("/v1/searches", json=SEARCH).headers["Location"]
    job_id = place.rpartition("/")[2]
    ada.post(f"{place}/pause")
    ada.post(f"{place}/resume")
    ada.post(f"{place}/extend", json={"trials": 40})
    ada.post(f"{place}/cancel")

    noted = [
        (who.partition("/")[0], what)
        for _, who, what, about in server.service.keys.audit(100)
        if about == job_id
    ]
    assert noted == [
        ("audit_ada", f"search.{what}")
        for what in ("cancel", "extend", "resume", "pause", "submit")
    ]
    assert any(line["event"] == "audit" and line["about"] == job_id for line in lines(server))
