"""VeRA against the `peft` library, and what its matrices share."""

import pytest
import torch

from autopeft.methods.vera import Factors
from tests.methods.in_peft import last_names, output_of_peft
from tests.methods.small_models import inside, shake, small

RANK = 5
SITES = {"bert": ("attention.query", "attention.value"), "gpt2": ("attention.qkv",)}


def factors_of(model):
    return [module for module in model.model.modules() if isinstance(module, Factors)]


@pytest.mark.parametrize("kind", SITES)
def test_the_same_values_give_the_same_output_as_in_peft(kind):
    from peft import VeraConfig

    model, sites = small(kind), SITES[kind]
    with inside(model, {f"vera@{site}": RANK for site in sites}) as injection:
        state = shake(injection, 1.0)
        found = model.hidden()
        one = factors_of(model)[0]
        down, up = one.down.clone(), one.bound * one.up.T

    def fill(layer, values):
        assert layer.vera_A["default"].shape == down.shape
        layer.vera_A["default"].copy_(down)
        layer.vera_B["default"].copy_(up)
        layer.vera_lambda_d["default"].copy_(values["inner"])
        layer.vera_lambda_b["default"].copy_(values["outer"])

    expected = output_of_peft(
        model, VeraConfig(r=RANK, target_modules=last_names(model, sites)), state, fill
    )

    assert (found - model.hidden()).abs().max() > 0.05, "the values must matter"
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_it_begins_as_in_peft():
    with inside(small("bert"), {"vera@attention.query": 4}) as injection:
        state = injection.state()

    assert torch.equal(state["0/vera@attention.query/inner"], torch.full((4,), 0.1))
    assert torch.equal(state["0/vera@attention.query/outer"], torch.zeros(32))


def test_matrices_of_equal_shape_share_their_frozen_ones():
    model = small("bert")

    with inside(model, {"vera@attention.query": 4, "vera@attention.value": 3}):
        wide, narrow, *_ = factors_of(model)

    assert wide.down.data_ptr() == narrow.down.data_ptr()
    assert torch.equal(wide.down[:3], narrow.down)
    assert torch.equal(wide.up[:3], narrow.up)


def test_the_frozen_matrices_have_the_spread_of_peft():
    """Uniform with bounds sqrt(6 / inputs) and sqrt(6 / rank), to 4 standard errors."""
    model = small("bert")

    with inside(model, {"vera@ffn.output": 64}):
        factors, *_ = factors_of(model)

    for matrix, bound in ((factors.down, (6 / 48) ** 0.5), (factors.bound * factors.up, 0.30619)):
        assert 0.95 * bound < matrix.abs().max() <= bound
        assert matrix.mean().abs() < 4 * bound / (3 * matrix.numel()) ** 0.5


def test_a_rank_scaling_leaves_it_alone():
    """It has no scale that could be divided."""
    model, outputs = small("bert"), []
    for scaling in ("constant", "inverse"):
        with inside(model, {"vera@ffn.output": 4}, rank_scaling=scaling) as injection:
            shake(injection)
            outputs.append(model.hidden())

    assert torch.equal(*outputs)
