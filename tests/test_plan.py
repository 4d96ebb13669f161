"""Plans: read back equal, and refused when they are not what they say."""

import copy
import json

import pytest
from jsonschema import Draft202012Validator

from autopeft.errors import PlanError
from autopeft.plan import VERSION, Plan, schema
from tests.contracts.store import a_plan

DOCUMENT = a_plan().to_json()


def edited(path: str, value) -> dict:
    """Return the document with another value at a path such as `backbone/blocks`."""
    document = copy.deepcopy(DOCUMENT)
    *parents, last = path.split("/")
    part = document
    for parent in parents:
        part = part[parent]
    part[last] = value
    return document


def without(path: str) -> dict:
    """Return the document without the key at a path."""
    document = copy.deepcopy(DOCUMENT)
    *parents, last = path.split("/")
    part = document
    for parent in parents:
        part = part[parent]
    del part[last]
    return document


def test_a_plan_is_read_back_equal_after_it_was_text():
    assert Plan.from_json(json.loads(json.dumps(DOCUMENT))) == a_plan()


def test_the_configuration_is_written_as_a_plain_table():
    assert DOCUMENT["configuration"] == [[1], [2]]


def test_a_plan_keeps_its_published_schema():
    Draft202012Validator.check_schema(schema())
    Draft202012Validator(schema()).validate(DOCUMENT)


def test_the_schema_asks_for_every_key_that_a_plan_has_and_allows_no_other():
    """Down to the last object, so that no field can be added without the schema."""

    def objects(document, described):
        described = schema()["$defs"]["interval"] if "$ref" in described else described
        if isinstance(document, dict) and "properties" in described:
            yield document, described
            for key, value in document.items():
                yield from objects(value, described["properties"][key])
        if isinstance(document, list) and document and "items" in described:
            yield from objects(document[0], described["items"])

    seen = list(objects(DOCUMENT, schema()))

    assert len(seen) > 10
    for document, described in seen:
        assert set(document) == set(described["properties"]) == set(described["required"])
        assert described["additionalProperties"] is False


def test_a_plan_of_a_newer_version_is_refused_with_what_to_do():
    with pytest.raises(
        PlanError, match=r"the plan has version 2, this autopeft reads up to 1: update autopeft"
    ):
        Plan.from_json(edited("version", VERSION + 1) | {"a_new_key": 1})


@pytest.mark.parametrize("document", [None, [], "plan", 3, [DOCUMENT]], ids=repr)
def test_what_is_no_object_is_no_plan(document):
    with pytest.raises(
        PlanError, match=r"this is no plan: at the document: .* is not of type 'object'"
    ):
        Plan.from_json(document)


TABLE = r"the plan's table must have 2 rows \(blocks\) of 1 sizes \(slots\)"
COUNT = r"the plan states {} parameters, but its table trains {}: it was edited by hand; export it"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, r"this is no plan: at the document: '.*' is a required property"),
        (without("recipe"), r"this is no plan: at the document: 'recipe' is a required property"),
        (without("recipe/epochs"), r"this is no plan: at recipe: 'epochs' is a required property"),
        (edited("colour", "red"), r"at the document: Additional properties .* \('colour'"),
        (edited("task/colour", "red"), r"at task: Additional properties .* \('colour'"),
        (edited("version", "1"), r"at version: 1 was expected"),
        (edited("version", 0), r"at version: 1 was expected"),
        (edited("seed", -1), r"at seed: -1 is less than the minimum of 0"),
        (edited("backbone/digest", "abc"), r"at backbone/digest: 'abc' does not match"),
        (edited("task/metric", "bleu"), r"at task/metric: 'bleu' is not one of"),
        (edited("recipe/learning_rates", {"lora": 0}), r"at recipe/learning_rates/lora: 0 is less"),
        (edited("configuration", [["1"], [2]]), r"at configuration/0/0: '1' is not of type"),
        (edited("configuration", [[-1], [2]]), r"at configuration/0/0: -1 is less than"),
        (edited("configuration", [[1], [2], [0]]), TABLE),
        (edited("configuration", [[1]]), TABLE),
        (edited("configuration", [[1], []]), TABLE),
        (edited("configuration", [[1, 0], [2, 0]]), TABLE),
        (edited("configuration", [[2], [2]]), COUNT.format("24", "32")),
        (edited("parameters", 1_024), COUNT.format("1,024", "24")),
    ],
)  # fmt: skip
def test_a_plan_that_is_not_what_it_says_is_refused(document, message):
    with pytest.raises(PlanError, match=message):
        Plan.from_json(document)


def test_a_document_that_only_the_schema_takes_for_a_plan_is_refused_too(monkeypatch):
    monkeypatch.setattr("autopeft.plan.schema", lambda: True)

    with pytest.raises(
        PlanError, match=r"this is no plan: at seed: Input should be a valid integer"
    ):
        Plan.from_json(edited("seed", "seven"))


def test_a_plan_with_a_method_that_is_not_installed_is_refused():
    slots = [slot | {"method": "of_a_plug_in"} for slot in DOCUMENT["slots"]]

    with pytest.raises(
        PlanError, match="there is no method 'of_a_plug_in' here: install the package that"
    ):
        Plan.from_json(edited("slots", slots))


def test_a_slot_that_the_backbone_has_not_is_refused():
    for changed in ({"site": "attention.key"}, {"blocks": [0, 9]}, {"unit": 1}, {"most": 9}):
        slots = [slot | changed for slot in DOCUMENT["slots"]]

        with pytest.raises(PlanError, match=r"the plan's slot 'lora@.*' is none that its backbone"):
            Plan.from_json(edited("slots", slots))


def test_two_columns_for_a_slot_are_refused():
    twice = edited("slots", DOCUMENT["slots"] * 2) | {"configuration": [[1, 1], [2, 0]]}

    with pytest.raises(PlanError, match=r"the plan has two columns for 'lora@attention\.query'"):
        Plan.from_json(twice)


def test_a_size_out_of_range_is_refused():
    with pytest.raises(
        PlanError, match=r"lora@attention\.query in block 0 is 5, and may be 0 to 4; it was edited"
    ):
        Plan.from_json(edited("configuration", [[5], [2]]))


def test_a_recipe_without_a_rate_for_a_method_is_refused():
    with pytest.raises(PlanError, match=r"the plan's recipe has no learning rate for 'lora'"):
        Plan.from_json(edited("recipe/learning_rates", {}))


def test_a_recipe_without_a_scale_for_a_method_is_refused():
    with pytest.raises(PlanError, match=r"the plan's recipe has no scale for 'lora': write one"):
        Plan.from_json(edited("recipe/scales", {}))
