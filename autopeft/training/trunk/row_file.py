"""What one block returns for every example of a part, in a file that is read batch by batch.

It is not mapped into memory: pages that were looked at once would count as this process's own, and
against a limit, though the system keeps them for all that read the file anyway.

It is a safetensors file: ``spans`` are first row and number of rows of every example, ``rows`` the
vectors of all tokens, without padding. Its header names the format, what the file holds, and the
digest of its content. It is written under another name, and has its own once it is whole.

Axes: B batch, T tokens, N rows of all examples, D width.
"""

import hashlib
import json
import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

FORMAT = "autopeft-trunk/1"
"""Changes whenever a file of the same name would hold something else."""

PARTIAL = ".partial"
_HEADER = 4096
_LENGTH = 8  # bytes in which safetensors writes how long the header is
_CHUNK = 2**22
_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


class RowFile:
    """The vectors of all examples; ``spans`` are their rows, ``width`` and ``dtype`` a row's."""

    def __init__(
        self, file: Path, spans: NDArray[np.int64], width: int, dtype: torch.dtype
    ) -> None:
        self._file = os.open(file, os.O_RDONLY)  # also when another one takes its name
        weakref.finalize(self, os.close, self._file)
        self._spans, self._width, self._dtype = spans, width, dtype

    def batch(self, examples: NDArray[np.int64], tokens: int | None) -> Tensor:
        """Return the vectors of some examples, padded on the right with zeros, ``(B, T, D)``.

        ``tokens`` is T; where it is None, all examples have as many.

        Raises:
            OSError: The file cannot be read any more.
        """
        spans = self._spans[examples]
        longest = int(spans[:, 1].max()) if tokens is None else tokens
        out_BTD = torch.zeros(len(spans), longest, self._width, dtype=self._dtype)
        for out_TD, (start, count) in zip(out_BTD, spans.tolist(), strict=True):
            self._read(start, out_TD[:count])
        return out_BTD

    def _read(self, start: int, into_TD: Tensor) -> None:
        place = _HEADER + self._spans.nbytes + start * self._width * self._dtype.itemsize
        into = into_TD.view(torch.uint8).numpy().data
        if os.preadv(self._file, [into], place) < into_TD.nbytes:
            raise OSError(
                "a file of the block cache has become shorter since it was opened: leave its "
                "folder alone while a search runs, and start the search again"
            )


def opened(file: Path, name: str) -> RowFile | None:
    """Open a file that holds what ``name`` says; None where it is damaged or holds another thing.

    Raises:
        OSError: It is not there, or cannot be read.
    """
    if not file.exists():
        raise FileNotFoundError(file)
    try:
        with safe_open(file, framework="pt") as stored:
            about = stored.metadata() or {}
            if (about.get("format"), about.get("name")) != (FORMAT, name):
                return None
            rows, spans = stored.get_slice("rows"), stored.get_tensor("spans").numpy().copy()
            width, dtype = rows.get_shape()[1], _DTYPES[rows.get_dtype()]
    except (SafetensorError, KeyError, ValueError, IndexError):
        return None
    if about.get("digest") != _digest(file, spans.nbytes):
        return None
    return RowFile(file, spans, width, dtype)


def _digest(file: Path, first: int) -> str:
    """Return the digest of the rows, and then of the ``first`` bytes: the spans are known last."""
    found = hashlib.sha256()
    with file.open("rb") as stream:
        stream.seek(_HEADER + first)
        while chunk := stream.read(_CHUNK):
            found.update(chunk)
        stream.seek(_HEADER)
        found.update(stream.read(first))
    return found.hexdigest()


class Writing:
    """Writes such a file example by example, in any order."""

    def __init__(self, stream: IO[bytes], examples: int) -> None:
        self._stream = stream
        self._spans = np.zeros((examples, 2), dtype=np.int64)
        self._digest = hashlib.sha256()
        self._rows, self._width, self._dtype = 0, 0, torch.float32
        stream.seek(_HEADER + self._spans.nbytes)

    def add(self, example: int, states_TD: Tensor) -> None:
        """Add the vectors of an example."""
        content = states_TD.contiguous().view(torch.uint8).numpy().tobytes()
        self._stream.write(content)
        self._digest.update(content)
        self._spans[example] = self._rows, len(states_TD)
        self._rows += len(states_TD)
        self._width, self._dtype = states_TD.shape[1], states_TD.dtype

    def end(self, name: str) -> None:
        """Write what the file is made of, and what it holds."""
        self._digest.update(self._spans.tobytes())
        first = self._spans.nbytes
        whole = first + self._rows * self._width * self._dtype.itemsize
        about = {"format": FORMAT, "name": name, "digest": self._digest.hexdigest()}
        header: dict[str, Any] = {
            "__metadata__": about,
            "spans": {"dtype": "I64", "shape": self._spans.shape, "data_offsets": [0, first]},
            "rows": {
                "dtype": _NAMES[self._dtype],
                "shape": [self._rows, self._width],
                "data_offsets": [first, whole],
            },
        }
        text = json.dumps(header).encode().ljust(_HEADER - _LENGTH)
        self._stream.seek(0)
        self._stream.write(len(text).to_bytes(_LENGTH, "little") + text)
        self._stream.write(self._spans.tobytes())


@contextmanager
def written(files: Sequence[Path], names: Sequence[str], examples: int) -> Iterator[list[Writing]]:
    """Write files that are there, each under its name, when the ``with`` block ends well.

    Whoever reads one sees it whole or not at all. Nothing waits for the disk: what a power cut
    leaves of it is told by its digest.

    Raises:
        OSError: They cannot be written, for instance because the disk is full.
    """
    partial = [file.with_name(f".{file.name}.{os.getpid()}{PARTIAL}") for file in files]
    try:
        with ExitStack() as closing:
            streams = [closing.enter_context(file.open("w+b")) for file in partial]
            writings = [Writing(stream, examples) for stream in streams]
            yield writings
            for writing, name in zip(writings, names, strict=True):
                writing.end(name)
        for before, file in zip(partial, files, strict=True):
            before.replace(file)
    finally:
        for file in partial:
            file.unlink(missing_ok=True)
