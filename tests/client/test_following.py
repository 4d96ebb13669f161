"""A stream of events over connections that come and go."""

import json

import pytest

from autopeft.client.exchange import RefusedError
from autopeft.errors import ServiceError
from tests.client.answering import WAYS, Answer, answering, problem

END = b"event: end\ndata: {}\n\n"
BROKEN = Answer(body=b"x" * 100, cut=0)
pytestmark = pytest.mark.parametrize("run", WAYS)


def event(number, message="something", ending=b"\n"):
    document = {
        "id": number, "at": "2026-11-22T10:00:00Z", "kind": "message", "level": "info",
        "message": message, "data": {},
    }  # fmt: skip
    data = json.dumps(document, ensure_ascii=False).encode()
    return ending.join((b"event: message", b"data: " + data, b"id: %d" % number, b"", b""))


def stream(*parts, **more):
    return Answer(body=b"retry: 0\n\n" + b"".join(parts), **more)


def numbers(run, url, **after):
    return [each.id for each in run(url, lambda client: client.searches.events("s", **after))]


def test_all_that_happened_is_told_until_the_end(run):
    with answering(stream(event(1), b": ping\n\n", event(2), END)) as (url, asked):
        assert numbers(run, url) == [1, 2]

    assert asked[0].path == "/v1/searches/s/events"
    assert asked[0].headers["accept"] == "text/event-stream"
    assert asked[0].headers["last-event-id"] == "0"


def test_a_stream_that_ends_too_soon_is_opened_again_behind_what_was_told(run):
    with answering(stream(event(1), event(2)), stream(event(3), END)) as (url, asked):
        assert numbers(run, url) == [1, 2, 3]

    assert asked[1].headers["last-event-id"] == "2"


def test_half_an_event_is_not_told_and_none_is_told_twice(run):
    whole = event(1) + event(2)
    cut = stream(whole, cut=len(b"retry: 0\n\n" + whole) - 10)
    with answering(cut, BROKEN, stream(whole, event(3), END)) as (url, _):
        assert numbers(run, url) == [1, 2, 3]


def test_it_begins_where_it_is_told(run):
    with answering(stream(event(8), END)) as (url, asked):
        assert numbers(run, url, after=7) == [8]

    assert asked[0].headers["last-event-id"] == "7"


def test_signs_that_look_like_the_end_of_a_line_stand_for_themselves(run):
    message = "one\u2028two\x85three"
    with answering(stream(event(1, message, b"\r\n"), END)) as (url, _):
        (told,) = run(url, lambda client: client.searches.events("s"))

    assert told.message == message


def test_a_service_that_is_away_is_waited_for(run):
    away = problem(503, "store_unavailable", "away", headers={"Retry-After": "0"})
    with answering(away, BROKEN, stream(event(1), END)) as (url, _):
        assert numbers(run, url) == [1]


def test_a_refusal_ends_it(run):
    refused = problem(404, "not_found", "there is no search 's'")
    with answering(refused) as (url, _), pytest.raises(RefusedError, match="there is no search"):
        numbers(run, url)


def test_it_is_given_up_at_last(run):
    with answering(*[BROKEN] * 4) as (url, asked), pytest.raises(ServiceError, match="was lost"):
        numbers(run, url)

    assert len(asked) == 4
