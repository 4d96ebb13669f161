"""A multipart form as it comes: the part ``file`` goes to disk, the rest are a few short fields."""

from collections.abc import Callable
from typing import Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from autopeft.api.problems import ProblemError

FIELDS = ("sha256",)
AROUND = 64 * 2**10
"""Bytes that a form may wrap around a file."""
_LONGEST = 1_000


class Taking(Protocol):
    """Where a file goes."""

    name: str
    fields: dict[str, str]

    async def take(self, chunk: bytes) -> None:
        """Take some bytes of the file."""


class FormParts:
    """Parses a form piece by piece; what a piece holds of the file is handed on at once.

    ``named`` checks the file's name, and returns it without folders.
    """

    def __init__(
        self,
        content_type: str,
        target: Taking,
        named: Callable[[str], str],
    ) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not 1 <= len(boundary) <= 200:
            raise malformed("its Content-Type has no boundary")
        self._target = target
        self._named = named
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._all,
            },
        )
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._disposition = b""
        self._part = ""
        self._seen: set[str] = set()
        self._field = bytearray()
        self._pending = bytearray()
        self._around = 0
        self._whole = False

    async def take(self, chunk: bytes) -> None:
        """Take some bytes of the form.

        Raises:
            ProblemError: It is malformed, has an unknown part, or the target refuses the file.
        """
        self._around += len(chunk)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise malformed(str(error)) from None
        self._around -= len(self._pending)
        if self._around > AROUND:
            raise malformed("it holds more than a file")
        if self._pending:
            content, self._pending = bytes(self._pending), bytearray()
            await self._target.take(content)

    async def close(self) -> None:
        """See that the form is whole.

        Raises:
            ProblemError: It is cut off, or there is no file in it.
        """
        if not self._whole:
            raise malformed("it is cut off")
        if "file" not in self._seen:
            raise malformed("it has no part 'file'")

    def _begin(self) -> None:
        self._disposition = b""
        self._header = (bytearray(), bytearray())

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _header_end(self) -> None:
        if bytes(self._header[0]).lower() == b"content-disposition":
            self._disposition = bytes(self._header[1])
        self._header = (bytearray(), bytearray())

    def _headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._part = options.get(b"name", b"").decode("utf-8", "replace")
        if self._part not in {"file", *FIELDS} or self._part in self._seen:
            raise malformed(f"its part {self._part[:50]!r} is unknown, or there twice")
        self._seen.add(self._part)
        if self._part == "file":
            sent = options.get(b"filename", b"").decode("utf-8", "replace")
            self._target.name = self._named(self._target.name or sent)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part == "file":
            self._pending += data[start:end]
            return
        self._field += data[start:end]
        if len(self._field) > _LONGEST:
            raise malformed(f"its part {self._part!r} is longer than {_LONGEST:,} bytes")

    def _end(self) -> None:
        if self._part != "file":
            self._target.fields[self._part] = self._field.decode("utf-8", "replace").strip()
            self._field = bytearray()

    def _all(self) -> None:
        self._whole = True


def malformed(why: str) -> ProblemError:
    """Return the problem that a form cannot be read."""
    return ProblemError(
        "invalid_request",
        f"cannot read the form: {why}",
        param="file",
        remedy="Send multipart/form-data with a part 'file' that has a filename, and at most the "
        "field sha256.",
    )
