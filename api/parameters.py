"""Parameters in the address: one that a route does not know is refused, as in a body."""

import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request

from autopeft.api.problems import ProblemError

METADATA_PARAMETER: Mapping[str, Any] = {
    "name": "metadata",
    "in": "query",
    "style": "deepObject",
    "explode": True,
    "required": False,
    "description": "Values that the metadata must have, as `metadata[team]=search`.",
    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
}
_METADATA = re.compile(r"metadata\[(.{1,64})\]")
_SHOWN = 50


async def check_parameters(request: Request) -> None:
    """Refuse what the route that was found does not know; what it knows is in its description.

    Raises:
        ProblemError: It names all that are unknown.
    """
    if not request.query_params:
        return
    known = _known(request.app).get(request.scope["route"].operation_id)
    if known is None:  # HEAD is not described
        return
    unknown = [name for name in request.query_params if not _is_known(name, known)]
    if not unknown:
        return
    there = f"there are {', '.join(known)}" if known else "it takes none"
    named = ", ".join(repr(name[:_SHOWN]) for name in unknown)
    raise ProblemError(
        "invalid_request",
        f"there is no parameter {named} in this address: {there}",
        param=unknown[0][:_SHOWN],
        errors=[(name[:_SHOWN], "there is no such parameter") for name in unknown],
        remedy="Leave it out, or correct its name; /docs describes every parameter.",
    )


def wanted_metadata(request: Request) -> dict[str, str]:
    """Read ``metadata[key]=value`` from the address."""
    pairs = ((_METADATA.fullmatch(key), value) for key, value in request.query_params.items())
    return {key[1]: _plain(value) for key, value in pairs if key}


def _known(app: FastAPI) -> Mapping[str, list[str]]:
    """List what each operation knows, from the description that users read."""
    known: dict[str, list[str]] | None = getattr(app.state, "parameters", None)
    if known is None:
        operations = (
            operation for path in app.openapi()["paths"].values() for operation in path.values()
        )
        known = app.state.parameters = {
            operation["operationId"]: [
                each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"
            ]
            for operation in operations
        }
    return known


def _is_known(name: str, known: list[str]) -> bool:
    if METADATA_PARAMETER["name"] in known and _METADATA.fullmatch(name):
        return True
    return name in known and name != METADATA_PARAMETER["name"]


def _plain(value: str) -> str:
    if "\0" in value:  # which a database may not even compare with
        raise ProblemError(
            "invalid_request", "metadata cannot hold the character NUL", param="metadata"
        )
    return value
