"""Files that are either whole or not there."""

import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from autopeft.errors import OutputError


def usual_cache() -> Path:
    """Return the folder of what can be made anew, where no other is asked for."""
    asked = os.environ.get("AUTOPEFT_CACHE")
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "autopeft"
    return Path(asked).expanduser() if asked else usual


def writable_folder(folder: Path) -> Path:
    """Make a folder and check that files can be written into it, before hours are spent.

    Raises:
        OutputError: It cannot be made, or not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, buffering=0) as probe:
            probe.write(b"?")
            probe.flush()
    except OSError as error:
        raise OutputError(
            f"cannot write into the output directory {folder}: {error.strerror or error}; "
            "make room or give another one with --out"
        ) from None
    return folder


@contextmanager
def results_folder(folder: Path) -> Iterator[Path]:
    """Make a folder as ``writable_folder`` does; on an error, folders made and left empty go again.

    Raises:
        OutputError: It cannot be made, or not be written to.
    """
    # Path.exists raises where a folder above may not be entered, before Python 3.14
    made = [each for each in (folder, *folder.parents) if not os.path.exists(each)]  # noqa: PTH110
    try:
        yield writable_folder(folder)
    except BaseException:
        with suppress(OSError):  # the first that is not empty, and so all above it
            for each in made:
                each.rmdir()
        raise


def write_bytes(file: Path, content: bytes) -> Path:
    """Write a file whole: a reader sees the old content or the new, and never a part.

    Raises:
        OutputError: It cannot be written, for instance because the disk is full.
    """
    # other threads write it too, and other machines, whose processes have the same numbers
    partial = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    try:
        try:
            with partial.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write {file}: {error.strerror or error}; make room or give another --out"
        ) from None
    return file


def write_text(file: Path, text: str) -> Path:
    """Write a text in UTF-8 as ``write_bytes`` does."""
    return write_bytes(file, text.encode())


def write_json(file: Path, document: Any) -> Path:
    """Write a JSON document, indented, with a final newline."""
    return write_text(file, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
