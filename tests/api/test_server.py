"""The server as a process: it stops when it is told to, and answers what it has begun."""

import re
import socket
import subprocess
import sys
import time

import httpx

PROGRAM = """
import sys
from pathlib import Path
from autopeft.api.app import create_app
from autopeft.api.server import serve
from autopeft.settings import ServiceSettings
from autopeft.storage.service.sql import SqlService
from autopeft.storage.sql import SqlStore
folder, port = sys.argv[1:]
address = str(Path(folder) / "store.db")
app = create_app(SqlService(address), SqlStore(address), ServiceSettings(files=folder))
serve(app, host="127.0.0.1", port=int(port))
"""


def a_free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_signal_stops_the_server_at_once_although_a_client_keeps_its_connection(tmp_path):
    port = a_free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(port)], stderr=subprocess.PIPE, text=True
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(600):
            try:
                assert client.get("/healthz").status_code == 200
                break
            except httpx.ConnectError:
                time.sleep(0.02)
        assert client.get("/v1/searches").status_code == 200
        process.terminate()
        _, log = process.communicate(timeout=10)

    assert process.returncode in {0, -15}
    lines = log.splitlines()
    assert all(line.startswith("{") for line in lines), log
    assert re.search(r'"path": "/v1/searches", "status": 200', log)


def test_what_is_no_http_is_refused_and_does_no_harm(open_server):
    host, port = open_server.url.removeprefix("http://").split(":")
    for noise in (b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"x" * 100_000):
        with socket.create_connection((host, int(port)), timeout=5) as raw:
            raw.sendall(noise)
            answer = raw.recv(100)
        assert answer.startswith(b"HTTP/1.1 4") or not answer

    assert open_server.client().get("/healthz").status_code == 200
