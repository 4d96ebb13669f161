"""Plans and weights that are not what they say: the program refuses them, and says what to do."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import autopeft
from autopeft.cli.app import main
from autopeft.files import write_json
from tests.models import opinions, save_tiny, write_rows
from tests.production.plans import LORA, moved, plan_on, trained

UP = "1/lora@attention.query/up"


def refused(monkeypatch, capsys, *words):
    """Run the program as a shell does; return what it says when it ends with 2."""
    monkeypatch.setattr(sys, "argv", ["autopeft", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    return capsys.readouterr()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A plan that uses all of its budget, and weights that were trained from it."""
    folder = tmp_path_factory.mktemp("plan")
    plan = plan_on(folder / "model", LORA)
    plan = replace(plan, provenance=replace(plan.provenance, ceiling=plan.parameters))
    write_json(folder / "plan.json", plan.to_json())
    autopeft.save(moved(trained(plan, "bert")), folder / "trained")
    return folder


def raised(document, factor):
    """Make one cell larger, and the count with it, as a hand would that knows the format."""
    slots = [f"{slot['method']}@{slot['site']}" for slot in document["slots"]]
    column = slots.index("lora@attention.query")
    rows = document["configuration"]
    more = document["slots"][column]["unit"] * rows[1][column] * (factor - 1)
    rows[1][column] *= factor
    document["parameters"] += more
    del document["digest"]


EDITS = [
    pytest.param(
        lambda d: d.update(seed=99),
        ("the plan was edited after it was written: its digest is", "export it again, or, where"),
        id="wrong digest",
    ),
    pytest.param(
        lambda d: raised(d, 8),
        (
            "and its budget '50%' allows",
            "its largest cell is lora@attention.query of size 16 in block 1",
            "make it smaller, or export it again",
        ),
        id="sizes over the budget",
    ),
    pytest.param(
        lambda d: d.update(version=9),
        ("the plan has version 9, this autopeft reads up to 1", "update autopeft"),
        id="newer schema",
    ),
]
COMMANDS = [
    ("plan", "check", "PLAN"),
    ("plan", "serving", "PLAN"),
    ("train", "PLAN"),
    ("export", "PLAN", "--format", "peft", "--weights", "WEIGHTS"),
    ("verify", "PLAN", "WEIGHTS"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]))
@pytest.mark.parametrize(("edit", "said"), EDITS)
def test_an_edited_plan_is_refused_by_every_command(
    edit, said, words, folder, tmp_path, monkeypatch, capsys
):
    document = json.loads((folder / "plan.json").read_text("utf-8"))
    edit(document)
    places = {"PLAN": write_json(tmp_path / "plan.json", document), "WEIGHTS": folder / "trained"}

    told = refused(monkeypatch, capsys, *(places.get(word, word) for word in words)).err

    assert told.startswith("error: ")
    assert all(part in told for part in said), told


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "check", "PLAN", "--model", "OTHER"),
        ("train", "PLAN", "--model", "OTHER", "--data", "DATA"),
        ("export", "PLAN", "--format", "merged", "--weights", "WEIGHTS", "--model", "OTHER"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_another_backbone_is_refused_by_every_command(words, folder, tmp_path, monkeypatch, capsys):
    """Of the same shape, so that nothing but its weights tells it apart."""
    places = {
        "PLAN": folder / "plan.json", "WEIGHTS": folder / "trained",
        "OTHER": save_tiny(tmp_path / "other", seed=5),
        "DATA": write_rows(tmp_path / "data.csv", opinions(40)).train,
    }  # fmt: skip

    told = refused(monkeypatch, capsys, *(places.get(word, word) for word in words)).err

    assert "does not have the weights that the plan was made for" in told
    assert "give that model" in told


SPOILED = [
    pytest.param(
        lambda t: t.pop(UP),
        ("lacks up of lora@attention.query in block 1 (1 missing)", "give its own weights"),
        id="missing tensor",
    ),
    pytest.param(
        lambda t: t.update({"0/lora@ffn.output/up": torch.zeros(1, 1)}),
        ("has up of lora@ffn.output in block 0, which the plan does not have", "its own weights"),
        id="extra tensor",
    ),
    pytest.param(
        lambda t: t.update({UP: t[UP][:1]}),
        ("has up of lora@attention.query in block 1 in the shape", "give the plan that it came f"),
        id="another shape",
    ),
    pytest.param(
        lambda t: t[UP].fill_(float("nan")),
        ("up of lora@attention.query in block 1 holds values that are no finite", "train again"),
        id="no numbers",
    ),
]


@pytest.mark.parametrize("form", ["peft", "merged"])
@pytest.mark.parametrize(("spoil", "said"), SPOILED)
def test_spoiled_weights_do_not_leave(spoil, said, form, folder, tmp_path, monkeypatch, capsys):
    """`verify` finds the same, and both end with 2."""
    weights = shutil.copytree(folder / "trained", tmp_path / "weights")
    with safe_open(weights / "adapter.safetensors", "pt") as file:
        says = file.metadata()
    tensors = load_file(weights / "adapter.safetensors")
    spoil(tensors)
    save_file(tensors, weights / "adapter.safetensors", says)
    export = ("export", folder / "plan.json", "--format", form, "--weights", weights)

    told = refused(monkeypatch, capsys, *export, "--out", tmp_path / "out").err
    found = refused(monkeypatch, capsys, "verify", folder / "plan.json", weights, "--json").out

    assert all(part in told for part in said), told
    wrong = " ".join(f["found"] for f in json.loads(found) if not f["right"])
    assert all(part in wrong for part in said), wrong
    assert not list((tmp_path / "out").glob("*.safetensors"))
