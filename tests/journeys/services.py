"""A service as an operator runs it: a process, with workers that can be found and killed."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.journeys.commands import command, environment

STORE = "sqlite:///store.db"
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A service that runs: where it is, its process, what it has logged."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path
    folder: Path

    def workers(self, *words: str) -> list[int]:
        """Return the worker processes whose command line has these words."""
        wanted = {"autopeft.worker", *words}
        return [pid for pid, line in _processes(f"MARK={self.folder}") if wanted <= set(line)]

    def supervisors(self) -> list[int]:
        """Return what starts the workers."""
        return [pid for pid in self.workers() if pid not in self.workers("--only")]


@contextmanager
def served(folder: Path, *words: str) -> Iterator[Running]:
    """Run a service on a free port, with its store and files in a folder, and end it."""
    log = folder / "serve.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command("serve", "--port", "0", "--store", STORE, "--files", "files", *words),
            cwd=folder, env=environment(folder) | {"MARK": str(folder)},
            stderr=stream, start_new_session=True,
        )  # fmt: skip
    try:
        found = until(lambda: re.search(r"serves (http://\S+) ", log.read_text()))
        yield Running(url=found[1], process=process, log=log, folder=folder)
    finally:
        process.terminate()
        process.wait(timeout=60)


def until(holds: Callable[[], Found], seconds: float = 30) -> Found:
    """Wait for something that another process does, and return it."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it has not come to pass"
        time.sleep(0.02)
    return found


def _processes(mark: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the command lines of all processes that were started with a variable."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (place / "environ").read_bytes().split(b"\0"):
                words = (place / "cmdline").read_bytes().decode().split("\0")
                yield int(place.name), words
        except OSError:  # it has ended in the meantime
            continue
