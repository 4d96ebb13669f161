"""Training scripts are short, and they run, for every kind of task and form of data."""

import json
import os
import runpy
import subprocess
import sys
from dataclasses import replace

import datasets
import pytest
import torch
from peft import PeftModel
from transformers import AutoModel

import autopeft
from autopeft.files import write_json
from autopeft.production.script import by_peft, script
from autopeft.study import DataFiles
from autopeft.tasks.reading import read_task
from tests.kinds import continued, tagged, write_pictures
from tests.kinds import write_json as write_lines
from tests.models import degrees, opinions, pairs, write_rows
from tests.production.plans import HEADS, LORA, plan_on

QUERY = {"lora@attention.query": 2}
PEFT, OWN = "adapter_model.safetensors", "adapter.safetensors"


def written(
    folder, data, family="bert", sizes=QUERY, *, kind="classification", precision="fp32", **task
):
    """Write a plan on data that is there, and its script."""
    columns = {"head": HEADS.get(kind), "max_length": 16} | task
    read = read_task(data, kind=kind, **columns)
    recipe = {"epochs": 1, "batch_size": 8, "precision": precision}
    plan = plan_on(folder / "model", sizes, family, kind=kind, **recipe)
    plan = replace(plan, task=read, where=replace(plan.where, data=data), head_parameters=0)
    write_json(folder / "plan.json", plan.to_json())
    text = script(plan, folder / "plan.json")
    assert len(text.splitlines()) < 130
    (folder / "train.py").write_text(text, encoding="utf-8")
    return plan


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Run the script of a folder in this process; return what it has made."""

    def run(folder=tmp_path):
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder / "cache"))
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["train.py", "out"])
        return runpy.run_path("train.py", run_name="__main__")

    return run


def text_data(folder):
    return write_rows(folder / "data.csv", opinions(30))


def tag_data(folder):
    return write_lines(folder / "data.jsonl", tagged(30))


def answers(folder):
    return write_lines(folder / "data.jsonl", continued(30))


def pictures(folder):
    return write_pictures(folder / "data", 24)


def numbers(folder):
    return write_rows(folder / "data.csv", degrees(30))


SLOW = pytest.mark.slow
STEPS = {"serial_adapter@ffn.norm": 2, "adalora@attention.query": 2}
CHOICE = {"fish_mask@attention.query": 1, "prefix@attention": 2}
RANKS = {"lora@attention.query": 2, "lora@ffn.input": 3}
IA3 = {"ia3@attention.key": 1, "ia3@ffn.output": 1}
EVERY = {
    "classification": ("classification", "bert", RANKS, text_data, PEFT),
    "steps": ("classification", "bert", STEPS, text_data, OWN),
    "choice": ("classification", "bert", CHOICE, text_data, OWN),
    "regression": ("regression", "bert", QUERY, numbers, PEFT),
    "own-regression": ("regression", "bert", {"ssf@ffn.input": 1}, numbers, OWN),
    "tokens": ("tokens", "bert", {"dora@attention.query": 2}, tag_data, PEFT),
    "own-tokens": ("tokens", "bert", {"bitfit@block": 1}, tag_data, OWN),
    "causal_lm": ("causal_lm", "llama", QUERY, answers, PEFT),
    "slice": ("causal_lm", "gpt2", QUERY, answers, OWN),
    "seq2seq": ("seq2seq", "t5", IA3, answers, PEFT),
    "own-seq2seq": ("seq2seq", "t5", {"parallel_adapter@ffn": 2}, answers, OWN),
    "image": ("image", "vit", QUERY, pictures, PEFT),
    "own-image": ("image", "vit", {"adapter_plus@block": 2}, pictures, OWN),
}


def every_case():
    marks = {"classification": ()}
    return [pytest.param(*case, id=n, marks=marks.get(n, SLOW)) for n, case in EVERY.items()]


@pytest.mark.parametrize(("kind", "family", "sizes", "data", "left"), every_case())
def test_a_script_runs_and_leaves_weights(kind, family, sizes, data, left, tmp_path, ran):
    plan = written(tmp_path, data(tmp_path), family, sizes, kind=kind)

    made = ran()

    assert (tmp_path / "out" / left).is_file()
    assert by_peft(plan) == (left == PEFT)
    trained = {id(p) for group in made["groups"] for p in group["params"]}
    head = sum(p.numel() for p in made.get("head", ()))
    found = [p for p in made["model"].parameters() if p.requires_grad]
    assert {id(p) for p in found} == trained
    if left == PEFT:
        assert sum(p.numel() for p in found) - head == plan.parameters
    else:
        autopeft.load(autopeft.model_for(plan), tmp_path / "out")


@SLOW
def test_a_script_runs_as_a_program(tmp_path):
    """Where nothing can be fetched, from another directory, and without a home of its own."""
    written(tmp_path, text_data(tmp_path))

    done = subprocess.run(
        [sys.executable, tmp_path / "train.py"], cwd=tmp_path / "model", check=False,
        capture_output=True, text=True,
        env={"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PATH": "", "HOME": str(tmp_path)},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model" / "trained" / PEFT).is_file()


def test_a_script_trains_with_the_dropout_of_the_plan(tmp_path, ran):
    """BERT's own is 0.1, and the plan has none."""
    written(tmp_path, text_data(tmp_path))

    model = ran()["model"]

    assert {part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)} == {0.0}


@SLOW
def test_half_precision_is_that_of_this_machine_also_without_an_accelerator(tmp_path, ran):
    written(tmp_path, text_data(tmp_path), precision="bf16")

    made = ran()

    assert made["arguments"].bf16
    assert {p.dtype for p in made["model"].parameters()} == {torch.float32}


@SLOW
def test_numbers_are_learned_in_standard_units_and_given_in_their_own(tmp_path, ran):
    """The labels lie about 100."""
    written(tmp_path, numbers(tmp_path), kind="regression")

    made = ran()

    row = made["collate"]([made["validation"][0]])
    assert 90 < float(made["model"](**row).logits) < 110
    assert float(made["model"](**row).loss.detach()) < 20
    kept = torch.load(tmp_path / "out" / "head.pt")
    assert (kept["mean"], kept["spread"]) == (made["MEAN"], made["SPREAD"])
    again = PeftModel.from_pretrained(AutoModel.from_pretrained(made["MODEL"]), tmp_path / "out")
    assert again.peft_config["default"].r == 2


@SLOW
@pytest.mark.parametrize("named", [("train", "dev"), ("training", "VAL"), ("train", "test")])
def test_a_column_says_which_part_a_row_belongs_to(named, tmp_path, ran):
    """Without rows for validation some are cut off train."""
    rows = [row | {"split": named[place % 5 == 0]} for place, row in enumerate(opinions(40))]
    written(tmp_path, write_rows(tmp_path / "data.csv", rows))

    made = ran()

    assert (len(made["train"]), len(made["validation"])) in {(32, 8), (25, 7)}


@SLOW
def test_files_of_their_own_are_the_parts(tmp_path, ran):
    data = write_rows(tmp_path / "data.csv", opinions(30))
    validation = write_rows(tmp_path / "validation.csv", opinions(10, seed=1)).train
    written(tmp_path, replace(data, validation=validation))

    made = ran()

    assert (len(made["train"]), len(made["validation"])) == (30, 10)


@SLOW
def test_pairs_go_into_the_model_together(tmp_path, ran):
    written(tmp_path, write_rows(tmp_path / "data.csv", pairs(30)), text="text", pair="reply")

    made = ran()

    assert set(made["train"][0]["token_type_ids"]) == {0, 1}


@SLOW
def test_text_and_classes_stay_as_they_are_written(tmp_path, ran):
    """A library may take NA for nothing, true for a truth value and 01 for a number."""
    rows = [row | {"label": ["NA", "true"][place % 2]} for place, row in enumerate(opinions(40))]
    rows[0]["text"] = "null"
    plan = written(tmp_path, write_rows(tmp_path / "data.csv", rows))
    assert plan.task.labels == ("NA", "true")

    made = ran()

    assert {*made["train"]["labels"], *made["validation"]["labels"]} == {0, 1}


@SLOW
def test_whole_numbers_are_classes_however_they_are_written(tmp_path, ran):
    rows = [row | {"label": ["1.0", "2"][place % 2]} for place, row in enumerate(opinions(40))]
    plan = written(tmp_path, write_rows(tmp_path / "data.csv", rows))
    assert plan.task.labels == ("1", "2")

    made = ran()

    assert {*made["train"]["labels"], *made["validation"]["labels"]} == {0, 1}


@SLOW
def test_words_and_tags_may_be_text_with_spaces(tmp_path, ran):
    rows = [{name: " ".join(cells) for name, cells in row.items()} for row in tagged(30)]
    written(tmp_path, write_rows(tmp_path / "data.csv", rows), kind="tokens")

    made = ran()

    assert sum(label >= 0 for label in made["train"][0]["labels"]) == 6


@SLOW
def test_passages_are_learned_as_they_stand(tmp_path, ran):
    rows = [{"text": row["prompt"]} for row in continued(30)]
    written(tmp_path, write_lines(tmp_path / "data.jsonl", rows), "llama", kind="causal_lm")

    row = ran()["train"][0]

    assert row["labels"] == row["input_ids"]


@SLOW
def test_images_may_lie_in_folders_of_the_parts(tmp_path, ran):
    for part, count in (("train", 20), ("val", 8)):
        write_pictures(tmp_path / "data" / part, count)
    data = DataFiles(train=str(tmp_path / "data"))
    written(tmp_path, data, "vit", kind="image")

    made = ran()

    assert (len(made["train"]), len(made["validation"])) == (20, 8)


@SLOW
def test_images_may_be_named_in_a_table(tmp_path, ran):
    """Their paths begin where the table lies."""
    write_pictures(tmp_path / "data", 24)
    files = sorted((tmp_path / "data").rglob("*.png"))
    rows = [{"image": os.fspath(f.relative_to(tmp_path)), "label": f.parent.name} for f in files]
    written(tmp_path, write_rows(tmp_path / "data.csv", rows), "vit", kind="image")

    made = ran()

    assert made["collate"]([made["train"][0]])["pixel_values"].shape == (1, 3, 8, 8)


@SLOW
def test_images_may_lie_in_a_table(tmp_path, ran):
    write_pictures(tmp_path / "data", 24)
    folder = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "data"), split="train", cache_dir=str(tmp_path)
    )
    names = folder.features["label"].names
    table = folder.map(lambda row: {"class": names[row["label"]]}, remove_columns="label")
    table.rename_column("class", "label").to_parquet(tmp_path / "data.parquet")
    data = DataFiles(train=str(tmp_path / "data.parquet"))
    written(tmp_path, data, "vit", kind="image")

    made = ran()

    assert made["collate"]([made["train"][0]])["pixel_values"].shape == (1, 3, 8, 8)


def test_a_script_names_files_where_they_are(tmp_path, monkeypatch):
    """It is run from anywhere, and the plan may have been made with a path from here."""
    monkeypatch.chdir(tmp_path)
    text_data(tmp_path)
    data = DataFiles(train="data.csv")
    plan = plan_on(tmp_path / "model", LORA)
    plan = replace(plan, where=replace(plan.where, data=data))

    assert json.dumps(str(tmp_path / "data.csv"))[1:-1] in script(plan, "plan.json")
