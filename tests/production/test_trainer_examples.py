"""The examples for the Trainer of transformers and for TRL run, and leave weights of their plan."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open

from autopeft.files import write_json
from autopeft.study import Columns, DataFiles
from tests.kinds import continued
from tests.kinds import write_json as write_lines
from tests.models import MINILM, SENTIMENT, find_model
from tests.production.plans import LORA, plan_for, plan_on

EXAMPLES = Path(__file__).parents[2] / "examples" / "trainer"
pytestmark = pytest.mark.slow


def run(example, plan, data, folder):
    """Run an example as a user does, and return whose the weights say they are."""
    file = write_json(folder / "plan.json", plan.to_json())
    done = subprocess.run(
        [sys.executable, EXAMPLES / example, file, data, folder / "out"],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with safe_open(folder / "out" / "adapter.safetensors", framework="pt") as opened:
        return opened.metadata()["plan"]


def test_texts_are_classified_on_a_real_model(tmp_path):
    plan = plan_for(str(find_model(MINILM).path), LORA, "classification")
    task = replace(
        plan.task, labels=("negative", "positive"), columns=Columns(text="text", label="label")
    )
    plan = replace(plan, task=task, where=replace(plan.where, data=DataFiles(train=str(SENTIMENT))))
    lines = SENTIMENT.read_text("utf-8").splitlines()[:41]
    data = tmp_path / "data.csv"
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")

    assert run("1_classification.py", plan, data, tmp_path) == plan.digest


@pytest.mark.parametrize("example", ["2_language.py", "3_trl.py"])
def test_prompts_are_continued(tmp_path, example):
    if example == "3_trl.py":
        pytest.importorskip("trl")
    plan = plan_on(tmp_path / "model", LORA, family="llama")
    data = write_lines(tmp_path / "data.jsonl", continued(24)).train

    assert run(example, plan, data, tmp_path) == plan.digest
