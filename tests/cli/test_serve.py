"""A service as a process: where it listens, what it refuses, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from autopeft.cli.app import app
from autopeft.cli.serve import Kept, PlaceOptions, chosen_of
from autopeft.client import Client
from autopeft.errors import OptionError
from autopeft.service.key import Scope, new_key
from autopeft.settings import settings
from autopeft.wiring.sockets import service_of
from autopeft.worker.supervisor import environment_of
from tests.journeys.commands import command, environment
from tests.journeys.services import STORE, served, until


def test_a_service_answers_and_ends_in_good_order(tmp_path):
    """Its worker is started again when it is killed, and ends with it."""
    with served(tmp_path) as service, Client(service.url) as client:
        assert client.health().ready
        (first,) = until(service.supervisors)
        os.kill(first, signal.SIGKILL)
        until(lambda: service.supervisors() not in ([], [first]))
        service.process.terminate()

        assert service.process.wait(30) == 0
        assert service.supervisors() == []
    assert "the worker has ended with -9; it is started again" in service.log.read_text()


@pytest.mark.slow
def test_control_c_ends_it_without_a_traceback(tmp_path):
    with served(tmp_path, "--no-worker") as service, Client(service.url) as client:
        assert client.searches.list().data == []
        assert service.supervisors() == []
        service.process.send_signal(signal.SIGINT)

        assert service.process.wait(30) == 0
    assert "Traceback" not in service.log.read_text()


@pytest.mark.slow
def test_a_worker_does_not_outlive_a_service_that_was_killed(tmp_path):
    with served(tmp_path) as service:
        until(service.supervisors)
        service.process.kill()

        until(lambda: not service.supervisors())


@pytest.mark.slow
def test_a_worker_runs_alone_and_ends_in_good_order(tmp_path):
    process = subprocess.Popen(
        command("worker", "--store", STORE, "--files", "files"), cwd=tmp_path,
        env=environment(tmp_path), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with service_of(f"sqlite:///{tmp_path / 'store.db'}").closing() as service:
        until(lambda: sum(service.jobs.counts().workers.values()))
    process.terminate()

    assert process.wait(30) == 0


def serve(*words):
    CliRunner().invoke(app, ["serve", *words, "--no-worker"], catch_exceptions=False)


@pytest.fixture
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("AUTOPEFT_STORE", STORE)


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_another_address_is_refused_without_a_valid_key(host):
    """An expired key and a revoked one let nobody in."""
    now = datetime.now(UTC)
    with service_of(STORE).closing() as service:
        old, _ = new_key("ada", "", Scope.READ, created=now, expires=now - timedelta(days=1))
        gone, _ = new_key("ada", "", Scope.READ, created=now)
        service.keys.add(old)
        service.keys.add(gone)
        service.keys.revoke(gone.id, now)

    with pytest.raises(OptionError, match="there is no API key yet: make one with autopeft keys"):
        serve("--host", host, "--port", "0")


@pytest.mark.usefixtures("_here")
def test_a_port_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            OptionError,
            match=rf"cannot listen on port {port} of 127\.0\.0\.1: .*give another --port",
        ):
            serve("--port", str(port))


@pytest.mark.usefixtures("_here")
def test_an_address_that_is_not_here_is_told():
    with pytest.raises(OptionError, match=r"cannot listen on port 0 of 192\.0\.2\.1: "):
        serve("--host", "192.0.2.1", "--port", "0")


@pytest.mark.usefixtures("_here")
def test_a_package_that_is_missing_is_told(monkeypatch):
    monkeypatch.setattr("autopeft.cli.serve._NEEDED", ("uvicorn", "no_such_package"))

    with pytest.raises(OptionError, match=r"no_such_package: pip install 'autopeft\[service\]'"):
        serve("--port", "0")


@pytest.mark.usefixtures("_here")
def test_what_a_worker_is_started_with_is_what_the_service_has(monkeypatch, tmp_path):
    """Options, the environment and the file together; the user's key is nothing of its business."""
    (tmp_path / "autopeft.toml").write_text("[service]\nidle = 5\nport = 1\n")
    monkeypatch.setenv("AUTOPEFT_SERVICE__PORT", "2")
    monkeypatch.setenv("AUTOPEFT_KEY", "apk_1_secret")
    chosen = chosen_of(PlaceOptions(models=["a", "b"], hub=True), port=3)
    given = environment_of(chosen.store_url, chosen.service)

    for name in ("AUTOPEFT_SERVICE__PORT", "AUTOPEFT_KEY"):
        monkeypatch.delenv(name)
    for name in ("AUTOPEFT_STORE", "AUTOPEFT_SERVICE"):
        monkeypatch.setenv(name, given[name])
    assert "secret" not in str(given)
    assert settings().service == chosen.service
    assert (chosen.service.idle, chosen.service.port) == (5, 3)
    assert (chosen.service.models, chosen.service.hub) == (("a", "b"), True)


def test_a_process_that_ends_at_once_is_started_later_and_later(capfd):
    with Kept([sys.executable, "-c", "raise SystemExit(3)"], {}):
        until(lambda: capfd.readouterr().err.count("ended with 3") > 0)
