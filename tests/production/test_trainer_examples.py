"""The examples for the Trainer of transformers, TRL and accelerate run and leave a plan's weights.

On tiny models they run in the process of the tests; one runs on a real model as a user starts it.
"""

import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
from safetensors import safe_open

import autopeft
from autopeft.files import write_json
from autopeft.production.verifying import verify
from autopeft.study import Columns
from tests.kinds import continued, tagged, write_pictures
from tests.kinds import write_json as write_lines
from tests.models import MINILM, PLAIN, SENTIMENT, degrees, opinions, write_rows
from tests.production.plans import LORA, plan_for, plan_on

EXAMPLES = Path(__file__).parents[2] / "examples" / "trainer"
PAGE = (Path(__file__).parents[2] / "docs" / "production.md").read_text("utf-8")
FAMILIES = {
    "1_classification.py": "bert",
    "2_language.py": "llama",
    "3_trl.py": "llama",
    "4_tokens.py": "bert",
    "5_pairs.py": "bert",
    "6_translation.py": "t5",
    "7_images.py": "vit",
    "8_accelerate.py": "bert",
}
KINDS = {"4_tokens.py": "tokens", "5_pairs.py": "regression"}
OFTEN = {"2_language.py", "5_pairs.py", "7_images.py", "8_accelerate.py"}
MIXED = LORA | {"adalora@ffn.input": 2, "parallel_adapter@ffn": 2}


def data_for(example, folder):
    """Write data for an example; return it with its columns and labels."""
    if example in {"1_classification.py", "8_accelerate.py"}:
        data = write_rows(folder / "data.csv", opinions(24))
        return data, Columns(text="text", label="label"), ("bad", "good")
    if example == "4_tokens.py":
        data = write_lines(folder / "data.jsonl", tagged(24))
        columns = Columns(text="tokens", label="ner_tags")
        return data, columns, ("B-BAD", "B-GOOD", "I-GOOD", "O")
    if example == "5_pairs.py":
        rows = [row | {"reply": PLAIN[number % 12]} for number, row in enumerate(degrees(24))]
        data = write_rows(folder / "data.csv", rows)
        return data, Columns(text="text", pair="reply", label="label"), ()
    if example == "7_images.py":
        data = write_pictures(folder / "data", 24)
        return data, Columns(text="image", label="label"), ("bright", "dark")
    data = write_lines(folder / "data.jsonl", continued(24))
    return data, Columns(text="prompt", label="completion"), ()


def planned(example, folder, sizes=LORA):
    """Make a plan for an example on a tiny model, in plan.json beside the data."""
    data, columns, labels = data_for(example, folder)
    kind = KINDS.get(example)
    plan = plan_on(folder / "model", sizes, FAMILIES[example], kind=kind, dropout=0.0)
    plan = replace(plan, task=replace(plan.task, columns=columns, labels=labels))
    plan = replace(plan, where=replace(plan.where, data=data))
    write_json(folder / "plan.json", plan.to_json())
    return plan


def plan_of(folder):
    """Whose the weights say they are."""
    with safe_open(folder / "adapter.safetensors", framework="pt") as opened:
        return opened.metadata()["plan"]


def every_example():
    slow = pytest.mark.slow
    return [pytest.param(name, marks=() if name in OFTEN else slow) for name in FAMILIES]


@pytest.mark.parametrize("example", every_example())
def test_an_example_trains_a_plan_that_is_verified(example, tmp_path, monkeypatch):
    """The weights are those of the plan, in every respect that verify looks at."""
    if example == "3_trl.py":
        pytest.importorskip("trl")
    plan = planned(example, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", [example, "plan.json", plan.where.data.train, "out"])

    runpy.run_path(str(EXAMPLES / example), run_name="__main__")

    assert plan_of(tmp_path / "out") == plan.digest
    assert all(finding.right for finding in verify(plan, tmp_path / "out"))


def start(*words, cwd, **more):
    """Run a program as a user does."""
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_texts_are_classified_on_a_real_model_of_a_package(tmp_path):
    plan = plan_for(MINILM, MIXED, "classification")
    task = replace(
        plan.task, labels=("negative", "positive"), columns=Columns(text="text", label="label")
    )
    plan = replace(plan, task=task)
    write_json(tmp_path / "plan.json", plan.to_json())
    lines = SENTIMENT.read_text("utf-8").splitlines()[:41]
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    start(EXAMPLES / "1_classification.py", "plan.json", "data.csv", "out", cwd=tmp_path)

    assert plan_of(tmp_path / "out") == plan.digest


@pytest.mark.slow
def test_two_processes_of_accelerate_share_every_batch(tmp_path):
    """Each takes its part, so there are half as many steps, and one of them writes."""
    plan = planned("8_accelerate.py", tmp_path)
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")

    said = start(
        *launcher, EXAMPLES / "8_accelerate.py", "plan.json", "data.csv", "out",
        cwd=tmp_path, ACCELERATE_USE_CPU="true",
    )  # fmt: skip

    assert "step 2 of 2: loss" in said
    assert "step 3" not in said
    assert plan_of(tmp_path / "out") == plan.digest
    assert all(finding.right for finding in verify(plan, tmp_path / "out"))


def test_the_page_names_every_example():
    assert {file.name for file in EXAMPLES.glob("*.py")} == set(FAMILIES)
    assert [name for name in FAMILIES if f"`{name}`" not in PAGE] == []


def test_an_example_finds_the_model_of_a_package():
    """A plan may name a package, which transformers knows nothing of."""
    assert (autopeft.find_model(MINILM).path / "config.json").is_file()
