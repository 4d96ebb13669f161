"""A long training is stopped on its way, and the same command ends it as if nothing had been."""

import json
import signal
import subprocess
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from autopeft.files import write_json
from tests.journeys.commands import autopeft, command, environment
from tests.models import opinions, task_of, write_rows
from tests.production.plans import LORA, plan_on

pytestmark = pytest.mark.slow


@pytest.fixture
def plan(tmp_path):
    """A plan of 200 epochs, which take seconds."""
    data = write_rows(tmp_path / "data.csv", opinions(60))
    plan = plan_on(tmp_path / "model", LORA, epochs=200, batch_size=12)
    plan = replace(plan, task=task_of(data), where=replace(plan.where, data=data))
    return write_json(tmp_path / "plan.json", plan.to_json())


def stopped(words, folder, *, after):
    """Press Ctrl-C after a line of progress; return what was said, and how it ended."""
    with subprocess.Popen(
        command(*words), cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.startswith(after):
                break
        running.send_signal(signal.SIGINT)
        return running.stderr.read(), running.wait()


def test_the_same_command_goes_on_and_ends_with_the_same_weights(plan, tmp_path):
    options = ("--checkpoint-every", "5", "--accumulate", "2", "--threads", "1", "--json")
    words = ("train", str(plan), *options)

    said, code = stopped((*words, "--out", "cut"), tmp_path, after="training 3")
    assert code == 130, said
    assert said.endswith("interrupted: the same command goes on from the last checkpoint\n")
    assert (tmp_path / "cut" / "checkpoint" / "state.safetensors").is_file()
    again = autopeft(*words, "--out", "cut", cwd=tmp_path)
    whole = autopeft(*words, "--out", "whole", cwd=tmp_path)

    assert "training 10%" not in again.stderr
    one, other = json.loads(again.stdout), json.loads(whole.stdout)
    assert (one["validation"], one["steps"]) == (other["validation"], other["steps"])
    found = load_file(tmp_path / "cut" / "adapter.safetensors")
    known = load_file(tmp_path / "whole" / "adapter.safetensors")
    assert all(torch.equal(found[name], known[name]) for name in known)
    assert not (tmp_path / "cut" / "checkpoint").exists()


def test_other_options_do_not_go_on_from_what_was_kept(plan, tmp_path):
    """Another seed is another training."""
    words = ("train", str(plan), "--checkpoint-every", "5", "--threads", "1", "--out", "cut")

    stopped(words, tmp_path, after="training 3")
    again = autopeft(*words, "--seed", "8", cwd=tmp_path)

    assert again.returncode == 0, again.stderr
    assert "training 10%" in again.stderr
