"""A server that answers with what a test has written down, and remembers what it was asked."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from autopeft.client import AsyncClient, Client
from autopeft.client.exchange import Patience

QUICK = Patience(first=0.0, retries=3, reconnections=3)
"""Tries again at once."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is sent back; with ``cut``, the connection breaks after so many bytes of the body."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


def problem(status: int, code: str, detail: str, *, headers=None, **more: Any) -> Answer:
    """Return a refusal as RFC 9457 has it."""
    document = {"type": f"/docs/problems#{code}", "title": code, "status": status, "code": code}
    body = json.dumps(document | {"detail": detail} | more).encode()
    return Answer(status=status, body=body, headers=headers or {})


@contextmanager
def answering(*answers: Answer) -> Iterator[tuple[str, list[Asked]]]:
    """Answer one request after another; give the address, and the list of what was asked."""
    left, asked = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self):
            length = self.headers.get("Content-Length")
            body = self.rfile.read(int(length)) if length else b""
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked.append(Asked(method=self.command, path=self.path, headers=headers, body=body))
            answer = left.pop(0)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut])
            self.close_connection = True

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, *words):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def waiting(url, use, **options):
    """Make a call with the client that waits; iterators are read to their end."""
    with Client(url, **({"patience": QUICK} | options)) as client:
        came = use(client)
        return list(came) if hasattr(came, "__next__") else came


def awaited(url, use, **options):
    """Make a call with the client that is awaited; iterators are read to their end."""

    async def run():
        async with AsyncClient(url, **({"patience": QUICK} | options)) as client:
            came = use(client)
            if hasattr(came, "__anext__"):
                return [each async for each in came]
            return await came

    return asyncio.run(run())


WAYS = (waiting, awaited)
