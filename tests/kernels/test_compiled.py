"""``torch.compile`` takes an operator's form for a CPU whole: nothing in it breaks the graph."""

import pytest
import torch

from autopeft.kernels.forms import using
from autopeft.kernels.lora_linear import dropout
from autopeft.kernels.lora_linear.operator import lora_linear, low_rank
from tests.kernels.calls import CALLS, outcomes


@pytest.fixture(autouse=True)
def _nothing_is_compiled_yet():
    torch.compiler.reset()


@pytest.mark.parametrize("name", CALLS)
def test_a_compiled_call_is_one_graph_and_gives_the_same(name):
    call = CALLS[name]
    operands = call.operands(torch.bfloat16)
    compiled = torch.compile(call.operator, backend="aot_eager", fullgraph=True)

    found, expected = (outcomes(way, operands) for way in (compiled, call.operator))

    assert found.keys() == expected.keys()
    for what, one in found.items():
        torch.testing.assert_close(one, expected[what])


@pytest.mark.parametrize("form", ["naive", "eager"])
def test_dropout_follows_the_seed_in_a_compiled_call_too(form):
    """It drops what the call drops that is not compiled, and a new seed compiles nothing anew."""
    operands = CALLS["lora_linear with a ratio"].operands()

    def dropped(has, seed):
        *five, ratio, residual = has.values()
        return lora_linear(
            *five, 1.5, dropout=0.4, seed=seed, ratio_O=ratio, residual_O=residual
        )  # fmt: skip

    compiled = torch.compile(dropped, backend="aot_eager", fullgraph=True)
    counted = torch._dynamo.utils.counters["stats"]  # torch has no other name
    before, outs = counted["unique_graphs"], []
    for seed in (1, 2, 3, 2**40):
        with using(form):
            found, expected = (
                outcomes(lambda has, way=way, seed=seed: way(has, seed), operands)
                for way in (compiled, dropped)
            )
        for name, one in found.items():
            torch.testing.assert_close(one, expected[name])
        outs.append(found["output"])

    assert all(not torch.allclose(one, outs[0]) for one in outs[1:])
    # The first seed is taken for a constant, and the second shows that it is none.
    assert counted["unique_graphs"] - before == 2


def test_a_compiled_backward_drops_what_the_forward_dropped():
    """With factors that change nothing the output is what is kept of x, and so is its gradient."""
    x, down, up = torch.ones(3, 40), torch.eye(40), torch.eye(40)

    @torch.compile(backend="aot_eager", fullgraph=True)
    def alone(x, seed):
        return low_rank(x, down, up, 1.0, dropout=0.5, seed=seed)

    kept = []
    for seed in (5, 6):
        leaf = x.clone().requires_grad_()
        y = alone(leaf, seed)
        y.sum().backward()
        assert torch.equal(leaf.grad, y.detach())
        kept.append(y.detach())

    assert set(kept[0].unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(*kept)


def test_torch_takes_dropout_for_an_operator_of_its_own():
    torch.library.opcheck(dropout.drawn, (torch.ones(3, 4).T, 0.4, 2**40))
