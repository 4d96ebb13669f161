"""The page for operators: its unit, its proxy and its backup do what it says."""

import os
import re
import shutil
import socket
import sqlite3
import ssl
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from autopeft.service.job import JobState
from autopeft.storage.service.sql import SqlService
from tests.api.serving import SEARCH, serving
from tests.api.studies import a_job

PAGE = Path(__file__).parents[2] / "docs/operating.md"
STREAM = {"Accept": "text/event-stream"}


def snippet(language: str) -> str:
    return next(iter(re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)))


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if not shutil.which(name)]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


@needs("systemd-analyze")
def test_the_unit_is_one_that_systemd_takes(tmp_path):
    unit = tmp_path / "autopeft.service"
    found = snippet("ini").replace("/opt/autopeft/bin/autopeft serve", "/bin/true")
    unit.write_text(found.replace("User=autopeft", f"User={os.getuid()}"))

    checked = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert [line for line in checked.stderr.splitlines() if "autopeft" in line] == []
    assert checked.returncode == 0


@contextmanager
def proxied(url: str, folder: Path):
    """Run nginx with the page's server block in front of a service."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
         "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    block = snippet("nginx").replace("listen 443", f"listen 127.0.0.1:{port}")
    block = block.replace("http://127.0.0.1:8700", url)
    certificate = f"ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;"
    places = " ".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {places} {certificate}\n{block}}}\n"
    )
    process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)])
    try:
        reached(port)
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def reached(port: int) -> None:
    end = time.monotonic() + 20
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < end, "nginx has not started"
        time.sleep(0.02)


@needs("nginx", "openssl")
def test_behind_the_proxy_streams_come_at_once_and_uploads_pass(tmp_path):
    trusted = ssl.create_default_context()
    trusted.check_hostname, trusted.verify_mode = False, ssl.CERT_NONE
    with serving(tmp_path) as server, proxied(server.url, tmp_path) as url:
        headers = {"Authorization": f"Bearer {server.key('ada')}"}
        job = server.add(a_job("1", owner="ada", state=JobState.RUNNING))
        with httpx.Client(base_url=url, headers=headers, verify=trusted, timeout=20) as client:
            with client.stream("GET", f"/v1/searches/{job.id}/events", headers=STREAM) as answer:
                lines = answer.iter_lines()
                server.say(job.id, "said while the stream is open")
                assert any("said while the stream is open" in line for line in lines)
            rows = b"text,label\n" + b"a,1\nb,0\n" * 400_000
            upload = client.post("/v1/datasets", params={"name": "rows.csv"}, content=rows,
                                 headers={"Content-Type": "application/octet-stream"})  # fmt: skip
            assert (upload.status_code, upload.json()["bytes"]) == (201, len(rows))
            with httpx.Client(base_url=url, verify=trusted, timeout=20) as nobody:
                assert nobody.get("/v1/searches").status_code == 401


@needs("sqlite3", "tar")
def test_the_backup_of_a_service_that_runs_can_be_opened(tmp_path):
    with serving(tmp_path) as server:
        client = server.as_("ada")
        made = client.post("/v1/searches", json=SEARCH).json()["id"]
        lines = snippet("bash").replace("/var/lib/autopeft", server.settings.files)
        Path(server.settings.files).mkdir(exist_ok=True)
        subprocess.run(["bash", "-ec", lines], cwd=tmp_path, check=True)

    assert (tmp_path / "files.tar.gz").stat().st_size > 0
    with sqlite3.connect(tmp_path / "backup.db") as copy:
        assert copy.execute("pragma integrity_check").fetchone() == ("ok",)
    service = SqlService(f"sqlite:///{tmp_path / 'backup.db'}")
    assert service.jobs.job(made).owner == "ada"
    service.close()
