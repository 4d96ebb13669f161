"""In what frozen weights are held while a plan is trained."""

from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from autopeft.errors import OptionError
from autopeft.tasks.reading import read_task
from autopeft.training.course import How
from autopeft.training.held import at_odds, held_in, quantisation
from autopeft.training.production import Outcome, train
from tests.models import opinions, write_rows
from tests.production.plans import plan_on

installed = pytest.mark.skipif(
    not (find_spec("bitsandbytes") and find_spec("accelerate")),
    reason="needs bitsandbytes: pip install 'autopeft[quantised]'",
)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held")
    sizes = {"lora@ffn.input": 2, "full@attention": 1, "serial_adapter@ffn.norm": 2}
    data = write_rows(folder / "data.csv", opinions(60))
    wide = {"hidden_size": 64, "intermediate_size": 128}
    made = plan_on(folder / "model", sizes, changes=wide, epochs=2, batch_size=16)
    task = read_task(data, text="text", label="label", head="mean")
    return replace(made, task=task, where=replace(made.where, data=data))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_least_precision_names_a_model(dtype):
    layers = nn.Sequential(nn.Linear(2, 2).to(getattr(torch, dtype)), nn.Linear(2, 2))

    assert held_in(layers) == dtype


def test_all_goes_with_single_precision(plan):
    assert list(at_odds(plan.backbone, plan.slots, plan.configuration, "float32")) == []


def test_what_does_not_go_with_fewer_bits_is_named_with_its_layers(plan):
    (cell, why, paths), *_ = at_odds(plan.backbone, plan.slots, plan.configuration, "bitsandbytes")

    assert cell == "full@attention in block 0"
    assert why == "trains elements of the matrix itself"
    assert "encoder.layer.0.attention.self.query" in paths


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_without_the_package_fewer_bits_are_refused(plan):
    with pytest.raises(OptionError, match=r"--quantise needs .*: pip install 'autopeft\[quantised"):
        quantisation("nf4", plan.backbone, plan.slots, plan.configuration)


@installed
@pytest.mark.parametrize("bits", ["int8", "nf4"])
def test_a_plan_is_trained_beside_fewer_bits(bits, plan, tmp_path):
    """What needs the weights keeps them, and the outcome says how its own weights score."""
    how = How(quantise=bits)

    *_, outcome = train(plan, plan.where, tmp_path, seed=3, threads=1, how=how)

    assert isinstance(outcome, Outcome)
    assert outcome.told[-1].startswith(f"trained beside {bits} weights, and scored with them; on ")
    assert (tmp_path / "adapter.safetensors").is_file()
