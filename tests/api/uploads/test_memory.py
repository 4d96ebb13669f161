"""What an upload costs the process that takes it: nothing that grows with it."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import psutil
import pytest

SERVER = """
    import sys
    from autopeft.api.app import create_app
    from autopeft.api.server import Server
    from autopeft.settings import ServiceSettings
    from autopeft.storage.service.sql import SqlService
    from autopeft.storage.sql import SqlStore

    folder = sys.argv[1]
    url = f"sqlite:///{folder}/store.db"
    app = create_app(SqlService(url), SqlStore(url), ServiceSettings(files=f"{folder}/files"))

    class Told(Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            print(self.port, flush=True)

        async def shutdown(self, sockets=None):
            large = {"torch", "transformers", "datasets", "peft", "optuna", "ray"}
            print("loaded", *sorted(large & set(sys.modules)), flush=True)
            await super().shutdown(sockets)

    Told(app, host="127.0.0.1", port=0).run()
"""

HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'


@pytest.fixture
def server(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVER), str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("form", [False, True])
def test_half_a_gigabyte_is_taken_without_holding_it(server, form):
    """The process is looked at while the bytes come, and stays far below their number."""
    process, port = server
    size, piece = 512 * 2**20, os.urandom(2**20)
    about, most = psutil.Process(process.pid), 0
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
        client.get("/healthz")
        before = about.memory_info().rss

        def content():
            nonlocal most
            if form:
                yield HEAD
            for _ in range(size // len(piece)):
                most = max(most, about.memory_info().rss)
                yield piece
            if form:
                yield b"\r\n--b--\r\n"

        kind = "multipart/form-data; boundary=b" if form else "application/octet-stream"
        answer = client.post(
            "/v1/datasets?name=a.csv", content=content(), headers={"Content-Type": kind}
        )
        after = about.memory_info().rss
    assert answer.status_code == 201
    assert answer.json()["bytes"] == size
    assert most - before < 40 * 2**20, f"{(most - before) / 2**20:.0f} MiB more"
    assert after < 250 * 2**20, f"{after / 2**20:.0f} MiB resident"


def test_a_process_that_takes_uploads_and_tells_of_methods_loads_nothing_large(server, tmp_path):
    process, port = server
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        upload = {"file": ("a.csv", b"text,label\na,b\n")}
        made = client.post("/v1/datasets", files=upload).json()["id"]
        client.delete(f"/v1/datasets/{made}")
        for place in ("spaces", "methods", "strategies", "models", "searches", "datasets"):
            assert client.get(f"/v1/{place}").status_code == 200
    assert psutil.Process(process.pid).memory_info().rss < 250 * 2**20
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "loaded\n"
    assert not any(Path(tmp_path, "files/datasets").glob("dataset_*"))
