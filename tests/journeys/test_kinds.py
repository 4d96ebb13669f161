"""Every kind of task, from data files to trained weights."""

import json

import pytest

from tests.journeys.commands import autopeft
from tests.kinds import continued, save_model, tagged, write_json, write_pictures


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "family", "metric"),
    [
        ("tokens", "bert", "entity_f1"),
        ("causal_lm", "gpt2", "log_likelihood"),
        ("seq2seq", "t5", "exact_match"),
        ("image", "vit", "macro_f1"),
    ],
)
def test_a_plan_is_found_and_trained(tmp_path, kind, family, metric):
    save_model(tmp_path / "model", kind, family)
    if kind == "image":
        write_pictures(tmp_path / "data", 40)
    else:
        write_json(tmp_path / "data", tagged(60) if kind == "tokens" else continued(60))
        (tmp_path / "data").rename(tmp_path / "data.jsonl")
    data = "data" if kind == "image" else "data.jsonl"
    words = (
        "--model", "./model", "--data", data, "--task", kind, "--metric", metric,
        "--budget", "20%", "--space", "lora", "--epochs", "1", "--trials", "2", "--finals", "1",
        "--threads", "1", "--strategy", "random",
    )  # fmt: skip

    estimated = autopeft("estimate", *words, "--json", cwd=tmp_path)
    store = ("--store", "sqlite:///store.db", "--out", "out")
    searched = autopeft("search", *words, *store, cwd=tmp_path)
    trained = autopeft("train", "out/plan.json", "--threads", "1", "--json", cwd=tmp_path)

    assert json.loads(estimated.stdout)["seconds_per_trial"] >= 0, estimated.stderr
    assert searched.returncode == 0, searched.stderr
    assert metric in searched.stdout
    outcome = json.loads(trained.stdout)
    assert outcome["validation"] == outcome["promised"]
    assert (tmp_path / "out/trained/adapter.safetensors").is_file()
