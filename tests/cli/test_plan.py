"""The commands that look at plans, and hold weights against them."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import autopeft
from autopeft.cli.app import app
from autopeft.cli.plan import check
from autopeft.errors import PlanError
from autopeft.evidence import Evidence, Hardware
from autopeft.files import write_json
from tests.contracts.store import a_plan
from tests.models import save_tiny
from tests.production.plans import LORA, moved, plan_on, trained
from tests.test_signing import written


def run(*words, code=0):
    done = CliRunner().invoke(
        app, list(map(str, words)), env={"COLUMNS": "200"}, catch_exceptions=False
    )
    assert done.exit_code == code, done.output
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A plan, and weights that were trained from it."""
    folder = tmp_path_factory.mktemp("plan")
    plan = plan_on(folder / "model", LORA)
    write_json(folder / "plan.json", plan.to_json())
    autopeft.save(moved(trained(plan, "bert")), folder / "trained")
    return folder


def test_a_plan_is_shown_in_words(tmp_path):
    file = write_json(tmp_path / "plan.json", a_plan().to_json())

    shown = run("plan", "show", file)

    assert f"plan       {a_plan().digest[:12]}" in shown
    assert "trains     lora@attention.query 1-2" in shown
    assert "expected   accuracy 0.910 [0.880, 0.940], 2 fresh seeds" in shown
    assert "the budget 1% allows 100" in shown


def test_a_plan_is_shown_as_json_with_its_digest(tmp_path):
    write_json(tmp_path / "plan.json", a_plan().to_json())

    assert json.loads(run("plan", "show", tmp_path, "--json"))["digest"] == a_plan().digest


def test_two_plans_are_compared_cell_by_cell_and_field_by_field(folder, tmp_path):
    one = autopeft.read_plan(folder)
    other = replace(one, seed=9, recipe=replace(one.recipe, epochs=7))
    rows = tuple(tuple(2 * bool(size) for size in row) for row in one.configuration.sizes)
    sizes = type(one.configuration)(rows)
    other = replace(other, configuration=sizes, parameters=sizes.parameters(one.slots))
    file = write_json(tmp_path / "other.json", other.to_json())

    found = json.loads(run("plan", "diff", folder, file, "--json"))

    apart = {row["where"]: (row["one"], row["other"]) for row in found}
    assert apart["lora@attention.value in block 0"] == (3, 2)
    assert "lora@attention.query in block 0" not in apart
    assert apart["recipe/epochs"] == (1, 7)
    assert apart["seed"] == (3, 9)
    assert "recipe/epochs" in run("plan", "diff", folder, file)


def test_evidence_that_differs_takes_one_row(tmp_path):
    machine = Hardware(system="Linux", processor="A", cores=2, accelerator=None)
    rests = Evidence(
        code="git 57aafdd", backbone_revision=None, study_seed=0, hardware=machine, scores=(),
        baselines=(), ranking=None,
    )  # fmt: skip
    files = [
        write_json(tmp_path / f"{name}.json", replace(a_plan(), evidence=evidence).to_json())
        for name, evidence in (("one", rests), ("other", None))
    ]

    rows = json.loads(run("plan", "diff", *files, "--json"))
    assert sum(row["where"].startswith("evidence/") for row in rows) > 3
    assert run("plan", "diff", *files).count("evidence") == 1


def test_equal_plans_say_the_same(folder):
    assert run("plan", "diff", folder, folder) == "the plans say the same\n"


def test_a_plan_in_order_passes_the_check(folder):
    shown = run("plan", "check", folder, "--model", folder / "model")

    assert shown == f"plan {autopeft.read_plan(folder).digest[:12]} is in order\n"


def test_the_schema_is_printed_whether_or_not_it_is_said_of_what():
    assert run("schema", "plan") == run("schema")
    assert json.loads(run("schema"))["type"] == "object"


def test_a_plan_of_a_newer_autopeft_passes_and_what_was_not_read_is_named(tmp_path, capsys):
    plan = replace(a_plan(), unknown={"colour": "red"})

    check(write_json(tmp_path / "plan.json", plan.to_json()))

    said = capsys.readouterr()
    assert said.out == f"plan {plan.digest[:12]} is in order\n"
    assert "fields that this autopeft does not know (colour): it was written by a n" in said.err


def test_a_plan_of_before_there_were_digests_passes_and_says_so(tmp_path):
    document = a_plan().to_json()
    del document["digest"]
    del document["exported"]

    shown = run("plan", "check", write_json(tmp_path / "plan.json", document))

    assert "it states none: it was written by an older autopeft" in shown


def test_an_edited_plan_does_not_pass(tmp_path):
    document = a_plan().to_json() | {"seed": 4}
    file = write_json(tmp_path / "plan.json", document)

    with pytest.raises(PlanError, match="the plan was edited after it was written: its digest is"):
        run("plan", "check", file)


def test_a_plan_for_another_model_does_not_pass(folder, tmp_path):
    other = save_tiny(tmp_path / "other", seed=4)

    with pytest.raises(PlanError, match="does not have the weights that the plan was made for"):
        run("plan", "check", folder, "--model", other)


def test_the_verdict_on_serving_comes_with_its_reasons(tmp_path):
    plan = plan_on(tmp_path / "model", {"dora@attention.query": 20}, "llama")
    file = write_json(tmp_path / "plan.json", plan.to_json())

    shown = run("plan", "serving", file)

    refused = "vLLM does not take it with --enable-lora --max-lora-rank 16: dora@attention.query"
    assert f"{refused} in block 0" in shown
    assert "and layers.0.self_attn.q_proj has rank 20" in shown
    assert "it would take: lora@attention.query 16" in shown
    assert "TGI does not take it with --lora-adapters: dora@attention.query in block 0" in shown
    vllm, tgi = json.loads(run("plan", "serving", file, "--max-lora-rank", "32", "--json"))
    assert (vllm["server"], vllm["takes"], vllm["needs"]) == ("vLLM", False, 32)
    assert (tgi["server"], tgi["nearest"]) == ("TGI", "lora@attention.query 16")


def test_weights_that_are_the_plans_are_verified(folder):
    shown = run("verify", folder, folder / "trained")

    assert "trainable set" in shown
    assert "NO" not in shown


def test_weights_that_are_not_end_with_two(folder, tmp_path):
    other = replace(autopeft.read_plan(folder), seed=8)
    file = write_json(tmp_path / "plan.json", other.to_json())

    shown = run("verify", file, folder / "trained", "--json", code=2)

    assert {finding["what"] for finding in json.loads(shown) if not finding["right"]} == {
        "plan digest",
        "weights",
    }


def test_a_plan_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(PlanError, match=r"cannot read the plan '.*nothing\.json'"):
        run("plan", "show", tmp_path / "nothing.json")


# Transferred and signed


def test_a_transferred_plan_is_written_and_says_what_it_is(folder, tmp_path):
    shown = run("plan", "transfer", folder, "--to", folder / "model", "--out", tmp_path)

    assert "transferred: no score was measured on" in shown
    assert "transferred from plan" in run("plan", "show", tmp_path)


def test_a_signed_plan_is_trusted_and_one_of_another_key_is_not(folder, tmp_path):
    file = write_json(tmp_path / "plan.json", autopeft.read_plan(folder).to_json())
    private, public = written(tmp_path, "mine")
    _, other = written(tmp_path, "other")

    assert "is signed with the key" in run("plan", "sign", file, "--key", private)

    run("plan", "check", file)
    run("plan", "check", file, "--trusted", public)
    assert "signed     with the key" in run("plan", "show", file)
    with pytest.raises(PlanError, match=r"is signed with the key .*, and .*other\.pub trusts"):
        run("plan", "check", file, "--trusted", other)
    assert autopeft.read_plan(file).digest == autopeft.read_plan(folder).digest


def test_an_edited_plan_keeps_no_signature(folder, tmp_path):
    file = write_json(tmp_path / "plan.json", autopeft.read_plan(folder).to_json())
    private, _ = written(tmp_path, "mine")
    run("plan", "sign", file, "--key", private)
    document = json.loads(file.read_text("utf-8")) | {"seed": 99}
    del document["digest"]
    write_json(file, document)

    with pytest.raises(PlanError, match=r"is not that of what it says: it was edited after it was"):
        run("plan", "check", file)
