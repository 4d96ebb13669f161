"""Records to JSON and back, and digests."""

import json
import math
from dataclasses import dataclass

import pytest

from autopeft.records import digest, divided, from_json, joined, not_finite, to_json
from autopeft.study import Study
from autopeft.trial import Measurement, Purpose, Recipe, State, Trial
from tests.builders import a_measurement, a_proposal, a_study, a_trial

TRIAL = a_trial(4, 0.1 + 0.2, predictions=[0, 1, 255], purpose=Purpose.BASELINE, label="plain LoRA")


@pytest.mark.parametrize("record", [TRIAL, a_study(), Recipe()], ids=lambda r: type(r).__name__)
def test_a_record_is_read_back_equal_after_it_was_text(record):
    assert from_json(type(record), json.loads(json.dumps(to_json(record)))) == record


def test_enums_are_read_back_as_themselves_and_bytes_as_bytes():
    read = from_json(Trial, to_json(TRIAL))

    assert read.state is State.COMPLETE
    assert read.proposal.purpose is Purpose.BASELINE
    assert isinstance(read.measurement.predictions, bytes)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_survive(score):
    read = from_json(Measurement, json.loads(json.dumps(to_json(a_measurement(score)))))

    assert repr(read.score) == repr(score)


def changed(**changes) -> dict:
    return to_json(TRIAL) | changes


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (changed(scores=1), r"at scores: Unexpected keyword"),
        ({k: v for k, v in changed().items() if k != "number"}, r"at number: Field required"),
        (changed(number="three"), r"at number: Input should be a valid integer"),
        (changed(number=3.5), r"at number: Input should be a valid integer"),
        (
            changed(number=None, x=1),
            r"at number: Input should .* integer; at x: Unexpected keyword",
        ),
        (changed(state="finished"), r"at state: Input should be 'waiting', 'running', 'paused'"),
        (changed(measurement={}), r"at measurement/score: Field required"),
        (changed(proposal=[]), r"at proposal: Input should be a dictionary"),
        ([], "at the document: Input should be a dictionary"),
    ],
)
def test_what_is_not_the_record_is_an_error_that_names_the_field(document, message):
    with pytest.raises(ValueError, match=message):
        from_json(Trial, document)


def test_a_field_with_a_default_may_be_missing_so_that_older_documents_stay_readable():
    document = to_json(TRIAL)
    del document["failure"]

    assert from_json(Trial, document) == TRIAL


def test_what_is_no_record_is_our_own_mistake():
    with pytest.raises(TypeError, match="int is not a record"):
        to_json(3)


def test_a_digest_does_not_depend_on_the_order_of_keys_but_on_that_of_lists():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1, "b": [1, 2]}) != digest({"a": 1, "b": [2, 1]})


def test_a_digest_is_the_sha256_of_canonical_json():
    """So that another program can check it; the value was computed with sha256sum."""
    document = {"b": "ü", "a": [1, 2.5]}

    assert digest(document) == "4453b0fd66ce6d24961a872aec6287c1734cf61c1ef8115c234c7ecc3a5571ca"


def test_a_record_of_another_module_is_one_too():
    @dataclass(frozen=True)
    class Point:
        x: int

    assert from_json(Point, to_json(Point(x=3))) == Point(x=3)


def test_studies_and_trials_have_documents_of_plain_values():
    def plain(value) -> bool:
        if isinstance(value, dict):
            return all(type(key) is str and plain(item) for key, item in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return type(value) in {str, int, float, bool, type(None)}

    assert plain(to_json(a_study()))
    assert plain(to_json(Trial(number=0, proposal=a_proposal())))
    assert from_json(Study, to_json(a_study())).id == a_study().id


def test_a_document_is_divided_by_a_schema_and_joined_again():
    described = {"properties": {"a": {"properties": {"b": {}}}, "c": {"type": "array"}}}
    document = {"a": {"b": 1, "new": 2}, "c": [{"any": 1}], "later": {"x": 3}}

    known, unknown = divided(document, described)

    assert known == {"a": {"b": 1}, "c": [{"any": 1}]}
    assert unknown == {"a": {"new": 2}, "later": {"x": 3}}
    assert joined(known, unknown) == document
    assert joined({"a": None}, unknown) == {"a": None, "later": {"x": 3}}


def test_numbers_that_are_not_finite_are_named():
    document = {"a": [1, math.nan], "b": {"c": -math.inf}, "d": 1e300, "e": "nan"}

    assert list(not_finite(document)) == ["a/1", "b/c"]
