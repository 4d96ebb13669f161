"""The store in PostgreSQL, on a real server that is started for these tests."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autopeft.errors import StoreError
from autopeft.storage.sql import SqlStore
from tests.contracts.store import StoreContract, Surroundings, a_proposal, a_study

psycopg = pytest.importorskip("psycopg")
FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
PG_CTL = shutil.which("pg_ctl") or (str(FOUND[-1]) if FOUND else None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PG_CTL is None, reason="there is no PostgreSQL server on this machine"),
]


def run(*command: str) -> None:
    """Run a program of the server, which refuses to be root."""
    user = "nobody" if os.geteuid() == 0 else None
    subprocess.run(command, user=user, check=True, stdout=subprocess.DEVNULL, cwd="/")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A server that listens on a socket in its own folder, and nowhere else."""
    with tempfile.TemporaryDirectory(prefix="autopeft-pg-", ignore_cleanup_errors=True) as name:
        if os.geteuid() == 0:
            shutil.chown(name, "nobody")
        data = f"{name}/data"
        run(
            PG_CTL,
            "initdb",
            "-D",
            data,
            "-o",
            "--auth=trust --username=me --no-sync --encoding=UTF8",
        )
        run(PG_CTL, "start", "-w", "-D", data, "-l", f"{name}/log", "-o", f"-k {name} -h ''")
        try:
            yield Path(name)
        finally:
            run(PG_CTL, "stop", "-w", "-D", data, "-m", "immediate")


@pytest.fixture
def url(folder: Path) -> str:
    """An empty database."""
    with psycopg.connect(f"host={folder} user=me dbname=postgres", autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS studies WITH (FORCE)")
        connection.execute("CREATE DATABASE studies")
    return f"postgresql://me@/studies?host={folder}"


class TestPostgresStore(StoreContract):
    """PostgreSQL keeps what every store promises."""

    @pytest.fixture
    def store(self, url: str, surroundings: Surroundings) -> Iterator[SqlStore]:
        store = SqlStore(url, clock=surroundings.clock, process=surroundings.this_process)
        yield store
        store.close()


def test_several_may_open_an_empty_database_at_once(url):
    """One creates the tables, the others wait; then all of them number trials together."""
    study = a_study()

    def work(_worker: int) -> list[int]:
        store = SqlStore(url)
        store.add_study(study)
        numbers = [store.add_trial(study.id, a_proposal()).number for _ in range(10)]
        store.close()
        return numbers

    with ThreadPoolExecutor(4) as pool:
        given = [number for numbers in pool.map(work, range(4)) for number in numbers]

    assert sorted(given) == list(range(40))


def test_a_server_that_does_not_answer_is_refused(folder):
    """With what the driver says, and without the password."""
    with pytest.raises(
        StoreError, match=r"cannot be used .*see that its address is right"
    ) as caught:
        SqlStore(f"postgresql+psycopg://me:secret@/studies?host={folder}/none")
    assert "secret" not in str(caught.value)
