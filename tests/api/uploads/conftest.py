"""A real server in a thread, and a real client."""

import io
import threading
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import httpx
import pytest

from autopeft.api.app import create_app
from autopeft.api.server import Server
from autopeft.service.key import Quota, Scope, new_key
from autopeft.settings import ServiceSettings
from autopeft.storage.service.sql import SqlService
from autopeft.storage.sql import SqlStore


@contextmanager
def serving(folder, **changes):
    """Serve a fresh store until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{folder / 'store.db'}"
    log = io.StringIO()
    with ExitStack() as stack:
        service = stack.enter_context(SqlService(url).closing())
        store = SqlStore(url)
        stack.callback(store.close)
        values = {"files": str(folder / "files"), "requests": 1e6, "burst": 1_000_000}
        settings = ServiceSettings(**(values | changes))
        server = Server(create_app(service, store, settings, log=log), host="127.0.0.1", port=0)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        base = f"http://127.0.0.1:{server.port}"
        client = stack.enter_context(httpx.Client(base_url=base, timeout=30))
        yield SimpleNamespace(
            service=service, store=store, settings=settings, client=client, log=log, base=base,
            port=server.port, root=settings.folder / "datasets",
        )  # fmt: skip
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def running(tmp_path):
    """A service without keys."""
    with serving(tmp_path) as service:
        yield service


@pytest.fixture
def serve(tmp_path):
    """Start a service with other settings."""
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(serving(tmp_path, **changes))


@pytest.fixture
def client_of(running):
    """Make clients that have a key."""
    with ExitStack() as stack:

        def made(owner, scope=Scope.SUBMIT, **quota):
            key, token = new_key(
                owner, "test", scope, created=datetime.now(UTC), quota=Quota(**quota)
            )
            running.service.keys.add(key)
            headers = {"Authorization": f"Bearer {token}"}
            return stack.enter_context(
                httpx.Client(base_url=running.base, headers=headers, timeout=30)
            )

        yield made
