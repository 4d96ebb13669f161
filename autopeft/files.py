"""Files that are either whole or not there."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from autopeft.errors import OutputError


def writable_folder(folder: Path) -> Path:
    """Make a folder and check that files can be written into it, before hours are spent.

    Raises:
        OutputError: It cannot be made, or not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as probe:
            probe.write(b"?")
            probe.flush()
    except OSError as error:
        raise OutputError(
            f"cannot write into the output directory {folder}: {error.strerror or error}; "
            "make room or give another one with --out"
        ) from None
    return folder


def write_text(file: Path, text: str) -> Path:
    """Write a file whole: a reader sees the old content or the new, and never a part.

    Raises:
        OutputError: It cannot be written, for instance because the disk is full.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        try:
            with partial.open("w", encoding="utf-8") as stream:
                stream.write(text)
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


def write_json(file: Path, document: Any) -> Path:
    """Write a JSON document, indented, with a final newline."""
    return write_text(file, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
