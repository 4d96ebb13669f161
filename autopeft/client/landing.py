"""A file on its way from the service: whole under its name, or not there."""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from autopeft.errors import OutputError, ServiceError

_PART = 206
_DIGEST = re.compile(r'"([0-9a-f]{64})"')


class Landing:
    """Takes the parts of a file; a connection that was lost goes on where it broke off."""

    def __init__(self, into: Path) -> None:
        self._into = into
        self._partial = into.with_name(f".{into.name}.{os.getpid()}.partial")
        self._tag = ""
        self._digest = hashlib.sha256()

    def headers(self) -> dict[str, str]:
        """Ask for the rest where a part is there already, as long as the file is still the same."""
        known = self._partial.stat().st_size if self._tag and self._partial.exists() else 0
        return {"Range": f"bytes={known}-", "If-Range": self._tag} if known else {}

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Take account of what is to come: all of the file, or its rest."""
        self._tag = headers.get("etag", "")
        if status != _PART:
            self._digest = hashlib.sha256()
            self._do("wb", b"")

    def write(self, chunk: bytes) -> None:
        """Add what came.

        Raises:
            OutputError: It cannot be written.
        """
        self._do("ab", chunk)
        self._digest.update(chunk)

    def finish(self) -> None:
        """Give the file its name, now that it is whole.

        Raises:
            ServiceError: It is not what the service's tag, the SHA-256, says that it is.
            OutputError: It cannot be written.
        """
        promised = _DIGEST.fullmatch(self._tag)
        if promised and promised[1] != self._digest.hexdigest():
            raise ServiceError(f"{self._into.name} was changed on its way: fetch it again")
        try:
            self._partial.replace(self._into)
        except OSError as error:
            raise self._unwritable(error) from None

    def give_up(self) -> None:
        """Leave nothing behind."""
        self._partial.unlink(missing_ok=True)

    def _do(self, mode: str, chunk: bytes) -> None:
        try:
            with self._partial.open(mode) as stream:
                stream.write(chunk)
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot write {self._into}: {error.strerror or error}; make room or give another --out"
        )
