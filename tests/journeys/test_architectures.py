"""Tiny models of every kind: each architecture, each space, each published configuration."""

import json
import sys
from pathlib import Path

import pytest

from autopeft.cli.app import main
from autopeft.search_spaces.written.named import named_configuration, names
from autopeft.search_spaces.written.reading import known_spaces
from tests.kinds import continued, save_model, tagged, write_json, write_pictures
from tests.models import opinions, write_rows

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SEARCHED = [
    *(("bert", "classification"), ("deberta-v2", "classification")),
    *(("modernbert", "classification"), ("modernbert", "tokens"), ("albert", "tokens")),
    *(("gpt2", "classification"), ("gpt2", "causal_lm"), ("llama", "causal_lm")),
    *(("gemma2", "causal_lm"), ("phi3", "causal_lm"), ("opt", "causal_lm")),
    *(("t5", "seq2seq"), ("bart", "seq2seq"), ("mbart", "seq2seq")),
    *(("vit", "image"), ("dinov2", "image"), ("clip", "image"), ("clip", "classification")),
]


class Bench:
    """Models and data, each made once, and the program run in a folder of its own."""

    def __init__(self, folder, monkeypatch, capsys):
        self.folder = folder
        self._patch = monkeypatch
        self._capsys = capsys

    def model(self, family, kind):
        """Save a tiny model that can do a kind of task."""
        return save_model(self.folder / "model", kind, family)

    def data(self, kind):
        """Write data for a kind of task."""
        if kind == "image":
            return write_pictures(self.folder / "pictures", 40).train
        if kind == "classification":
            return write_rows(self.folder / "data.csv", opinions(60)).train
        rows = tagged(60) if kind == "tokens" else continued(60)
        return write_json(self.folder / "data.jsonl", rows).train

    def run(self, command, family, kind, *more):
        """Run a command that trains, and return its code, document and what was written."""
        words = (
            "autopeft", command, "--model", self.model(family, kind), "--data", self.data(kind),
            "--task", kind, "--epochs", "1", "--threads", "1", "--out", self.folder / "out",
            "--json", *more,
        )  # fmt: skip
        self._patch.setattr(sys, "argv", list(map(str, words)))
        with pytest.raises(SystemExit) as ended:
            main()
        shown = self._capsys.readouterr()
        document = json.loads(shown.out) if not ended.value.code else {}
        return ended.value.code or 0, document, shown.err

    def search(self, family, kind, space, trials, budget="50%"):
        """Search with random trials after the baselines, and return all trials."""
        code, document, said = self.run(
            "search", family, kind, "--space", space, "--budget", budget, "--trials", trials,
            "--finals", "0", "--strategy", "random", "--store",
            f"sqlite:///{self.folder / 'store.db'}",
        )  # fmt: skip
        assert code == 0, said
        assert (self.folder / "out" / "plan.json").is_file()
        return document["trials"]


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return Bench(tmp_path, monkeypatch, capsys)


def must_be_complete(trials, *, searched):
    """Every trial has a score, and as many as asked for are the strategy's own."""
    assert [trial["error"] for trial in trials if trial["state"] != "complete"] == []
    assert sum(trial["proposal"]["purpose"] == "search" for trial in trials) >= searched
    assert all(trial["measurement"]["parameters"] > 0 for trial in trials)


@pytest.mark.parametrize(("family", "kind"), SEARCHED)
def test_every_architecture_is_searched(family, kind, bench):
    must_be_complete(bench.search(family, kind, "unified", 8), searched=3)


@pytest.mark.parametrize("space", [space.name for space in known_spaces()])
@pytest.mark.parametrize(
    ("family", "kind"),
    [("bert", "classification"), ("t5", "seq2seq"), ("vit", "image"), ("llama", "causal_lm")],
)
def test_every_published_space_is_searched(space, family, kind, bench):
    """Shears begins at rank 16 on every matrix, which is much of a tiny model."""
    budget = "90%" if space == "shears" else "30%"

    must_be_complete(bench.search(family, kind, space, 10, budget), searched=2)


REFUSED = {
    "cross-attention": "full@cross",
    "last-quarter": "nothing in any of the",
    "llama-adapter": "llama_adapter@attention",
    "mam-glue": "prefix@attention",
    "mam-xsum": "prefix@attention",
    "noah-vtab": "deep_prompt@attention",
    "parallel-384-prefix-30": "prefix@attention",
    "prefix-10": "prefix@attention",
    "s4-t5-3b": "prefix@attention",
    "s4-t5-base": "prefix@attention",
    "unipelt-ap": "prefix@attention",
    "unipelt-apl": "prefix@attention",
    "vpt-deep-10": "deep_prompt@attention",
}
"""What a configuration is refused for, on a model that lacks it."""
LACKING = {
    "bert": {"cross-attention", "last-quarter"},
    "deberta-v2": set(REFUSED),  # its attention takes no prefixes
    "t5": {"last-quarter"},
    "vit": {"cross-attention", "last-quarter"},
    "llama": {"cross-attention", "last-quarter"},
}
FITTING = {"bert": "classification", "deberta-v2": "classification", "t5": "seq2seq"}
FITTING |= {"vit": "image", "llama": "causal_lm"}


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("family", LACKING)
def test_every_published_configuration_is_trained_or_refused(name, family, bench):
    more = ("--budget", "40%") if named_configuration(name).filled else ()
    code, outcome, said = bench.run(
        "train", family, FITTING[family], "--configuration", name, *more
    )

    if name in LACKING[family]:
        assert code == 2
        assert name in said
        assert REFUSED[name] in said
        assert not (bench.folder / "out").exists()
    else:
        assert code == 0, said
        assert outcome["parameters"] > 0
        assert (bench.folder / "out" / "adapter.safetensors").is_file()
