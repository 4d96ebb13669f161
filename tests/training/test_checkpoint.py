import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from autopeft.errors import OutputError, PlanError
from autopeft.training import checkpoint
from autopeft.trial import Fidelity
from tests.kinds import bench_of, continued, save_model, write_json
from tests.models import MANY, Bench, opinions, padded_inputs, save_tiny, write_rows

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return Bench(save_tiny(folder / "model"), write_rows(folder / "data.csv", opinions(40)))


def scores(tuned):
    tuned.model.eval()
    with torch.no_grad():
        return tuned.model(padded_inputs())


@pytest.fixture
def saved(bench, tmp_path):
    """Return a file of trained weights and the scores that they gave."""
    file = tmp_path / "adapter.safetensors"
    with bench.tuned(MANY) as tuned:
        list(bench.trainer.measure(tuned, 0, Fidelity()))
        checkpoint.save(tuned, file, "digest of the plan")
        return file, scores(tuned)


def test_weights_that_are_loaded_give_the_same_scores(bench, saved):
    file, expected = saved

    with bench.tuned(MANY, seed=8) as tuned:
        assert not torch.equal(scores(tuned), expected)
        checkpoint.load(tuned, file)
        assert torch.equal(scores(tuned), expected)


def test_a_file_holds_what_was_trained_and_names_its_plan(bench, saved):
    """Trained elements plus the head, and no backbone."""
    file, _ = saved

    tensors = load_file(file)
    with safe_open(file, "pt") as opened:
        assert opened.metadata() == {"plan": "digest of the plan", "format": "autopeft/1"}
    trained = bench.table(MANY).parameters(bench.slots)
    assert sum(value.numel() for value in tensors.values()) == trained + 2 * 32 + 2
    assert list(file.parent.iterdir()) == [file]


def test_others_may_read_the_weights_as_the_umask_allows(saved):
    file, _ = saved
    (plain := file.with_name("plan.json")).touch()

    assert file.stat().st_mode == plain.stat().st_mode


def test_weights_of_another_configuration_are_refused(bench, saved):
    with (
        bench.tuned({"lora@attention.key": 2}) as tuned,
        pytest.raises(PlanError, match="the weights do not fit the configuration: it"),
    ):
        checkpoint.load(tuned, saved[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [("weight", None), ("bias", None), ("weight", torch.zeros(3, 32)), ("bias", torch.zeros(3))],
    ids=["no weight", "no bias", "three classes", "three biases"],
)
def test_weights_of_another_head_are_refused_and_change_nothing(bench, saved, name, value):
    file, _ = saved
    tensors = load_file(file)
    tensors.pop(f"head/{name}")
    save_file(tensors if value is None else tensors | {f"head/{name}": value}, file)

    with bench.tuned(MANY, seed=8) as tuned:
        before = scores(tuned)
        with pytest.raises(PlanError, match=r"holds no head for this task: it was trained for an"):
            checkpoint.load(tuned, file)
        assert torch.equal(scores(tuned), before)


@pytest.mark.parametrize(("kind", "family"), [("causal_lm", "gpt2"), ("seq2seq", "t5")])
def test_a_language_model_has_no_head_to_keep(tmp_path, kind, family):
    """Its file holds the methods alone, and gives the same scores."""
    data = write_json(tmp_path / "data.jsonl", continued(40))
    bench = bench_of(save_model(tmp_path / "model", kind, family), data, kind)
    sizes = {slot.name: 2 for slot in bench.slots if slot.name.startswith("lora@")}
    validation = bench.trainer.parts["validation"]

    with bench.tuned(sizes) as tuned:
        list(bench.trainer.measure(tuned, 0, Fidelity()))
        checkpoint.save(tuned, tmp_path / "adapter", "")
        expected, _ = tuned.predict(validation)

    assert not any(name.startswith("head/") for name in load_file(tmp_path / "adapter"))
    with bench.tuned(sizes, seed=8) as tuned:
        checkpoint.load(tuned, tmp_path / "adapter")
        np.testing.assert_array_equal(tuned.predict(validation)[0], expected)


def test_a_head_that_the_task_has_not_is_refused(tmp_path, saved):
    """Weights that were trained to tell classes are none of a language model."""
    data = write_json(tmp_path / "data.jsonl", continued(40))
    bench = bench_of(save_model(tmp_path / "model", "causal_lm", "gpt2"), data, "causal_lm")

    with (
        bench.tuned({"lora@attention.query": 2}) as tuned,
        pytest.raises(PlanError, match=r"holds no head for this task: it was trained for an"),
    ):
        checkpoint.load(tuned, saved[0])


@pytest.mark.parametrize(
    "content", [b"", b"not weights at all", None], ids=["empty", "text", "none"]
)
def test_a_file_that_holds_no_weights_is_refused(bench, tmp_path, content):
    file = tmp_path / "adapter.safetensors"
    if content is not None:
        file.write_bytes(content)

    with (
        bench.tuned(MANY) as tuned,
        pytest.raises(PlanError, match=r"cannot read the weights in .*adapter\.safetensors: "),
    ):
        checkpoint.load(tuned, file)


def test_truncated_weights_are_refused(bench, saved):
    file, _ = saved
    file.write_bytes(file.read_bytes()[:-10])

    with (
        bench.tuned(MANY) as tuned,
        pytest.raises(PlanError, match="cannot read the weights in"),
    ):
        checkpoint.load(tuned, file)


@pytest.mark.parametrize("place", ["missing/adapter", "file/adapter", "folder"])
def test_a_place_that_cannot_be_written_is_named(bench, tmp_path, place):
    """No such folder, a file in place of the folder, a folder in place of the file."""
    (tmp_path / "file").write_text("occupied")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "content").touch()
    there = sorted(tmp_path.rglob("*"))

    with (
        bench.tuned(MANY) as tuned,
        pytest.raises(OutputError, match=f"cannot write .*{place}: .*; make room or give another"),
    ):
        checkpoint.save(tuned, tmp_path / place, "")

    assert sorted(tmp_path.rglob("*")) == there


WITH_A_SMALL_DISK = """
import resource, sys
from pathlib import Path
from autopeft.errors import OutputError
from autopeft.training import checkpoint
from tests.kinds import bench_of, continued, save_model, write_json
from tests.models import MANY, Bench, DataFiles

model, data, file = sys.argv[1:]
bench = Bench(model, DataFiles(train=data))
with bench.tuned(MANY) as tuned:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        checkpoint.save(tuned, Path(file), "")
    except OutputError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_disk_that_is_full_leaves_the_old_weights_and_nothing_else(bench, saved):
    """The limit on a file's size stands in for it; the process is one of its own."""
    file, _ = saved
    before = file.read_bytes()

    done = subprocess.run(
        [sys.executable, "-c", WITH_A_SMALL_DISK, bench.where.model, bench.where.data.train, file],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ,
    )

    assert done.stdout.startswith(f"cannot write {file}: "), done.stderr
    assert list(file.parent.iterdir()) == [file]
    assert file.read_bytes() == before
