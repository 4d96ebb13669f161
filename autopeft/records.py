"""Records to JSON and back, and the digest that names them."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Any, TypeVar

Record = TypeVar("Record")

_adapters: dict[type[Any], Any] = {}


def to_json(record: Any) -> dict[str, Any]:
    """Return a record as plain JSON values; ``bytes`` become base64 text."""
    document: dict[str, Any] = _adapter(type(record)).dump_python(record, mode="json")
    return document


def from_json(kind: type[Record], document: Mapping[str, Any]) -> Record:
    """Read a record back: a field that is unknown, missing or of the wrong type is an error.

    A field that has a default may be missing, so that older documents stay readable.

    Raises:
        ValueError: The document is not a record of this kind; the message names the fields.
    """
    from pydantic import ValidationError

    try:
        record: Record = _adapter(kind).validate_python(document, extra="forbid")
    except ValidationError as error:
        wrong = [
            f"at {'/'.join(map(str, e['loc'])) or 'the document'}: {e['msg']}"
            for e in error.errors()
        ]
        raise ValueError("; ".join(wrong)) from None
    return record


def digest(document: Any) -> str:
    """Return the SHA-256 of a JSON document in canonical form, as 64 hexadecimal digits.

    Example:
        The order of keys does not matter.

        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def divided(document: Any, described: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Part a document into what a schema describes and the fields that it does not know."""
    properties = described.get("properties")
    if properties is None or not isinstance(document, dict):
        return document, {}
    known, unknown = {}, {}
    for name, value in document.items():
        if name not in properties:
            unknown[name] = value
            continue
        known[name], within = divided(value, properties[name])
        if within:
            unknown[name] = within
    return known, unknown


def joined(known: dict[str, Any], unknown: Mapping[str, Any]) -> dict[str, Any]:
    """Put unknown fields back; those of an object that is gone are gone with it."""
    found = dict(known)
    for name, value in unknown.items():
        if name not in known:
            found[name] = value
        elif isinstance(known[name], dict):
            found[name] = joined(known[name], value)
    return found


def not_finite(document: Any, path: str = "") -> Iterator[str]:
    """Name the fields whose numbers are infinite or none: JSON has no such, but Python reads it."""
    inside: Iterable[tuple[Any, Any]] = ()
    if isinstance(document, dict | list):
        inside = document.items() if isinstance(document, dict) else enumerate(document)
    for name, value in inside:
        yield from not_finite(value, f"{path}/{name}" if path else str(name))
    if isinstance(document, float) and not isfinite(document):
        yield path


def _adapter(kind: type[Any]) -> Any:
    if kind not in _adapters:
        _adapters[kind] = _build_adapter(kind)
    return _adapters[kind]


def _build_adapter(kind: type[Any]) -> Any:
    # pydantic takes a tenth of a second to import, and `autopeft --help` does not need it.
    from pydantic import ConfigDict, TypeAdapter

    if not dataclasses.is_dataclass(kind):
        raise TypeError(f"{kind.__name__} is not a record")
    kind.__pydantic_config__ = ConfigDict(  # type: ignore[attr-defined]
        ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=True
    )
    return TypeAdapter(kind)
