"""Plans: read back equal, and refused when they are not what they say."""

import copy
import json
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator

from autopeft.answer import Interval, Ranking
from autopeft.errors import PlanError
from autopeft.evidence import Drift, Evidence, Exported, Hardware, Held, Scored, Transferred
from autopeft.plan import VERSION, Plan, read_plan, schema
from autopeft.records import digest
from autopeft.signing import Signature
from autopeft.trial import Purpose
from tests.contracts.store import a_plan

DOCUMENT = a_plan().to_json()
INTERVAL = Interval(mean=0.5, low=0.4, high=0.6)
FULL = replace(
    a_plan(),
    exported=Exported(
        plan="a" * 64, format="merged", probe=(0.5,),
        drift=Drift(largest=0.1, mean=0.01, scale=1.0, same=1.0, examples=4),
        files={"model.safetensors": "f" * 64}, rank=2,
    ),
    transferred=Transferred(plan="b" * 64, backbone="small", digest="c" * 64),
    evidence=Evidence(
        code="git 57aafdd", backbone_revision="small 0.1.0", study_seed=0,
        hardware=Hardware(system="Linux x86_64", processor="A", cores=2, accelerator=None),
        scores=(
            Scored(
                trial=3, purpose=Purpose.FINAL, name="", of=0, seed=1, parameters=24, score=INTERVAL
            ),
        ),
        baselines=(
            Held(
                trial=1, name="lora", parameters=24, difference=INTERVAL, seeds=2, verdict="better"
            ),
        ),
        ranking=Ranking(tau=INTERVAL, rho=INTERVAL, pairs=5, share=0.3, against="loss"),
    ),
    signature=Signature(key="d" * 64, value="e" * 128),
)  # fmt: skip
"""A plan that has all that a plan may have, and a signature that is wrong."""
LATER = {"digest", "exported", "transferred", "evidence", "signature"}
"""Keys that documents of earlier versions do not have."""


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

    whole = FULL.to_json()
    seen = list(objects(whole, schema()))

    assert len(seen) > 20
    for document, described in seen:
        later = LATER if document is whole else set()
        later |= {"files", "rank"} if "drift" in document else set()
        later |= {"against"} if "tau" in document else set()
        assert set(document) == set(described["properties"]) == later | set(described["required"])
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


NAN, INF = float("nan"), float("inf")
TABLE = r"the plan's table must have 2 rows \(blocks\) of 1 sizes \(slots\)"
COUNT = (
    r"the plan states {} parameters, but its table trains {}, and its budget '1%' allows .*: it "
    r"was edited by hand \(its largest cell is lora@attention\.query of size 2 in block 1, 16 "
    r"parameters\); put its sizes back, or export it again"
)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, r"this is no plan: at the document: '.*' is a required property"),
        (without("recipe"), r"this is no plan: at the document: 'recipe' is a required property"),
        (without("recipe/epochs"), r"this is no plan: at recipe: 'epochs' is a required property"),
        (edited("colour", "red"), r"the plan was edited after it was written"),
        (edited("task/colour", "red"), r"the plan was edited after it was written"),
        (edited("recipe/scales", {"lora": NAN}), r"at recipe/scales/lora: it must be a finite"),
        (edited("expected/trial_score", -INF), r"at expected/trial_score: it must be a finite"),
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


def test_a_number_that_is_none_is_refused_in_a_file_without_a_digest(tmp_path):
    document = edited("recipe/learning_rates/lora", NAN)
    del document["digest"]
    (tmp_path / "plan.json").write_text(json.dumps(document), encoding="utf-8")

    with pytest.raises(PlanError, match=r"at recipe/learning_rates/lora: it must be a finite"):
        read_plan(tmp_path)


def newer(**fields) -> dict:
    """Return the document as an autopeft would write it that has more fields, with its digest."""
    document = {name: value for name, value in FULL.to_json().items() if name != "signature"}
    document |= fields
    document["exported"]["colour"] = "red"
    said = {name: value for name, value in document.items() if name != "digest"}
    return document | {"signature": None, "digest": digest(said)}


def test_fields_of_a_newer_autopeft_are_kept_unread():
    document = newer(measured={"in": [1, 2]})

    plan = Plan.from_json(json.loads(json.dumps(document)))

    assert replace(plan, unknown={}) == replace(FULL, signature=None)
    assert plan.unknown == {"measured": {"in": [1, 2]}, "exported": {"colour": "red"}}
    assert plan.digest == document["digest"]
    assert plan.to_json() == document


def test_fields_of_a_newer_autopeft_belong_to_the_digest():
    document = newer(measured=1)

    with pytest.raises(PlanError, match="the plan was edited after it was written"):
        Plan.from_json(document | {"measured": 2})


def test_what_is_made_of_a_newer_plan_says_only_what_is_known():
    plan = Plan.from_json(newer(measured=1))

    assert plan.transfer(to=plan.backbone).unknown == {}
    assert replace(plan, exported=None).to_json()["exported"] is None


def test_a_plan_that_requires_what_is_not_known_is_refused():
    with pytest.raises(PlanError, match=r"the plan requires gates, two, which this .*: update aut"):
        Plan.from_json(newer(requires=["gates", "two"]))


def test_unknown_fields_are_refused_where_no_digest_vouches_for_them():
    document = newer(measured=1)
    del document["digest"]

    with pytest.raises(
        PlanError, match=r"does not know \(exported, measured\) and no digest: if a"
    ):
        Plan.from_json(document)


def test_a_plan_is_transferred_to_a_model_by_its_name_in_another_place():
    with pytest.raises(
        PlanError, match=r"takes a Backbone, and 'package:a' is none: .* autopeft\."
    ):
        a_plan().transfer(to="package:a")


def test_a_document_that_only_the_schema_takes_for_a_plan_is_refused_too(monkeypatch):
    monkeypatch.setattr("autopeft.plan.schema", dict)

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


# Digests


def test_a_document_says_its_digest_and_the_digest_is_that_of_the_rest():
    document = {name: DOCUMENT[name] for name in DOCUMENT if name not in LATER}

    assert DOCUMENT["digest"] == a_plan().digest == digest(document)


def test_a_plan_of_before_there_were_digests_stays_readable_and_has_the_same_one():
    old = {name: DOCUMENT[name] for name in DOCUMENT if name not in LATER}

    assert Plan.from_json(old) == a_plan()


def test_numbers_and_keys_may_be_written_in_another_way():
    """As other programs do that read and write JSON."""
    other = json.loads(json.dumps(DOCUMENT, sort_keys=True))
    other["recipe"]["scales"]["lora"] = 2
    assert isinstance(DOCUMENT["recipe"]["scales"]["lora"], float)

    assert Plan.from_json(other) == a_plan()


@pytest.mark.parametrize(
    ("path", "value"),
    [("seed", 4), ("recipe/epochs", 9), ("expected/trial_score", 0.99), ("task/max_length", 17)],
)
def test_a_plan_that_was_edited_by_hand_is_noticed(path, value):
    with pytest.raises(
        PlanError, match=r"edited after it was written: its digest is .* delete the line of its dig"
    ):
        Plan.from_json(edited(path, value))


def test_a_ranking_of_before_losses_were_correlated_keeps_its_digest():
    ranking = Ranking(tau=INTERVAL, rho=INTERVAL, pairs=5, share=0.3)
    plan = replace(FULL, evidence=replace(FULL.evidence, ranking=ranking), signature=None)
    document = json.loads(json.dumps(plan.to_json()))
    del document["evidence"]["ranking"]["against"], document["signature"]
    said = {name: value for name, value in document.items() if name != "digest"}

    assert digest(said) == plan.digest
    assert Plan.from_json(document) == plan


def test_a_change_that_is_meant_is_taken_without_the_digest():
    document = edited("seed", 4)
    del document["digest"]

    assert Plan.from_json(document).seed == 4


def test_what_is_said_of_an_export_belongs_to_the_digest():
    drift = Drift(largest=0.1, mean=0.01, scale=1.0, same=1.0, examples=4)
    exported = Exported(plan=a_plan().digest, format="merged", drift=drift, probe=(0.5,))
    copied = replace(a_plan(), exported=exported)

    assert copied.digest != a_plan().digest
    assert Plan.from_json(json.loads(json.dumps(copied.to_json()))) == copied


def test_a_copy_of_before_files_and_ranks_were_kept_stays_readable():
    drift = Drift(largest=0.1, mean=0.01, scale=1.0, same=1.0, examples=4)
    exported = Exported(plan=a_plan().digest, format="merged", drift=drift, probe=(0.5,))
    copied = replace(a_plan(), exported=exported)
    old = copied.to_json()
    for name in ("digest", "signature", "transferred", "evidence"):
        del old[name]
    for name in ("files", "rank"):
        del old["exported"][name]

    assert Plan.from_json(old | {"digest": digest(old)}) == copied


def test_evidence_and_where_it_was_transferred_from_belong_to_the_digest():
    unsigned = replace(FULL, signature=None)

    for changed in (replace(unsigned, evidence=None), replace(unsigned, transferred=None)):
        assert changed.digest != unsigned.digest
    assert Plan.from_json(json.loads(json.dumps(unsigned.to_json()))) == unsigned


def test_the_digest_leaves_the_signature_out_and_a_wrong_signature_is_refused():
    assert FULL.digest == replace(FULL, signature=None).digest

    with pytest.raises(
        PlanError, match=r"the plan's signature \(key dddddddddddd\) is not that of"
    ):
        Plan.from_json(FULL.to_json())


def test_a_plan_transferred_to_its_own_backbone_keeps_its_table_and_promises_nothing():
    plan = FULL
    moved = plan.transfer(to=plan.backbone)

    assert (moved.slots, moved.configuration) == (plan.slots, plan.configuration)
    assert moved.transferred == Transferred(
        plan=plan.digest, backbone="tiny", digest=plan.backbone.digest
    )
    assert (moved.expected, moved.evidence, moved.signature, moved.exported) == (None,) * 4
    assert moved.provenance.verdict == "not compared"
    assert Plan.from_json(moved.to_json()) == moved


def test_sizes_over_the_budget_are_refused_with_the_largest_cell():
    document = edited("configuration", [[4], [4]]) | {"parameters": 64}
    document["provenance"]["ceiling"] = 50

    with pytest.raises(
        PlanError,
        match=r"trains 64 parameters, and its budget '1%' allows 50: it was edited by hand \(its "
        r"largest cell is lora@attention\.query of size 4 in block 1, 32 parameters\); make it",
    ):
        Plan.from_json(document)


def test_a_plan_is_read_from_a_file_or_its_directory(tmp_path):
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(DOCUMENT), encoding="utf-8")

    assert read_plan(file) == read_plan(tmp_path) == read_plan(str(file)) == a_plan()


@pytest.mark.parametrize("content", [None, b"{", b"\xff"])
def test_a_file_that_holds_no_plan_is_named(content, tmp_path):
    if content is not None:
        (tmp_path / "plan.json").write_bytes(content)

    with pytest.raises(PlanError, match=r"cannot read the plan '.*plan\.json'"):
        read_plan(tmp_path / "plan.json")
