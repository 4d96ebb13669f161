"""A call as a value: what is sent, and what comes back. Both transports send the same values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar, cast
from urllib.parse import quote
from uuid import uuid4

from pydantic import BaseModel, TypeAdapter, ValidationError

from autopeft.errors import ServiceError

Answer = TypeVar("Answer")
Query = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[Answer]):
    """A request of the API that was not sent yet.

    ``path`` has a place in braces for each value of ``at``. ``upload`` is a file that is sent as
    the part ``file`` of a form with the fields of ``form``, ``into`` one that the answer is written
    to; neither is ever in memory as a whole. ``once`` is the Idempotency-Key of a POST: the same
    for every attempt.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    answer: type[Answer]
    at: Mapping[str, str] = field(default_factory=dict)
    query: Query = ()
    body: BaseModel | None = None
    upload: Path | None = None
    form: Mapping[str, str] = field(default_factory=dict)
    into: Path | None = None
    once: str = ""

    @property
    def address(self) -> str:
        """The path with its values, below the service's URL."""
        return self.path.format(**{name: quote(value, safe="") for name, value in self.at.items()})

    @property
    def repeatable(self) -> bool:
        """Whether a second attempt does no harm where it is not known what became of the first."""
        return self.method == "GET" or bool(self.once)

    def headers(self) -> dict[str, str]:
        """Return what the transport adds to its own headers."""
        named = {"Idempotency-Key": self.once} if self.once else {}
        # a part of a file has a meaning only where it is sent as it is
        return named | ({"Accept-Encoding": "identity"} if self.into else {})

    def read(self, content: bytes) -> Answer:
        """Read an answer.

        Raises:
            ServiceError: It is not what a service of this version answers.
        """
        if self.into is not None:
            return cast("Answer", self.into)  # where there is a file, the answer is its path
        if self.answer is str:
            return cast("Answer", content.decode("utf-8", "replace"))
        try:
            return TypeAdapter(self.answer).validate_json(content or b"null")
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ServiceError(
                f"the service answers {self.method} {self.path} in a way that this version of "
                f"autopeft does not understand ({where}: {first['msg']}): use the same version "
                "on both sides"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Events as they happen, after the one with a number."""

    path: str
    at: Mapping[str, str]
    after: int

    @property
    def address(self) -> str:
        """The path with its values, below the service's URL."""
        return Call(method="GET", path=self.path, at=self.at, answer=str).address


def get(path: str, answer: type[Answer], *query: tuple[str, str], **at: str) -> Call[Answer]:
    """Describe a reading call."""
    return Call(method="GET", path=path, answer=answer, query=query, at=at)


def post(
    path: str,
    answer: type[Answer],
    body: BaseModel | None = None,
    *,
    once: str | None = None,
    **at: str,
) -> Call[Answer]:
    """Describe a call that changes something; without ``once`` it makes a key of its own."""
    key = once or uuid4().hex
    return Call(method="POST", path=path, answer=answer, body=body, once=key, at=at)


def paged(
    limit: int | None,
    after: str | int | None,
    *,
    metadata: Mapping[str, str] | None = None,
    **several: Sequence[str],
) -> Query:
    """Write what a list is asked for; what is None is left to the service."""
    return (
        *((("limit", str(limit)),) if limit is not None else ()),
        *((("after", str(after)),) if after is not None else ()),
        *((name, str(value)) for name, values in several.items() for value in values),
        *((f"metadata[{name}]", value) for name, value in (metadata or {}).items()),
    )
