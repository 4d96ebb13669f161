"""Archives of images from people that nobody knows: unpacked file by file, within limits.

Only files with an image's ending are taken out. What is not a plain file below the archive's own
folder is a reason to refuse the whole, and every limit is on what really comes out, not on what the
archive says of itself.
"""

import errno
import gzip
import io
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from autopeft.errors import DataError
from autopeft.tasks.images import SUFFIXES

ARCHIVES = (".zip", ".tar.gz", ".tgz")
_CHUNK = 2**20
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others unpack without a bound
_BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError,
    NotImplementedError, RuntimeError, ValueError, OverflowError,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much may come out of an archive.

    ``ratio`` is how many times larger than the archive the whole may be; small archives may come
    to ``free`` bytes all the same. ``at_once`` is the most that is read in one piece, which keeps
    the archive's own lists small.
    """

    total: int = 4 * 2**30
    single: int = 128 * 2**20
    files: int = 200_000
    ratio: int = 50
    free: int = 64 * 2**20
    at_once: int = 32 * 2**20

    def most(self, packed: int) -> int:
        """Return how many bytes may come out of an archive of so many bytes."""
        return min(self.total, max(self.free, self.ratio * packed))


BOUNDS = Bounds()


def is_archive(name: str) -> bool:
    """Tell by its ending whether a file is an archive of images."""
    return name.lower().endswith(ARCHIVES)


def unpacked(archive: Path, target: Path, bounds: Bounds = BOUNDS) -> Path:
    """Unpack the images of an archive into a folder that is whole or not there.

    A folder that is all that an archive holds is left out: its content is what matters. Where the
    target is there already, nothing is done.

    Raises:
        DataError: It is broken or no archive, holds anything but plain files, or too much.
        OSError: The disk is full or cannot be written.
    """
    if target.is_dir():
        return target
    partial = target.with_name(f"{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    try:
        _unpack(archive, partial, bounds)
        _inner(partial).rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _unpack(archive: Path, folder: Path, bounds: Bounds) -> None:
    room = _Room(bounds, archive)
    try:
        with archive.open("rb") as stream:
            if archive.name.lower().endswith(".zip"):
                _unzip(stream, folder, room)
            else:
                _untar(stream, folder, room)
    except _BROKEN as error:
        raise DataError(
            f"cannot unpack {archive.name} ({str(error) or type(error).__name__}): "
            "make the archive anew, as .zip or .tar.gz"
        ) from None
    except OSError as error:
        if error.errno not in {None, errno.EINVAL}:  # of the disk, and not of the archive
            raise
        raise DataError(
            f"cannot unpack {archive.name} ({error}): make the archive anew, as .zip or .tar.gz"
        ) from None


class _Room:
    """What is left of the bounds while an archive is unpacked."""

    def __init__(self, bounds: Bounds, archive: Path) -> None:
        self.bounds = bounds
        self.name = archive.name
        self.left = bounds.most(archive.stat().st_size)
        self.files = 0

    def spend(self, count: int) -> None:
        """Take bytes that come out.

        Raises:
            DataError: There is no room for them.
        """
        self.left -= count
        if self.left < 0:
            raise DataError(
                f"{self.name} is refused: it unpacks to far more than its own size, or to more "
                f"than {self.bounds.total // 2**20:,} MiB; split it, or leave out what is no image"
            )

    def enter(self) -> None:
        """Count a member of the archive, of whatever kind.

        Raises:
            DataError: There are too many.
        """
        self.files += 1
        if self.files > self.bounds.files:
            raise DataError(
                f"{self.name} is refused: it holds more than {self.bounds.files:,} files; split it"
            )


class _Careful(io.RawIOBase):
    """A stream that refuses to be read in pieces which would fill the memory."""

    def __init__(
        self, stream: IO[bytes] | gzip.GzipFile, bounds: Bounds, room: _Room | None = None
    ) -> None:
        super().__init__()
        self._stream = stream
        self._most = bounds.at_once
        self._room = room
        self._furthest = 0

    def read(self, size: int = -1) -> bytes:
        if size > self._most:
            raise DataError("the archive is refused: its list of files, or a name, is too long")
        content = self._stream.read(size if size >= 0 else self._most)
        self._note()
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        while whence == io.SEEK_SET and self._room and offset > self._stream.tell() + _CHUNK:
            if not self._stream.read(_CHUNK):
                break
            self._note()
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def _note(self) -> None:
        """Count what was unpacked, whether or not anybody wanted it."""
        if self._room and (further := self._stream.tell() - self._furthest) > 0:
            self._furthest += further
            self._room.spend(further)


def _unzip(stream: IO[bytes], folder: Path, room: _Room) -> None:
    with zipfile.ZipFile(_Careful(stream, room.bounds)) as archive:
        for member in archive.infolist():
            room.enter()
            kind = member.external_attr >> 28 if member.create_system == 3 else 0
            if kind not in {0, 0o10, 0o04}:
                raise _refused(room.name, member.filename, "a link or a device")
            if member.flag_bits & 1 or member.compress_type not in _PACKINGS:
                raise _refused(room.name, member.filename, "encrypted, or packed in a rare way")
            place = _place(room.name, member.filename)
            if place is None or member.is_dir():
                continue
            with archive.open(member) as content:
                _write(content, folder / place, room, spend=True)


def _untar(stream: IO[bytes], folder: Path, room: _Room) -> None:
    with gzip.GzipFile(fileobj=stream) as plain:
        careful: Any = _Careful(plain, room.bounds, room)
        with tarfile.open(fileobj=careful, mode="r:") as archive:
            for member in _members(archive):
                room.enter()
                if member.isdir():
                    _place(room.name, member.name)
                    continue
                if not member.isreg() or member.issparse():
                    raise _refused(room.name, member.name, "a link, a device or a sparse file")
                place = _place(room.name, member.name)
                content = archive.extractfile(member)
                if place is not None and content is not None:
                    _write(content, folder / place, room, spend=False)


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        yield member
        archive.members = []  # type: ignore[attr-defined]  # or it would keep a record of each


def _place(archive: str, name: str) -> PurePosixPath | None:
    """Return where an image goes, None for what is no image.

    Raises:
        DataError: The name leads elsewhere, or could not be a file's.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise _refused(archive, name, "not below the archive's own folder")
    if not name.isprintable() or any(len(part.encode()) > 200 for part in path.parts):
        raise _refused(archive, name, "called so that it cannot be written")
    if len(path.parts) > 16:
        raise _refused(archive, name, "too deep")
    hidden = any(part.startswith(".") for part in path.parts) or "__MACOSX" in path.parts
    return None if hidden or path.suffix.lower() not in SUFFIXES else path


def _refused(archive: str, name: str, why: str) -> DataError:
    return DataError(
        f"{archive} is refused: its {name[:100]!r} is {why}; archive only folders of images, with "
        "plain relative paths"
    )


def _write(content: IO[bytes], file: Path, room: _Room, *, spend: bool) -> None:
    with _fresh(file, room) as out:
        size = 0
        while chunk := content.read(_CHUNK):
            size += len(chunk)
            if size > room.bounds.single:
                raise DataError(
                    f"{room.name} is refused: its {file.name} has more than "
                    f"{room.bounds.single // 2**20} MiB; make the image smaller"
                )
            if spend:
                room.spend(len(chunk))
            out.write(chunk)
        if not size:
            raise DataError(
                f"{room.name} is refused: its {file.name} is empty; repair or remove it"
            )


@contextmanager
def _fresh(file: Path, room: _Room) -> Iterator[IO[bytes]]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = file.open("xb")
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise _refused(room.name, file.name, "in it twice") from None
    with stream:
        yield stream


def _inner(folder: Path) -> Path:
    """Return the folder inside of which the classes are: one alone at the top is a wrapping."""
    inside = list(folder.iterdir())
    if len(inside) != 1 or not inside[0].is_dir():
        return folder
    deeper = list(inside[0].iterdir())
    return inside[0] if deeper and all(entry.is_dir() for entry in deeper) else folder
