"""The description of the interface, for programs and for ``/docs``."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from autopeft import __version__
from autopeft.api.examples import EXAMPLES
from autopeft.api.gate import is_guarded
from autopeft.resources.answers import Problem

DESCRIPTION = """\
Submit a search for the best parameter-efficient fine-tuning configuration under a budget, watch it,
and fetch the plan.

- Requests carry `Authorization: Bearer KEY`; `autopeft keys create` makes a key.
- A POST that makes something takes an `Idempotency-Key`: sent twice, it takes effect once.
- Lists are pages: ask again with `after` the `next` of a page while it `has_more`.
- Errors are `application/problem+json` (RFC 9457) with `code`, `param`, `errors` and
  `remedy`; [all codes](/docs/problems).
- Every answer has an `X-Request-Id`, which is in the log too; send your own, or a `traceparent`.
"""
TAGS = [
    {"name": "searches", "description": "Searches, their trials, and what they have found."},
    {"name": "estimates", "description": "What a search would cost, before it is submitted."},
    {"name": "datasets", "description": "Data that is uploaded once and used in many requests."},
    {"name": "plans", "description": "Training what a search has found."},
    {"name": "trainings", "description": "Trainings of plans."},
    {"name": "catalog", "description": "What can be searched: spaces, methods, models."},
    {"name": "health", "description": "For operators."},
]
_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key of `autopeft keys create`, as a bearer token. Not needed on a "
    "machine of your own while there are no keys.",
}
_LAST = "HTTPValidationError", "ValidationError"


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document; it is made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title="autopeft",
            version=__version__,
            openapi_version="3.1.0",
            description=DESCRIPTION,
            routes=app.routes,
            tags=TAGS,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        )
        _add_problem(document)
        _add_examples(document)
        _add_security(document)
        _add_request_id(document)
        app.openapi_schema = document
    return app.openapi_schema


def _add_problem(document: dict[str, Any]) -> None:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    _, made = models_json_schema(
        [(Problem, "serialization")], ref_template="#/components/schemas/{model}"
    )
    schemas.update(made["$defs"])
    for name in _LAST:  # ours are problems
        schemas.pop(name, None)


def _add_security(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] = {"key": _KEY}
    for path, operations in document["paths"].items():
        if is_guarded(path):
            for operation in operations.values():
                operation["security"] = [{"key": []}]


def _add_examples(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name, example in EXAMPLES.items():
        if name in schemas:
            schemas[name]["examples"] = [example]


def _add_request_id(document: dict[str, Any]) -> None:
    header = {"description": "Names the request in the log.", "schema": {"type": "string"}}
    for path in document["paths"].values():
        for operation in path.values():
            for answer in operation["responses"].values():
                answer.setdefault("headers", {})["X-Request-Id"] = header
