"""A server on this machine with real records, and a browser's tab that looks at it."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopeft.api.app import create_app
from autopeft.api.server import Server
from autopeft.settings import ServiceSettings
from autopeft.storage.service.sql import SqlService
from autopeft.storage.sql import SqlStore
from tests.page.content import Clock, Written

PATIENCE = 10_000  # milliseconds that a browser on a busy machine may take for anything


@dataclass
class Site:
    """A server on this machine: where it is, what it serves, and how to stop and start it."""

    url: str
    written: Written
    settings: ServiceSettings
    ids: dict[str, str]


@contextmanager
def serving(written: Written, settings: ServiceSettings, port: int = 0) -> Iterator[str]:
    """Serve a store during a ``with`` block; gives the address."""
    app = create_app(written.service, written.store, settings, log=io.StringIO())
    server = Server(app, host="127.0.0.1", port=port)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)  # it says nothing when it is ready
    try:
        yield f"http://127.0.0.1:{server.port}/"
    finally:
        server.should_exit = True
        thread.join(10)


def stored_in(folder: Path) -> Written:
    """Open a store of its own in a folder."""
    url, clock = f"sqlite:///{folder / 'store.db'}", Clock()
    return Written(store=SqlStore(url), service=SqlService(url, clock=clock), clock=clock)


def settings_in(folder: Path) -> ServiceSettings:
    """Return the settings of a service that keeps its files in a folder."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    for name in ("reviews.csv", "others.csv"):
        (data / name).write_text("text,label\ngood,1\nbad,0\n")
    return ServiceSettings(
        files=str(folder / "files"), data=(str(data),), requests=1000.0, burst=1000
    )


@dataclass
class Window:
    """A tab, and all that it has asked for and complained about."""

    page: Any
    asked: list[str]
    complaints: list[str]


@contextmanager
def window_of(browser: Any, **how: Any) -> Iterator[Window]:
    """Open a tab of its own, without anything kept from others."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **how})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    window = Window(page=page, asked=[], complaints=[])
    page.on("request", lambda request: window.asked.append(request.url))
    page.on("pageerror", lambda error: window.complaints.append(str(error)))
    page.on(
        "console",
        lambda said: said.type in {"error", "warning"} and window.complaints.append(said.text),
    )
    try:
        yield window
    finally:
        context.close()
