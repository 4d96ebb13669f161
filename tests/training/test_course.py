"""A long training of a plan: in pieces, kept on the way, ended early, by several processes."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import islice

import pytest
import torch
from safetensors.torch import load_file

from autopeft.errors import OptionError, PlanError
from autopeft.files import write_json
from autopeft.tasks.reading import read_task
from autopeft.training.course import How
from autopeft.training.production import Outcome, train
from tests.models import opinions, write_rows
from tests.production.plans import LORA, plan_on

CLOSE = {"rtol": 1e-4, "atol": 1e-6}
"""Sums in another order, through a few steps of AdamW."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("course"), LORA, epochs=2, batch_size=16)


def planned(folder, sizes, **recipe):
    """Make a plan with data that is there."""
    data = write_rows(folder / "data.csv", opinions(60))
    made = plan_on(folder / "model", sizes, **recipe)
    task = read_task(data, text="text", label="label", head="mean")
    return replace(made, task=task, where=replace(made.where, data=data))


def steps_of(plan, out, **how):
    return train(plan, plan.where, out, seed=plan.seed, threads=1, how=How(**how))


def trained(plan, out, **how):
    *_, outcome = steps_of(plan, out, **how)
    assert isinstance(outcome, Outcome)
    return outcome, load_file(out / "adapter.safetensors")


@pytest.fixture(scope="module")
def plain(plan, tmp_path_factory):
    return trained(plan, tmp_path_factory.mktemp("plain"))


def assert_close(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], **CLOSE)


def test_a_batch_in_pieces_gives_the_same_to_rounding(plan, plain, tmp_path):
    _, weights = trained(plan, tmp_path, accumulate=3)

    assert_close(weights, plain[1])


def test_a_training_goes_on_from_its_checkpoint_and_gives_the_same(plan, plain, tmp_path):
    for _ in islice(steps_of(plan, tmp_path, checkpoint_every=2), 3):
        pass  # interrupted after three steps
    assert (tmp_path / "checkpoint" / "state.safetensors").is_file()

    shares = [s for s in steps_of(plan, tmp_path, checkpoint_every=2) if isinstance(s, float)]

    assert shares[0] == pytest.approx(3 / plain[0].steps)
    weights = load_file(tmp_path / "adapter.safetensors")
    assert all(torch.equal(value, plain[1][name]) for name, value in weights.items())
    assert not (tmp_path / "checkpoint").exists()


def test_a_checkpoint_of_another_seed_is_not_gone_on_from(plan, tmp_path):
    for _ in islice(steps_of(plan, tmp_path, checkpoint_every=1), 3):
        pass

    first = next(train(plan, plan.where, tmp_path, seed=9, threads=1, how=How(checkpoint_every=1)))

    assert first == pytest.approx(1 / 6)


def test_training_ends_early_and_keeps_the_best_epoch(plan, tmp_path):
    """With rates that are as good as zero nothing is ever better than the first epoch."""
    rates = dict.fromkeys(plan.recipe.learning_rates, 1e-12)
    slow = replace(
        plan, recipe=replace(plan.recipe, epochs=9, learning_rates=rates, head_learning_rate=1e-12)
    )

    outcome, _ = trained(slow, tmp_path, patience=2)

    per_epoch = -(-plan.task.examples[0] // plan.recipe.batch_size)
    assert outcome.steps == 3 * per_epoch


def test_early_stopping_goes_on_from_a_checkpoint_too(plan, tmp_path):
    whole, weights = trained(plan, tmp_path / "whole", patience=1)
    for _ in islice(steps_of(plan, tmp_path / "cut", patience=1, checkpoint_every=1), 4):
        pass
    again, others = trained(plan, tmp_path / "cut", patience=1, checkpoint_every=1)

    assert (whole.validation, whole.steps) == (again.validation, again.steps)
    assert_close(weights, others)


def test_logs_are_written_for_tensorboard(plan, tmp_path):
    loading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    outcome, _ = trained(plan, tmp_path, logs=True)

    found = loading.EventAccumulator(str(tmp_path / "logs")).Reload()
    assert {"loss", "rate/lora", "rate/head", "validation/accuracy"} <= set(found.Tags()["scalars"])
    assert len(found.Scalars("loss")) == outcome.steps


def test_logs_need_tensorboard(plan, tmp_path, monkeypatch):
    monkeypatch.setattr("autopeft.training.course.find_spec", lambda _: None)

    with pytest.raises(OptionError, match=r"--logs needs the package tensorboard: pip install ten"):
        trained(plan, tmp_path, logs=True)


def test_a_method_that_counts_its_steps_is_not_kept_on_the_way(tmp_path):
    plan = planned(tmp_path, {"adalora@attention.query": 2}, epochs=1)

    with pytest.raises(PlanError, match=r"keeps account of its steps .* leave --checkpoint-every"):
        trained(plan, tmp_path / "out", checkpoint_every=1)


def test_the_outcome_names_the_operators_that_ran(plain):
    assert any(name.startswith("lora_linear (") for name in plain[0].operators)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["accelerate", "torchrun"])
def test_two_processes_give_what_one_gives(plan, plain, tmp_path, launcher):
    """The same batches, half of each in either process; only the first writes and speaks.

    accelerate takes --cpu for one process; what it calls --multi_gpu starts as many as are asked.
    """
    write_json(tmp_path / "plan.json", plan.to_json())
    words = {
        "accelerate": [
            "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
            "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
            "--main_process_port", "29617",
        ],
        "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    }[launcher]  # fmt: skip
    command = [
        sys.executable, "-m", *words, "-m", "autopeft", "train", str(tmp_path / "plan.json"),
        "--threads", "1", "--json",
    ]  # fmt: skip

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)

    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout[done.stdout.index("{") :])
    assert outcome["processes"] == 2
    assert outcome["validation"] == pytest.approx(plain[0].validation)
    assert_close(load_file(tmp_path / "trained" / "adapter.safetensors"), plain[1])


ALL = LORA | {
    "dora@attention.key": 2, "full@ffn": 1, "fish_mask@attention.output": 1, "prefix@attention": 2,
    "bitfit@attention.query": 1, "serial_adapter@ffn.norm": 2, "layer_norm@attention.norm": 1,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "precision", "options"),
    [
        (["torch.distributed.run", "--standalone", "--nproc-per-node", "2"], "fp32", ["--shard"]),
        (
            ["accelerate.commands.launch", "--use_fsdp", "--fsdp_version", "2", "--num_processes",
             "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
             "--main_process_port", "29618"],
            "bf16", [],
        ),
    ],
    ids=["torchrun", "accelerate"],
)  # fmt: skip
def test_two_processes_that_divide_the_frozen_weights_give_what_one_gives(
    launcher, precision, options, tmp_path
):
    """In more pieces than the last batch has examples, so that one process has less to do."""
    plan = planned(tmp_path, ALL, epochs=2, batch_size=16, precision=precision)
    write_json(tmp_path / "plan.json", plan.to_json())
    one, weights = trained(plan, tmp_path / "one", accumulate=3, patience=2)
    command = [
        sys.executable, "-m", *launcher, "-m", "autopeft", "train", str(tmp_path / "plan.json"),
        "--threads", "1", "--json", "--accumulate", "3", "--early-stopping", "2", *options,
    ]  # fmt: skip

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)

    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout[done.stdout.index("{") :])
    assert (outcome["processes"], outcome["sharded"]) == (2, True)
    assert outcome["validation"] == pytest.approx(one.validation)
    # bf16 gradients that are summed in another order, through AdamW, which evens out their sizes
    close = CLOSE if precision == "fp32" else {"rtol": 1e-2, "atol": 1e-3}
    found = load_file(tmp_path / "trained" / "adapter.safetensors")
    for name, value in weights.items():
        torch.testing.assert_close(found[name], value, **close)
