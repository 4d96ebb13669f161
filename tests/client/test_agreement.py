"""The client and the OpenAPI document of the running service say the same.

A route that the client does not know, a call that no route answers, a parameter or a type that is
another on either side: each is a failure here.
"""

import inspect
import re
from pathlib import Path

import pytest

from autopeft.api.app import create_app
from autopeft.client.calls import Stream
from autopeft.client.client import Calls
from autopeft.client.methods import calling, following
from autopeft.resources import requests
from autopeft.settings import ServiceSettings
from autopeft.wiring.sockets import service_of, store_of

LEFT_OUT = {("get", "/metrics"), ("get", "/healthz")}
"""What programs of another kind read."""
GIVEN = {
    "job": "id_1", "search": "id_1", "dataset": "id_1", "name": "file", "number": 1,
    "file": Path("rows.csv"), "into": Path("rows.csv"), "sha256": "ab", "once": "mine",
    "limit": 5, "after": 1, "state": ["queued"], "purpose": ["search"], "metadata": {"team": "a"},
    "limits": requests.ExtendRequest(trials=3), "form": "html",
}  # fmt: skip
MINIMAL = {"model": "package:m", "data": {"dataset": "dataset_1"}}
BODIES = {"searches": requests.SearchRequest, "estimates": requests.EstimateRequest}


class Nobody:
    """A way to send that sends nothing: descriptions do not need one."""


CLIENT = Calls(Nobody())


def described():
    """Yield every call of the client by its name, as it is with all of its arguments given."""
    groups = {"": CLIENT} | {
        name: getattr(CLIENT, name) for name in ("searches", "estimates", "trainings", "datasets")
    }
    for place, group in groups.items():
        for name in dir(type(group)):
            method = inspect.getattr_static(type(group), name)
            if isinstance(method, calling | following):
                yield (
                    f"{place}.{name}".removeprefix("."),
                    method.describe(group, **arguments(place, method.describe)),
                )


def arguments(place, describe):
    wanted = list(inspect.signature(describe).parameters)[1:]
    given = {name: GIVEN[name] for name in wanted if name != "request"}
    if "request" in wanted:
        body = BODIES.get(place)
        given["request"] = body(**MINIMAL) if body else requests.TrainRequest()
    return given


CALLS = dict(described())


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    url = f"sqlite:///{folder / 'store.db'}"
    with service_of(url).closing() as service:
        return create_app(service, store_of(url), ServiceSettings(files=str(folder))).openapi()


@pytest.fixture(params=list(CALLS))
def call(request):
    return CALLS[request.param]


def key(call):
    method = "get" if isinstance(call, Stream) else call.method.lower()
    return method, re.sub(r"\{\w+\}", "{}", call.path)


def operations(document):
    return {
        (method, re.sub(r"\{\w+\}", "{}", path)): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in {"get", "post", "put", "patch", "delete"}
    }


def test_every_route_has_a_call(document):
    assert set(operations(document)) - {key(call) for call in CALLS.values()} == LEFT_OUT


def test_every_call_has_a_route(document, call):
    assert key(call) in operations(document)


def parameters(operation, where):
    return {each["name"]: each for each in operation.get("parameters", ()) if each["in"] == where}


def test_every_parameter_of_a_list_can_be_given_and_is_known(document, call):
    if isinstance(call, Stream) or call.upload:
        return
    known = set(parameters(operations(document)[key(call)], "query"))

    assert {re.sub(r"\[.*", "", name) for name, _ in call.query} == known


def test_the_header_that_names_a_request_is_known_where_it_is_said_to_matter(document, call):
    operation = operations(document)[key(call)]
    named = {name.lower() for name in parameters(operation, "header")}

    assert ("idempotency-key" not in named) or call.once
    if isinstance(call, Stream):
        assert "last-event-id" in named


def shown(schema):
    """Return the name of a schema's type: that of a model, or the title of an object."""
    return schema.get("$ref", schema.get("title", "")).rpartition("/")[2]


def test_what_is_sent_is_what_the_route_takes(document, call):
    wanted = operations(document)[key(call)].get("requestBody", {}).get("content", {})

    if isinstance(call, Stream):
        assert wanted == {}
    elif call.upload:
        form = wanted["multipart/form-data"]["schema"]
        assert set(form["properties"]) == {"file", *call.form}
    elif call.body is None:
        assert wanted == {}
    else:
        assert shown(wanted["application/json"]["schema"]) == type(call.body).__name__


def answers(document, call):
    """Yield the media type and schema of every good answer."""
    for status, answer in operations(document)[key(call)]["responses"].items():
        if status.startswith("2"):
            content = answer.get("content", {})
            yield from ((media, found.get("schema", {})) for media, found in content.items())


def test_what_comes_back_is_what_the_route_answers(document, call):
    found = list(answers(document, call))

    if isinstance(call, Stream):
        assert "text/event-stream" in dict(found)
        return
    names = {shown(schema) for media, schema in found if media != "text/event-stream"}
    if call.answer is type(None):
        assert found == []
    elif call.into is not None:
        assert {schema["format"] for _, schema in found} == {"binary"}
    elif call.answer is str:
        assert {schema["type"] for _, schema in found} == {"string"}
    elif hasattr(call.answer, "model_fields"):
        wanted = call.answer.__name__.replace("[", "_").replace("]", "_")
        assert names == {wanted}
    else:
        assert {schema["type"] for _, schema in found} == {"object"}
