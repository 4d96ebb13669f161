"""The folder with what lower blocks make of data: shared by processes, bounded in bytes.

    <cache>/trunks/<digest>.safetensors      one block's vectors of one part, see `row_file`
                   filling.lock              held by the process that computes some

When there is no room for another file, those that were used the longest time ago are removed. What
is open stays readable on POSIX, and cannot be removed elsewhere.
"""

import logging
import os
import time
from collections.abc import Collection, Generator, Iterator
from contextlib import suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from autopeft.training.trunk.row_file import PARTIAL, RowFile, opened

logger = logging.getLogger(__name__)

_SUFFIX = ".safetensors"
_LOOKED = 0.1  # seconds between two looks whether another process has finished
_PATIENCE = 600.0  # seconds after which a partial file, or a held lock, is taken for abandoned


class Shelf:
    """The files of a folder, of at most ``limit`` bytes together."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self.failed = False
        self._problems: list[str] = []
        self._starts: set[int] = set()
        self._of = 0
        self._open: dict[str, RowFile] = {}

    @property
    def told(self) -> tuple[str, ...]:
        """What a user may want to know of how trials went by these files, each thing once."""
        if not self._starts:
            return tuple(self._problems)
        blocks = "block" if len(self._starts) == 1 else "blocks"
        listed = ", ".join(map(str, sorted(self._starts)))
        return (*self._problems, f"trials start from cached {blocks} {listed} of {self._of}")

    def begun(self, row: int, of: int) -> None:
        """Note that a trial goes on from a row of so many."""
        if row not in self._starts:
            logger.info("trials start from cached block %d of %d", row, of)
        self._starts.add(row)
        self._of = of

    def refused(self, why: str) -> None:
        """Note why a trial computes all blocks."""
        problem = f"trials compute all blocks: {why}"
        if problem not in self._problems:
            self._problems.append(problem)
            logger.warning("%s", problem)

    def fail(self, error: OSError) -> str:
        """Leave the folder alone from now on, and return what is wrong with it."""
        self.failed = True
        return f"{self.folder} cannot be used: {error.strerror or error}"

    def file(self, name: str) -> Path:
        """Return where the file of this name is, or would be."""
        return self.folder / f"{name}{_SUFFIX}"

    def find(self, name: str) -> RowFile | None:
        """Open a file, once a process; a damaged one is removed. None where there is none.

        Raises:
            OSError: It cannot be read.
        """
        if name not in self._open:
            try:
                found = opened(file := self.file(name), name)
            except FileNotFoundError:
                return None
            if found is None:
                file.unlink(missing_ok=True)
                return None
            self._open[name] = found
        with suppress(OSError):  # the time of its last use; another process may have removed it
            os.utime(self.file(name))
        return self._open[name]

    def locked(self) -> Generator[float, None, BaseFileLock]:
        """Wait for the right to fill, yielding 0 now and then, and return the lock.

        After ten minutes whoever holds it is thought to be asleep. That two fill at once does no
        harm: either file is whole.

        Raises:
            OSError: The folder cannot be written to.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "filling.lock", timeout=0, thread_local=False)
        began = time.monotonic()
        while time.monotonic() - began < _PATIENCE:
            try:
                lock.acquire()
            except Timeout:
                yield 0.0
                time.sleep(_LOOKED)
            else:
                break
        return lock

    def make_room(self, need: int, keep: Collection[str]) -> None:
        """Remove what was used the longest time ago, until so many bytes more fit in."""
        kept = {self.file(name) for name in keep}
        files = sorted(self._removable(), key=lambda entry: entry[0])
        room = self.limit - need - sum(size for _, size, _ in files)
        for _, size, file in files:
            if room >= 0:
                return
            if file not in kept:
                with suppress(OSError):
                    file.unlink()
                    room += size

    def _removable(self) -> Iterator[tuple[float, int, Path]]:
        now = time.time()
        for file in self.folder.iterdir():
            with suppress(FileNotFoundError):
                told = file.stat()
                if file.suffix == _SUFFIX:
                    yield told.st_mtime, told.st_size, file
                elif file.suffix == PARTIAL and now - told.st_mtime > _PATIENCE:
                    yield 0.0, told.st_size, file  # its writer was killed
