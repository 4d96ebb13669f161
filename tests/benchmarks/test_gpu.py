"""The benchmark of GPUs compares equal steps, and refuses to compare wrong ones."""

import sys
from contextlib import ExitStack
from dataclasses import replace

import gpu
import pytest
import torch
from parity import ODD

from autopeft.training.model_files import ModelFiles
from tests.models import save_tiny

HERE = torch.device("cpu")
SIZES = {"batch": 2, "tokens": 8, "rank": 3}


@pytest.fixture(params=["bert", "llama"])
def files(tmp_path, request):
    save_tiny(tmp_path, request.param, vocab_size=1_000)
    return ModelFiles(reference=str(tmp_path), path=tmp_path, model_type=request.param)


def test_without_a_gpu_it_says_so_and_prints_no_figure(monkeypatch, capsys):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr(sys, "argv", ["gpu.py", "step"])

    with pytest.raises(SystemExit, match="this needs a GPU that Triton knows"):
        gpu.main()
    assert capsys.readouterr().out == ""


def test_steps_of_autopeft_and_peft_are_the_same(files, capsys):
    assert gpu.steps(files, HERE, torch.float32, **SIZES) == 0
    lines = capsys.readouterr().out.splitlines()

    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["autopeft", "peft"]
    assert all("at least" in line for line in lines[2:4])


def test_a_wrong_step_gets_no_time(files, capsys, monkeypatch):
    right = gpu.of_peft

    def off(*given, **options):
        found = right(*given, **options)
        return replace(found, hidden=lambda inputs: 1.1 * found.hidden(inputs))

    monkeypatch.setattr(gpu, "of_peft", off)
    assert gpu.steps(files, HERE, torch.float32, **SIZES) == 1
    told = capsys.readouterr()

    assert "| peft |" not in told.out
    assert "peft is wrong, and not compared: the loss is off by 21.0%" in told.err


def test_factors_are_on_every_linear_layer_of_the_blocks(files):
    with ExitStack() as stack:
        ours = gpu.ours(stack, files, 3, HERE, torch.float32)
        theirs = gpu.of_peft(files, 3, sorted(ours.factors), HERE, torch.float32)

        assert sorted(ours.factors) == sorted(theirs.factors)


@pytest.mark.parametrize("loss", [float("nan"), 2.0])
def test_a_loss_that_is_off_is_found(loss):
    exact = 1.0, torch.ones(3)

    assert gpu.apart(exact, exact) == ""
    assert "the loss is off" in gpu.apart((loss, torch.ones(3)), exact)
    assert "the gradients by nan" in gpu.apart((1.0, torch.full((3,), torch.nan)), exact)


def test_operators_that_are_wrong_are_named():
    wrong = replace(ODD[0], operator=lambda has: 2 * ODD[0].operator(has))

    assert gpu.all_wrong(HERE, (ODD[0],), (torch.float32,)) == []
    assert "output is off by" in gpu.all_wrong(HERE, (wrong,), (torch.float32,))[0]


def test_times_of_operators_stand_beside_their_bounds(capsys):
    gpu.operators(HERE, torch.float32, ODD[:1])

    assert capsys.readouterr().out.count("at least") == 2
