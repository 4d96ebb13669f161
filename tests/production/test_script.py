"""Training scripts are short, and they run."""

import subprocess
import sys
from dataclasses import replace

import pytest

from autopeft.files import write_json
from autopeft.production.script import by_peft, script
from autopeft.study import Columns
from tests.kinds import continued, tagged, write_pictures
from tests.kinds import write_json as write_lines
from tests.models import opinions, write_rows
from tests.production.plans import plan_on

COLUMNS = {
    "tokens": ("tokens", "ner_tags"),
    "causal_lm": ("prompt", "completion"),
    "seq2seq": ("prompt", "completion"),
    "image": ("image", "label"),
}


def written(folder, kind, family, sizes):
    """Write data, a plan and its script."""
    labels = ()
    if kind == "image":
        data, labels = write_pictures(folder / "data", 24), ("bright", "dark")
    elif kind == "classification":
        data, labels = write_rows(folder / "data.csv", opinions(40)), ("bad", "good")
    else:
        rows = tagged(30) if kind == "tokens" else continued(30)
        data = write_lines(folder / "data.jsonl", rows)
        labels = ("B-BAD", "B-GOOD", "I-GOOD", "O") if kind == "tokens" else ()
    plan = plan_on(folder / "model", sizes, family, kind=kind, epochs=1, batch_size=8)
    text, label = COLUMNS.get(kind, ("text", "label"))
    task = replace(plan.task, labels=labels, columns=Columns(text=text, label=label))
    plan = replace(plan, task=task, where=replace(plan.where, data=data), head_parameters=0)
    write_json(folder / "plan.json", plan.to_json())
    (folder / "train.py").write_text(script(plan, folder / "plan.json"), encoding="utf-8")
    return plan


def run(folder):
    return subprocess.run(
        [sys.executable, "train.py", "out"], cwd=folder, capture_output=True, text=True,
        check=False,
        env={"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PATH": "", "HOME": str(folder)},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "family", "sizes", "left"),
    [
        (
            "classification",
            "bert",
            {"lora@attention.query": 2, "lora@ffn.input": 3},
            "adapter_model.safetensors",
        ),
        (
            "classification",
            "bert",
            {"serial_adapter@ffn.norm": 2, "adalora@attention.query": 2},
            "adapter.safetensors",
        ),
        (
            "classification",
            "bert",
            {"fish_mask@attention.query": 1, "prefix@attention": 2},
            "adapter.safetensors",
        ),
        ("tokens", "bert", {"dora@attention.query": 2}, "adapter_model.safetensors"),
        ("causal_lm", "gpt2", {"lora@attention.query": 2}, "adapter.safetensors"),
        ("causal_lm", "llama", {"lora@attention.query": 2}, "adapter_model.safetensors"),
        (
            "seq2seq",
            "t5",
            {"ia3@attention.key": 1, "ia3@ffn.output": 1},
            "adapter_model.safetensors",
        ),
        ("image", "vit", {"lora@attention.query": 2}, "adapter_model.safetensors"),
    ],
)
def test_a_script_runs_and_leaves_weights(kind, family, sizes, left, tmp_path):
    plan = written(tmp_path, kind, family, sizes)

    done = run(tmp_path)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / left).is_file()
    assert by_peft(plan) == (left == "adapter_model.safetensors")
