"""Events as they happen."""

import asyncio
import json
import re
import threading
from dataclasses import dataclass, replace

import httpx
import pytest

from autopeft.api.logs import open_log
from autopeft.api.streams import Streams
from autopeft.errors import StoreError
from autopeft.service.event import Happening
from autopeft.service.job import JobState
from autopeft.service.key import Scope
from tests.api.serving import serving
from tests.api.studies import a_job
from tests.api.test_problems import problem

STREAM = {"Accept": "text/event-stream"}


@dataclass
class Told:
    """One event of a stream."""

    name: str = ""
    number: str = ""
    data: str = ""
    retry: str = ""
    comment: str = ""

    @property
    def message(self):
        return json.loads(self.data)["message"]


def read(lines):
    """Yield the events of a stream as they come in."""
    told = Told()
    names = {"event": "name", "id": "number", "data": "data", "retry": "retry", "": "comment"}
    for line in lines:
        if not line:
            yield told
            told = Told()
        else:
            field, _, value = line.partition(":")
            setattr(told, names[field], value.strip())


@pytest.fixture(scope="module")
def ada(server):
    return server.as_("stream_ada")


def a_running(server, name, owner="stream_ada"):
    job = server.add(a_job(name, owner))
    return server.set(job.id, state=JobState.RUNNING)


def stop(server, job_id, state=JobState.SUCCEEDED):
    server.set(job_id, state=state)


def test_events_come_in_pages(server, ada):
    job = a_running(server, "cccc00000001")
    server.say(job.id, "one", "two", "three")
    place = f"/v1/searches/{job.id}/events"
    everything = ada.get(place).json()["data"]
    numbers = [event["id"] for event in everything]
    assert numbers == list(range(1, len(numbers) + 1))
    assert [event["message"] for event in everything[-3:]] == ["one", "two", "three"]
    assert set(everything[0]) == {"id", "object", "at", "kind", "level", "message", "data"}

    first = ada.get(f"{place}?limit=2").json()
    assert (len(first["data"]), first["has_more"], first["next"]) == (2, True, "2")
    rest = ada.get(f"{place}?after=2").json()
    assert (rest["data"], rest["has_more"], rest["next"]) == (everything[2:], False, None)
    assert ada.get(f"{place}?after=999").json()["data"] == []
    assert ada.get(place, headers={"Last-Event-ID": "3"}).json()["data"] == everything[3:]


@pytest.mark.parametrize(
    ("query", "headers", "param"),
    [
        ("after=-1", {}, "after"),
        ("after=x", {}, "after"),
        (f"after={2**63}", {}, "after"),
        ("limit=0", {}, "limit"),
        ("", {"Last-Event-ID": "x"}, "Last-Event-Id"),
    ],
)
def test_a_place_that_is_none_is_refused(ada, query, headers, param):
    answer = ada.get(f"/v1/searches/search_cccc00000001/events?{query}", headers=headers)

    problem(answer, 422, "invalid_request", param)


def test_what_happened_is_told_first_and_then_what_happens_until_the_end(server, ada):
    job = a_running(server, "cccc00000002")
    server.say(job.id, "before")

    with ada.stream("GET", f"/v1/searches/{job.id}/events", headers=STREAM) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        events = read(answer.iter_lines())
        assert next(events).retry == "2000"
        told = []
        for event in events:
            told.append(event)
            if event.data and event.name == "message" and event.message == "before":
                server.say(job.id, "after")
            elif event.name == "message":
                stop(server, job.id)

    assert told[-1] == Told(name="end", data="{}")
    assert [event.number for event in told[:-1]] == [str(n + 1) for n in range(len(told) - 1)]
    messages = [event.message for event in told[:-1] if event.name == "message"]
    assert messages == ["before", "after"]
    pages = ada.get(f"/v1/searches/{job.id}/events").json()["data"]
    assert [json.loads(event.data) for event in told[:-1]] == pages


def test_a_stream_goes_on_where_it_broke_off(server, ada):
    job = a_running(server, "cccc00000003")
    server.say(job.id, "one", "two", "three")
    stop(server, job.id)
    place = f"/v1/searches/{job.id}/events"
    last = server.service.jobs.job(job.id).events

    for headers, query in (
        ({"Last-Event-ID": str(last - 2)}, ""),
        ({}, f"?after={last - 2}"),
        ({"Last-Event-ID": str(last - 2)}, "?after=0"),
    ):
        answer = ada.get(place + query, headers={**STREAM, **headers})
        numbers = [event.number for event in read(answer.text.splitlines()) if event.number]
        assert numbers == [str(last - 1), str(last)]


def test_a_stream_of_a_job_that_has_ended_ends_at_once(server, ada):
    job = a_running(server, "cccc00000004")
    stop(server, job.id)
    last = server.service.jobs.job(job.id).events

    answer = ada.get(
        f"/v1/searches/{job.id}/events", headers={**STREAM, "Last-Event-ID": str(last)}
    )

    assert answer.text == "retry: 2000\n\nevent: end\ndata: {}\n\n"


def test_more_events_than_are_kept_in_memory_are_all_told(server, ada):
    job = a_running(server, "cccc00000005")
    many = [Happening(kind="message", message=str(n)) for n in range(700)]
    server.set(job.id, *many)

    with ada.stream("GET", f"/v1/searches/{job.id}/events", headers=STREAM) as answer:
        events = read(answer.iter_lines())
        next(events)
        server.set(job.id, *many)
        stop(server, job.id)
        numbers = [int(event.number) for event in events if event.number]

    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 1400


def test_many_streams_of_one_job_all_hear_everything(server):
    job = a_running(server, "cccc00000006")

    async def listen(client):
        headers = {**STREAM, "Authorization": f"Bearer {token}"}
        place = f"{server.url}/v1/searches/{job.id}/events"
        async with client.stream("GET", place, headers=headers) as answer:
            return [line async for line in answer.aiter_lines() if line.startswith("id:")]

    async def everybody():
        limits = httpx.Limits(max_connections=60)
        async with httpx.AsyncClient(limits=limits, timeout=30) as client:
            listeners = [asyncio.create_task(listen(client)) for _ in range(50)]
            while server.app.state.parts.streams.open < 50:
                assert not any(listener.done() for listener in listeners)
                await asyncio.sleep(0.01)
            await asyncio.to_thread(server.say, job.id, "one", "two")
            await asyncio.to_thread(stop, server, job.id)
            return await asyncio.gather(*listeners)

    token = server.key("stream_ada", Scope.READ)
    found = asyncio.run(everybody())

    last = server.service.jobs.job(job.id).events
    assert found == [[f"id: {n}" for n in range(1, last + 1)]] * 50


def test_listeners_who_leave_are_forgotten(server, ada):
    job = a_running(server, "cccc00000007")
    streams = server.app.state.parts.streams

    with ada.stream("GET", f"/v1/searches/{job.id}/events", headers=STREAM) as answer:
        events = read(answer.iter_lines())
        next(events)
        assert streams.open >= 1
    for _ in range(500):
        if job.id not in streams._channels:
            break
        ada.get("/healthz")

    assert job.id not in streams._channels


def test_a_stream_names_no_path_of_the_server(server, ada):
    job = a_running(server, "cccc00000008")
    server.say(job.id, f"reads {server.settings.folder}/datasets/dataset_1/a.csv")
    stop(server, job.id)

    text = ada.get(f"/v1/searches/{job.id}/events", headers=STREAM).text

    assert "reads dataset_1/a.csv" in text


def test_when_the_server_stops_its_streams_end_and_it_does_not_wait(tmp_path):
    lines = []
    with serving(tmp_path) as served:
        job = a_running(served, "cccc00000009", "local")
        client, ready = served.client(), threading.Event()

        def listen():
            with client.stream("GET", f"/v1/searches/{job.id}/events", headers=STREAM) as answer:
                for line in answer.iter_lines():
                    lines.append(line)
                    ready.set()

        listener = threading.Thread(target=listen)
        listener.start()
        assert ready.wait(10)
        served.stop()
        listener.join(5)

    assert not listener.is_alive()
    assert "event: end" not in lines


class Alone:
    """Streams of a server of its own, without a server: time and the store are the test's."""

    def __init__(self, served, **options):
        parts = served.app.state.parts
        self.streams = Streams(
            served.service.jobs, parts.present, open_log(served.log), every=0.01, **options
        )


async def _true():
    return True


async def _false():
    return False


def test_in_silence_a_comment_is_sent(server):
    job = a_running(server, "cccc00000010")

    async def listen():
        streams = Alone(server, heartbeat=0.02).streams
        async with streams.watching():
            chunks = streams.follow(server.service.jobs.job(job.id), 10_000, _true)
            return [await anext(chunks) for _ in range(3)]

    assert asyncio.run(listen()) == [b"retry: 2000\n\n", b": ping\n\n", b": ping\n\n"]


def test_a_stream_ends_when_its_key_is_revoked(server):
    job = a_running(server, "cccc00000011")

    async def listen():
        streams = Alone(server, heartbeat=0.02).streams
        async with streams.watching():
            job_now = server.service.jobs.job(job.id)
            return [chunk async for chunk in streams.follow(job_now, 10_000, _false)]

    assert asyncio.run(listen()) == [b"retry: 2000\n\n"]


def test_one_question_serves_all_streams_of_a_process(server):
    jobs = [a_running(server, f"cccc0000002{n}") for n in range(3)]
    asked = []

    class Counting:
        def __getattr__(self, name):
            asked.append(name)
            return getattr(server.service.jobs, name)

    async def listen():
        streams = Alone(server).streams
        streams._jobs = Counting()

        async def follow(job):
            return [chunk async for chunk in streams.follow(job, job.events, _true)]

        now = [server.service.jobs.job(job.id) for job in jobs]
        listeners = [asyncio.create_task(follow(job)) for job in now for _ in range(100)]
        await asyncio.sleep(0)
        await streams._look()
        assert asked == ["latest"]
        for job in jobs:
            stop(server, job.id)
        await streams._look()
        return await asyncio.gather(*listeners)

    found = asyncio.run(listen())

    assert all(chunks[-1].startswith(b"event: end") for chunks in found)
    assert asked.count("latest") == 2
    assert len(asked) == 2 + 3 * 3  # of each job that has changed two pages and its state


def test_a_store_that_goes_away_makes_streams_wait_and_no_more(server):
    job = a_running(server, "cccc00000030")
    broken = [True]

    class Breaking:
        def __getattr__(self, name):
            if broken[0]:
                raise StoreError("it is away")
            return getattr(server.service.jobs, name)

    async def listen():
        streams = Alone(server).streams
        streams._jobs = Breaking()
        async with streams.watching():
            now = server.service.jobs.job(job.id)
            chunks = streams.follow(now, now.events, _true)
            await anext(chunks)
            server.say(job.id, "meanwhile")
            told = asyncio.create_task(anext(chunks))
            while "it is away" not in server.log.getvalue():
                await asyncio.sleep(0.005)
            assert not told.done()
            broken[0] = False
            return await told

    assert re.search(rb"meanwhile", asyncio.run(listen()))


def test_a_job_that_goes_on_is_followed_on(server):
    job = a_running(server, "cccc00000031")

    async def listen():
        streams = Alone(server).streams
        async with streams.watching():
            now = server.service.jobs.job(job.id)
            chunks = streams.follow(now, now.events, _true)
            await anext(chunks)
            server.set(job.id, state=JobState.PAUSED)
            first = await anext(chunks)
            server.set(job.id, state=JobState.RUNNING)
            second = await anext(chunks)
            server.service.jobs.change(job.id, lambda j: replace(j, state=JobState.FAILED))
            return [first, second, await anext(chunks), await anext(chunks)]

    names = [re.search(rb"event: (\w+)", chunk)[1] for chunk in asyncio.run(listen())]
    assert names == [b"state", b"state", b"state", b"end"]


def test_of_many_who_begin_at_once_one_reads_what_was_before(server):
    job = a_running(server, "cccc00000032")
    server.say(job.id, *(str(n) for n in range(20)))
    stop(server, job.id)
    asked = []

    class Counting:
        def __getattr__(self, name):
            asked.append(name)
            return getattr(server.service.jobs, name)

    async def listen():
        streams = Alone(server).streams
        streams._jobs = Counting()
        now = server.service.jobs.job(job.id)

        async def follow():
            return b"".join([chunk async for chunk in streams.follow(now, 0, _true)])

        return await asyncio.gather(*(follow() for _ in range(100)))

    found = asyncio.run(listen())

    assert asked == ["events"]
    assert len(set(found)) == 1
    assert found[0].count(b"\nid: ") == server.service.jobs.job(job.id).events


def test_a_stream_in_which_much_happens_ends_too_when_its_key_is_revoked(server):
    job = a_running(server, "cccc00000041")
    asked = []

    async def once():
        asked.append(1)
        return len(asked) < 2

    async def listen():
        streams = Alone(server, heartbeat=60.0, asks_again=0.0).streams
        async with streams.watching():
            chunks = streams.follow(server.service.jobs.job(job.id), 0, once)
            told = [await anext(chunks)]
            server.say(job.id, "more")
            return [*told, *[chunk async for chunk in chunks]]

    assert asyncio.run(asyncio.wait_for(listen(), 20))[0] == b"retry: 2000\n\n"
    assert len(asked) == 2
