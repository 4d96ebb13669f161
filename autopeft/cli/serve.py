"""The commands that run a service: its API with a worker beside it, or a worker alone."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from autopeft.cli import options as opt
from autopeft.cli.console import note
from autopeft.cli.records import unfolded
from autopeft.errors import OptionError
from autopeft.service.job import Lane

if TYPE_CHECKING:
    from autopeft.api.server import Server
    from autopeft.service.ports import Service
    from autopeft.settings import Settings

HostOption = Annotated[
    str | None, typer.Option("--host", help="Where it listens. [default: 127.0.0.1]")
]
PortOption = Annotated[
    int | None,
    typer.Option("--port", min=0, max=65535, help="0 for any that is free. [default: 8700]"),
]
WorkerOption = Annotated[bool, typer.Option("--no-worker", help="Run the API alone.")]
WorkersOption = Annotated[int, typer.Option("--workers", help="Searches that run at once.")]
FilesOption = Annotated[
    str | None,
    typer.Option("--files", help="The folder of data sets and results, shared by all processes."),
]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option("--models", help="A folder whose models may be named, or several."),
]
RootsOption = Annotated[
    list[str] | None,
    typer.Option("--data", help="A folder whose data files may be named, or several."),
]
IdleOption = Annotated[
    float | None,
    typer.Option("--idle", help="Seconds without work until memory is given back. [default: 600]"),
]
HubOption = Annotated[
    bool | None, typer.Option("--hub", help="Models may be named by their hub ids.")
]
_NEEDED = ("fastapi", "prometheus_client", "python_multipart", "structlog", "uvicorn")
_FIRST, _LONGEST, _STEADY = 0.5, 30.0, 60.0
_GRACE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOptions:
    """What all processes of a service have in common."""

    store: opt.StoreOption = None
    files: FilesOption = None
    models: ModelsOption = None
    data: RootsOption = None
    hub: HubOption = None


@unfolded
def serve(
    host: HostOption = None,
    port: PortOption = None,
    no_worker: WorkerOption = False,
    workers: WorkersOption = 1,
    *,
    place: PlaceOptions,
) -> None:
    """Run a service: take searches over HTTP, and do them.

    It ends with Ctrl-C or SIGTERM: open requests are answered, and what runs is put back, to go on
    when the service is there again. Without any API key it answers to this machine alone.
    """
    from autopeft.wiring.sockets import service_of, store_of
    from autopeft.worker.supervisor import environment_of

    _must_be_installed()
    from autopeft.api.app import create_app
    from autopeft.api.server import Server

    os.umask(0o077)  # stores, data sets and results hold what only their owner may read
    chosen = chosen_of(place, host=host, port=port)
    count = opt.count_of("--workers", workers, 1)
    with ExitStack() as opened:
        listening = opened.enter_context(_listening(chosen.service.host, chosen.service.port))
        service = opened.enter_context(service_of(chosen.store_url).closing())
        _must_be_guarded(chosen.service.host, service)
        app = create_app(service, store_of(chosen.store_url), chosen.service)
        server = Server(app, host=chosen.service.host, port=chosen.service.port)
        note(_welcome(chosen, listening, 0 if no_worker else count))
        if not no_worker:
            opened.enter_context(
                Kept(_supervisor(count, "--tied"), environment_of(chosen.store_url, chosen.service))
            )
        _run(server, listening)


def chosen_of(place: PlaceOptions, **others: Any) -> "Settings":
    """Read the settings of a service from options, the environment and the file."""
    from autopeft.settings import settings

    given = {
        "files": place.files, "models": place.models or None, "data": place.data or None,
        "hub": place.hub, **others,
    }  # fmt: skip
    service = {name: value for name, value in given.items() if value is not None}
    return settings(store=place.store, service=service or None)


class Kept:
    """A process that is started again when it dies, as long as a ``with`` block lasts.

    Each time that it has lived for less than a minute, it is started a little later.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="worker", daemon=True)
        self._starting = threading.Lock()
        self._process = self._started()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._starting:
            self._over.set()
            self._process.terminate()
        try:
            self._process.wait(_GRACE)
        finally:  # also where Ctrl-C comes a second time
            self._process.kill()

    def _started(self) -> "subprocess.Popen[bytes]":
        # In a session of its own, so that Ctrl-C reaches it through us, in its turn. It reads from
        # a pipe that closes however this process ends.
        return subprocess.Popen(
            self._command, env=dict(self._environment), stdin=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    def _watch(self) -> None:
        pause = _FIRST
        while True:
            began = time.monotonic()
            code = self._process.wait()
            if self._over.is_set():
                return
            pause = _FIRST if time.monotonic() - began > _STEADY else min(2 * pause, _LONGEST)
            note(f"the worker has ended with {code}; it is started again")
            if self._over.wait(pause):
                return
            with self._starting:
                if self._over.is_set():
                    return
                self._process = self._started()


def _supervisor(workers: int, *more: str) -> list[str]:
    """Return the command line of what starts a process for each lane when there is work for it."""
    lanes = [Lane.CHECKS, Lane.CHECKS, *[Lane.RUNS] * workers]
    words = [word for lane in lanes for word in ("--lane", lane.value)]
    return [sys.executable, "-m", "autopeft.worker", *words, *more]


def _must_be_installed() -> None:
    """Refuse to serve without the packages of the service.

    Raises:
        OptionError: One is missing.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise OptionError(f"a service needs {', '.join(missing)}: pip install 'autopeft[service]'")


def _must_be_guarded(host: str, service: "Service") -> None:
    """Refuse to be reached from elsewhere while there is no key that could let anybody in.

    Raises:
        OptionError: The address is not this machine's alone, and no key is valid.
    """
    from autopeft.api.access import is_loopback

    now, known = datetime.now(UTC), service.keys.keys()
    if not is_loopback(host) and not any(key.valid_at(now) for key in known):
        raise OptionError(
            f"--host {host} is reached from elsewhere, and there is no API key yet: make one with "
            "autopeft keys create --owner NAME, or leave --host out"
        )


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Take a port, and see at once if it is another's.

    Raises:
        OptionError: There is no such address, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
            yield taken
    except OSError as error:
        raise OptionError(
            f"cannot listen on port {port} of {host}: {error.strerror or error}; give another "
            "--port or --host"
        ) from None


def _welcome(chosen: "Settings", listening: socket.socket, workers: int) -> str:
    from autopeft.storage.addresses import parse_address

    host, port = chosen.service.host, listening.getsockname()[1]
    at = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    beside = {0: "no worker", 1: "one worker"}.get(workers, f"{workers} workers")
    return (
        f"autopeft serves {at} with {beside}; store {parse_address(chosen.store_url)}, files "
        f"{chosen.service.folder}; Ctrl-C ends it"
    )


def _run(server: "Server", listening: socket.socket) -> None:
    """Serve until a signal comes; the server raises it again at its end, to no effect."""

    def stop(number: int, frame: object) -> None:
        del number, frame
        server.should_exit = True

    before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[listening])
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@unfolded
def worker(
    workers: WorkersOption = 1,
    idle: IdleOption = None,
    *,
    place: PlaceOptions,
) -> None:
    """Do the work of a service, beside others that do, on this machine or another.

    All of them share the store and the folder of --files. It ends with Ctrl-C or SIGTERM: what
    runs is put back, and another worker takes it.
    """
    chosen = chosen_of(place, idle=idle)
    from autopeft.worker.supervisor import environment_of

    command = _supervisor(opt.count_of("--workers", workers, 1))
    sys.stderr.flush()
    os.execve(command[0], command, environment_of(chosen.store_url, chosen.service))
