"""Files on their way in: streamed to disk, counted, digested, and gone again on any error.

What comes is written into a folder of its own below ``datasets/.incoming`` and takes its place by
a rename once it is whole. Nothing of what a user calls it becomes part of a path but the ending.
"""

import hashlib
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from autopeft.api.forms import AROUND, FormParts
from autopeft.api.problems import ProblemError
from autopeft.wiring.uploaded import FORMATS

INCOMING = ".incoming"
PATIENCE = 60.0
"""Seconds without a byte after which a client is taken for lost."""
AT_ONCE = 8
"""Uploads that one owner may have on their way."""
SPARE = 256 * 2**20
"""Bytes of the disk that uploads leave to the store and the results."""
_FLUSH = 2**20
_LOOK = 16 * 2**20
_LOST = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one upload, and all that an owner keeps, may take; None is without a limit.

    ``kept`` says how many bytes the owner has by now.
    """

    most: int
    quota: int | None
    kept: Callable[[], int]


@dataclass(slots=True, kw_only=True)
class Incoming:
    """An upload that arrives: where its bytes are, how many, and their digest so far."""

    folder: Path
    owner: str
    limits: Limits
    name: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    size: int = 0
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    _buffer: bytearray = field(default_factory=bytearray)
    _looked: int = 0

    @property
    def digest(self) -> str:
        """The SHA-256 of what has arrived."""
        return self._hash.hexdigest()

    @property
    def file(self) -> Path:
        """Where it is written; only the ending is the user's, and one of those that are known."""
        return self.folder / f"data{ending_of(self.name)}"

    async def take(self, chunk: bytes) -> None:
        """Take some bytes.

        Raises:
            ProblemError: They are too many, or the disk is full.
        """
        self._buffer += chunk
        if self.size + len(self._buffer) > self.limits.most:
            raise too_large(self.limits.most)
        if len(self._buffer) >= _FLUSH:
            await run_in_threadpool(self._flush)

    async def close(self) -> None:
        """Write what is left.

        Raises:
            ProblemError: As in `take`; or nothing has come.
        """
        await run_in_threadpool(self._flush)
        if not self.size:
            raise ProblemError(
                "invalid_request",
                "the upload is empty",
                param="file",
                remedy="Send the bytes of a file.",
            )
        await run_in_threadpool(self._look)

    def _flush(self) -> None:
        """Write in a thread, so that other requests are answered meanwhile."""
        content, self._buffer = bytes(self._buffer), bytearray()
        self._hash.update(content)
        with _disk(), self.file.open("ab") as stream:
            stream.write(content)
        self.size += len(content)
        if self.size - self._looked >= _LOOK:
            self._look()

    def _look(self) -> None:
        """See that the owner's quota and the disk have room, whoever else is at them now."""
        self._looked = self.size
        check_disk(self.folder, 0)
        if self.limits.quota is not None:
            waiting = sum(_size(folder) for folder in _of_owner(self.folder.parent, self.owner))
            check_quota(self.limits, waiting)


@asynccontextmanager
async def arriving(root: Path, owner: str, limits: Limits) -> AsyncIterator[Incoming]:
    """Give a folder to write an upload into; it is removed again unless it was moved away.

    Raises:
        ProblemError: The owner has too many on their way, or the disk is full.
    """
    folder = await run_in_threadpool(_folder, root / INCOMING, owner)
    try:
        yield Incoming(folder=folder, owner=owner, limits=limits)
    finally:
        with anyio.CancelScope(shield=True):  # also when the client has gone
            await run_in_threadpool(shutil.rmtree, folder, True)


async def receive(request: Request, incoming: Incoming) -> None:
    """Write the body of a request: a form with the part ``file``, or the bytes themselves.

    Raises:
        ProblemError: It is too large, cut off, malformed, or has a name that is not known.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal():
        await run_in_threadpool(check_declared, int(declared), incoming)
    media, _, _ = request.headers.get("content-type", "").partition(";")
    try:
        match media.strip().lower():
            case "multipart/form-data":
                parts = FormParts(request.headers["content-type"], incoming, named)
                async for chunk in _chunks(request):
                    await parts.take(chunk)
                await parts.close()
            case "application/x-www-form-urlencoded":
                raise ProblemError(
                    "unsupported_media_type",
                    "an upload is no form of this type",
                    param="Content-Type",
                    remedy="Send multipart/form-data with a part 'file', or the bytes as "
                    "application/octet-stream with ?name=.",
                )
            case _:
                incoming.name = named(incoming.name)
                async for chunk in _chunks(request):
                    await incoming.take(chunk)
    except ClientDisconnect:
        raise ProblemError("invalid_request", "the upload was cut off", param="file") from None
    await incoming.close()


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    stream = request.stream()
    read: Callable[[], Awaitable[bytes]] = stream.__anext__
    while True:
        try:
            with anyio.fail_after(PATIENCE):
                chunk = await read()
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise ProblemError(
                "invalid_request",
                f"nothing came for {PATIENCE:g} seconds, and the upload was given up",
                param="file",
                headers={"Connection": "close"},
            ) from None
        yield chunk


def ending_of(name: str) -> str:
    """Return the ending by which a format is known; empty where it is none of ours."""
    return next((ending for ending in FORMATS if name.lower().endswith(ending)), "")


def named(given: str) -> str:
    """Return a file's name without folders, which some clients send along.

    Raises:
        ProblemError: It is missing, unprintable, too long, or does not tell the format.
    """
    name = given.replace("\\", "/").rpartition("/")[2].strip()
    if not name or len(name) > 200 or not name.isprintable():
        raise ProblemError(
            "invalid_request",
            "the upload has no name, or none of at most 200 printable characters",
            param="name",
            remedy="Give the file's name: ?name=train.csv, or the filename of the part 'file'.",
        )
    if not ending_of(name):
        raise ProblemError(
            "unsupported_media_type",
            f"cannot tell the format of {name!r} by its ending",
            param="name",
            remedy=f"Use one of {', '.join(FORMATS)}; archives hold a folder of images a class.",
        )
    return name


def check_declared(count: int, incoming: Incoming) -> None:
    """Refuse what says by itself that there is no room for it, before a byte of it is read.

    Raises:
        ProblemError: It is too large for the limit, the quota or the disk.
    """
    if count > incoming.limits.most + AROUND:
        raise too_large(incoming.limits.most)
    check_disk(incoming.folder, count)
    check_quota(incoming.limits, max(0, count - AROUND))


def check_disk(folder: Path, count: int) -> None:
    """Refuse to fill the disk.

    Raises:
        ProblemError: Hardly any room would be left.
    """
    with _disk():
        free = shutil.disk_usage(folder).free
    if free < count + SPARE:
        raise _full()


def check_quota(limits: Limits, more: int) -> None:
    """Refuse what goes beyond the owner's quota.

    Raises:
        ProblemError: It does.
    """
    if limits.quota is None:
        return
    if (kept := limits.kept()) + more > limits.quota:
        raise ProblemError(
            "quota_exceeded",
            f"the data sets would come to more than the {limits.quota:,} bytes that are allowed; "
            f"{kept:,} are kept now",
            param="file",
            remedy="Delete data sets that are not needed, or ask for a larger quota.",
            headers={"Retry-After": "3600", "Connection": "close"},
        )


def too_large(most: int) -> ProblemError:
    """Return the problem that an upload is larger than any may be."""
    return ProblemError(
        "too_large",
        f"the upload has more than the {most:,} bytes that are allowed",
        param="file",
        remedy="Upload less, or ask whoever runs the service for a larger upload_bytes.",
        headers={"Connection": "close"},
    )


def _full() -> ProblemError:
    return ProblemError(
        "store_unavailable",
        "the disk of the service is full, or cannot be written",
        remedy="Try again later, or tell whoever runs the service.",
        headers={"Retry-After": "300", "Connection": "close"},
    )


class _disk:  # noqa: N801  # reads as a word: with _disk()
    """Turn what a full disk raises into a problem that says so."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, OSError):
            raise _full() from error


def _folder(incoming: Path, owner: str) -> Path:
    with _disk():
        incoming.mkdir(parents=True, exist_ok=True)
        _sweep(incoming)
        if sum(1 for _ in _of_owner(incoming, owner)) >= AT_ONCE:
            raise ProblemError(
                "quota_exceeded",
                f"{AT_ONCE} uploads are on their way",
                remedy="Wait until one of them is done.",
                headers={"Retry-After": "10", "Connection": "close"},
            )
        folder = incoming / f"{_mark(owner)}-{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        return folder


def _sweep(incoming: Path) -> None:
    """Remove what a process that was killed has left."""
    for folder in incoming.iterdir():
        with suppress(OSError):
            if time.time() - max(p.stat().st_mtime for p in (folder, *folder.iterdir())) > _LOST:
                shutil.rmtree(folder, ignore_errors=True)


def _of_owner(incoming: Path, owner: str) -> list[Path]:
    return list(incoming.glob(f"{_mark(owner)}-*"))


def _mark(owner: str) -> str:
    return hashlib.sha256(owner.encode()).hexdigest()[:16]


def _size(folder: Path) -> int:
    total = 0
    with suppress(OSError):  # it has been moved or removed in the meantime
        for file in folder.iterdir():
            total += file.stat().st_size
    return total
