"""The description of the interface is complete."""

import pytest

from autopeft.api.examples import EXAMPLES
from autopeft.resources import answers

METHODS = {"get", "post", "delete", "put", "patch"}


@pytest.fixture(scope="module")
def document(open_server):
    return open_server.client().get("/openapi.json").json()


def operations(document):
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    }


def test_it_is_openapi_3_1(document):
    assert document["openapi"] == "3.1.0"


def test_all_routes_of_the_service_are_there(document):
    expected = {
        "POST /v1/searches", "GET /v1/searches", "GET /v1/searches/{id}",
        "POST /v1/searches/{id}/cancel", "POST /v1/searches/{id}/pause",
        "POST /v1/searches/{id}/resume", "POST /v1/searches/{id}/extend",
        "GET /v1/searches/{id}/trials", "GET /v1/searches/{id}/trials/{n}",
        "GET /v1/searches/{id}/pareto", "GET /v1/searches/{id}/report",
        "GET /v1/searches/{id}/plan", "GET /v1/searches/{id}/artifacts",
        "GET /v1/searches/{id}/artifacts/{name}", "GET /v1/searches/{id}/events",
        "GET /v1/trainings", "GET /v1/trainings/{id}", "POST /v1/trainings/{id}/cancel",
        "GET /v1/trainings/{id}/events", "GET /v1/trainings/{id}/artifacts/{name}",
        "POST /v1/estimates", "POST /v1/datasets", "GET /v1/datasets",
        "POST /v1/plans/{id}/train", "GET /v1/spaces", "GET /v1/methods", "GET /v1/models",
        "GET /healthz", "GET /readyz", "GET /metrics",
    }  # fmt: skip
    assert expected <= set(operations(document))


def test_every_route_says_what_it_does_under_a_name_that_stays(document):
    found = operations(document)

    for name, operation in found.items():
        assert operation["summary"], name
        assert len(operation["description"]) > 20, name
        assert operation["tags"], name
    names = [operation["operationId"] for operation in found.values()]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and name == name.lower() for name in names)
    assert {"submit_search", "get_search", "list_searches", "cancel_search"} <= set(names)


def test_every_route_documents_its_errors_as_problems(document):
    for name, operation in operations(document).items():
        if " /v1/" not in name:
            continue
        answers = operation["responses"]
        assert {"401", "403", "422", "429", "500", "503"} <= set(answers), name
        if "{" in name:
            assert "404" in answers, name
        for status, answer in answers.items():
            if int(status) >= 400:
                assert set(answer["content"]) == {"application/problem+json"}, name
                assert answer["content"]["application/problem+json"]["examples"]


def test_every_route_for_callers_asks_for_a_key(document):
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for name, operation in operations(document).items():
        guarded = " /v1/" in name or "/metrics" in name
        assert ("security" in operation) == guarded, name


def test_every_body_has_an_example(document):
    schemas = document["components"]["schemas"]
    for name in ("SearchRequest", "ExtendRequest", "TrainRequest"):
        assert schemas[name].get("examples"), name


def test_every_reference_leads_somewhere(document):
    def references(node):
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= schemas
    assert "HTTPValidationError" not in str(document)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_what_it_is_an_example_of(document, name):
    model = getattr(answers, name)

    assert set(model.model_validate(EXAMPLES[name]).model_dump()) >= set(EXAMPLES[name])
    assert document["components"]["schemas"][name]["examples"] == [EXAMPLES[name]]
