"""Records to JSON and back, and the digest that names them."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
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
