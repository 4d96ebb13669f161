"""Prefix attention's kernels against its definition: outputs and every gradient."""

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from autopeft.errors import KernelError
from autopeft.kernels import forms
from autopeft.kernels.prefix_attention import naive, registered
from autopeft.kernels.prefix_attention.operator import prefix_attention

NAMES = ("query", "key", "value", "prefix_key", "prefix_value", "gate", "mask")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Operands of attention, and what is asked of it.

    B batch, H heads, G heads of keys, T queries, S keys, P prefix, K width of a head; ``mask`` is
    none, boolean (one for all heads) or added (one for each).
    """

    B: int = 1
    H: int = 2
    G: int = 2
    T: int = 17
    S: int = 17
    P: int = 5
    K: int = 16
    mask: str = "none"
    gated: bool = False
    causal: bool = False
    softcap: float | None = None
    dtype: torch.dtype = torch.float32

    def operands(self) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(7)

        def random(*size):
            return torch.randn(*size, generator=generator, dtype=torch.float64)

        shared = {"none": None, "boolean": random(self.B, 1, self.T, self.S) < 0.4}
        return {
            "query": random(self.B, self.T, self.H, self.K).transpose(1, 2),
            "key": random(self.B, self.S, self.G, self.K).transpose(1, 2),
            "value": random(self.B, self.S, self.G, self.K).transpose(1, 2),
            "prefix_key": random(self.P, self.G * self.K),
            "prefix_value": random(self.P, self.G * self.K),
            "gate": random(self.B, self.T, self.P).sigmoid() if self.gated else None,
            "mask": shared.get(self.mask, random(1, self.H, self.T, self.S)),
        }

    def asked(self) -> dict[str, Any]:
        return {"causal": self.causal, "softcap": self.softcap}


def rounded(operands, dtype, kinds=None):
    """Return leaves of a type, or of another by name, and whole numbers as they are."""
    kinds = kinds or {}
    return {
        name: x.to(kinds.get(name, dtype)).detach().requires_grad_()
        if x is not None and x.is_floating_point()
        else x
        for name, x in operands.items()
    }


def call(operator, leaves, scale=0.3, **asked):
    prefix = (leaves["prefix_key"], leaves["prefix_value"])
    return operator(
        leaves["query"], leaves["key"], leaves["value"], prefix, leaves["mask"], scale,
        gate_BTP=leaves["gate"], **asked,
    )  # fmt: skip


def outcome(out, leaves):
    """Return the output and the gradients of a fixed sum of it, by name."""
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(9))
    (out.double() * weights).sum().backward()
    found = {name: x.grad for name, x in leaves.items() if isinstance(x, Tensor)}
    return {"output": out.detach()} | {name: x for name, x in found.items() if x is not None}


def agree(close, case, kinds=None, given=None):
    """The definition is given the same numbers, rounded once, in double precision."""
    leaves = rounded(given or case.operands(), case.dtype, kinds)
    exact = rounded(leaves, torch.float64)
    with forms.using("triton"):
        found = outcome(call(prefix_attention, leaves, **case.asked()), leaves)
    expected = outcome(call(naive.prefix_attention, exact, **case.asked()), exact)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.dtype is (leaves.get(name, leaves["query"])).dtype, name
        close(value, expected[name], case.dtype, name)


@pytest.mark.parametrize("of_mask", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("causal", [False, True])
def test_a_mask_may_have_a_type_of_its_own(close, dtype, of_mask, causal):
    """Narrower than the query or wider; its gradient is in its type. One query sees nothing."""
    hiding = Case(mask="added", causal=causal, dtype=dtype)
    given = hiding.operands()
    given["mask"][..., 1:3], given["mask"][:, :, 2] = -math.inf, -math.inf

    agree(close, hiding, {"mask": of_mask}, given)


def by_triton(*operands, **asked):
    with forms.using("triton"):
        return prefix_attention(*operands, **asked)


DTYPES = (torch.float32, torch.float16, torch.bfloat16)
CASES = {
    "plain": Case(),
    "shared keys": Case(H=4, G=2, mask="boolean"),
    "ordered": Case(H=1, G=1, causal=True, T=63, S=63),
    "numbers added": Case(mask="added"),
    "bounded": Case(softcap=0.7, mask="boolean"),
    "gated": Case(gated=True, P=19),
    "all at once": Case(H=2, G=1, gated=True, mask="added", causal=True, softcap=2.0),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_output_and_gradients_agree_with_the_definition(close, name, dtype):
    agree(close, replace(CASES[name], dtype=dtype))


@pytest.mark.parametrize(
    "case",
    [
        Case(H=1, G=1, T=500, S=63, mask="boolean", dtype=torch.float16),
        Case(H=1, G=1, T=63, S=500, P=0, dtype=torch.float16),
        Case(H=1, G=1, T=600, S=1, P=40, gated=True, dtype=torch.float16),
        Case(H=1, G=1, T=70, S=130, P=0, causal=True, dtype=torch.float16),
        Case(H=1, G=1, T=1, S=1, P=1, K=1),
        Case(H=1, G=1, K=40),
        Case(H=1, G=1, K=80, dtype=torch.bfloat16),
        Case(H=1, G=1, K=256, dtype=torch.float16),
        Case(H=1, G=1, T=3, S=0),
    ],
    ids=str,
)
def test_sizes_are_no_multiples_of_blocks(close, case):
    """More queries than one program sums up for a prefix among them, and no sequence at all."""
    agree(close, case)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_shape_will_do(close, data):
    """Small ones, because the interpreter is slow."""
    groups = data.draw(st.integers(1, 2))
    tokens = data.draw(st.integers(1, 40))
    case = Case(
        H=groups * data.draw(st.integers(1, 2)), G=groups, T=tokens,
        S=data.draw(st.integers(1, 40)), P=data.draw(st.integers(0, 20)),
        K=data.draw(st.integers(1, 40)),
        mask=data.draw(st.sampled_from(["none", "boolean", "added"])),
        causal=data.draw(st.booleans()),
    )  # fmt: skip
    agree(close, case)


def test_a_prefix_of_single_precision_gets_its_gradient_in_single_precision(close):
    kinds = {"prefix_key": torch.float32, "prefix_value": torch.float32}
    agree(close, Case(dtype=torch.bfloat16), kinds)


@pytest.mark.parametrize("causal", [False, True])
def test_a_query_that_sees_nothing_weighs_all_keys_alike(close, causal):
    """As in the definition: padding has numbers, not NaN."""
    operands = Case(H=1, G=1, T=35, S=35).operands() | {"mask": torch.ones(1, 1, 35, 35) > 0}
    operands["mask"][:, :, 3:5] = False
    found, expected = (
        outcome(
            way(
                leaves["query"], leaves["key"], leaves["value"], None, leaves["mask"], 0.3,
                causal=causal,
            ),
            leaves,
        )
        for way, leaves in (
            (by_triton, rounded(operands, torch.float32)),
            (naive.prefix_attention, rounded(operands, torch.float64)),
        )
    )  # fmt: skip

    close(found["output"][0, 0, 3], operands["value"][0, 0].mean(0))
    for name, value in found.items():
        close(value, expected[name], what=name)


def test_no_more_is_computed_than_is_asked_for(close):
    """The lowest block that learns: nothing below its prefix takes a gradient."""
    leaves = {name: x if x is None else x.float() for name, x in Case(B=2).operands().items()}
    exact = {name: x if x is None else x.double() for name, x in leaves.items()}
    for some in leaves, exact:
        some["prefix_key"].requires_grad_()
    with forms.using("triton"):
        found = outcome(call(prefix_attention, leaves), leaves)
    expected = outcome(call(naive.prefix_attention, exact), exact)

    assert found.keys() == {"output", "prefix_key"}
    close(found["prefix_key"], expected["prefix_key"])


def test_strides_do_not_matter(close):
    """Operands of which not even the widths lie side by side, and a gradient of one number."""
    case = Case(mask="boolean", gated=True, K=17)
    turned = {
        name: x if x is None else x.transpose(-1, -2).contiguous().transpose(-1, -2)
        for name, x in case.operands().items()
    }
    leaves = {
        name: x.float().requires_grad_() if x is not None and x.is_floating_point() else x
        for name, x in turned.items()
    }
    exact = rounded(leaves, torch.float64)
    with forms.using("triton"):
        call(prefix_attention, leaves).sum().backward()
    call(naive.prefix_attention, exact).sum().backward()

    assert leaves["key"].stride(-1) != 1
    for name in ("query", "key", "value", "prefix_key", "prefix_value", "gate"):
        close(leaves[name].grad, exact[name].grad, what=name)


def dropped(leaves, seed):
    return registered.prefix_attention(
        leaves["query"], leaves["key"], leaves["value"], leaves["prefix_key"],
        leaves["prefix_value"], None, leaves["gate"], seed, 0.3, 0.4, False, None,
    )[0]  # fmt: skip


def test_dropout_is_the_same_in_the_backward(close):
    """Values that are unit vectors show the weights, and so what was dropped."""
    case = Case(T=17, S=11, P=5, K=16, gated=True)
    seed = torch.tensor([2**61 + 5])
    operands = case.operands()
    units = torch.eye(16, dtype=torch.float64)
    shown = operands | {
        "value": units[5:].expand(1, 2, -1, -1), "prefix_value": units[:5].repeat(1, 2)
    }  # fmt: skip
    kept = dropped(rounded(shown, torch.float32), seed) != 0
    assert 0.5 < kept.double().mean() < 0.7

    leaves, exact = rounded(operands, torch.float32), rounded(operands, torch.float64)
    found = outcome(dropped(leaves, seed), leaves)
    key, value, _ = naive.with_prefix(
        exact["query"], exact["key"], exact["value"], (exact["prefix_key"], exact["prefix_value"]),
        None, False,
    )  # fmt: skip
    gate = torch.cat([exact["gate"], torch.ones(1, 17, 11)], dim=-1)[:, None]
    weights = (exact["query"] @ key.transpose(-1, -2) * 0.3 * gate).softmax(-1) * gate
    expected = outcome(weights * kept / 0.6 @ value, exact)
    for name, gradient in found.items():
        close(gradient, expected[name], what=name)


def test_dropout_draws_from_the_generator_of_the_device():
    leaves = rounded(Case().operands(), torch.float32)
    draws = []
    with forms.using("triton"), torch.random.fork_rng(devices=[]):
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            draws.append(call(prefix_attention, leaves, dropout=0.5).detach())

    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("shape", [(0, 2, 3, 4, 5, 8), (1, 2, 0, 4, 5, 8), (1, 2, 3, 0, 0, 8)])
def test_nothing_in_is_nothing_out(shape):
    """No example, no query, and nothing to look at: zeros, and gradients of zero."""
    B, H, T, S, P, K = shape
    leaves = rounded(Case(B=B, H=H, G=H, T=T, S=S, P=P, K=K).operands(), torch.float32)
    with forms.using("triton"):
        out = call(prefix_attention, leaves)
    out.sum().backward()

    assert out.shape == (B, H, T, K)
    assert not out.any()
    assert all(not leaves[name].grad.any() for name in NAMES[:5])


def test_gradients_are_the_same_bit_by_bit():
    found = []
    for _ in range(2):
        leaves = rounded(Case(H=1, G=1, B=2, T=17, S=17).operands(), torch.float32)
        with forms.using("triton"):
            found.append(outcome(call(prefix_attention, leaves), leaves))

    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_under_autocast_it_works_in_its_precision():
    leaves = rounded(Case().operands(), torch.float32)
    with forms.using("triton"), torch.autocast("cpu", torch.bfloat16):
        out = call(prefix_attention, leaves)
    out.sum().backward()

    assert out.dtype is torch.bfloat16
    assert leaves["prefix_key"].grad.dtype is torch.float32


@pytest.mark.filterwarnings("ignore")
def test_it_is_an_operator_like_others():
    """For autograd, for tracing, and in what it says of its results before it runs."""
    leaves = rounded(Case(H=1, G=1, T=4, S=4, mask="added", gated=True).operands(), torch.float32)
    mask = leaves["mask"].detach().requires_grad_()
    operands = [leaves[name] for name in NAMES[:5]]

    torch.library.opcheck(
        registered.prefix_attention,
        (*operands, mask, leaves["gate"], None, 0.3, 0.0, False, None),
    )


@pytest.mark.filterwarnings("ignore")
def test_it_compiles_without_a_break():
    leaves = rounded(Case(H=1, G=1, T=4, S=4, mask="boolean").operands(), torch.float32)
    with forms.using("triton"):
        expected = outcome(call(prefix_attention, leaves), leaves)
        again = rounded(leaves, torch.float32)
        whole = torch.compile(call, fullgraph=True, backend="aot_eager")
        found = outcome(whole(prefix_attention, again), again)

    for name, value in found.items():
        torch.testing.assert_close(value, expected[name])


def test_a_head_too_wide_is_refused():
    with (
        forms.using("triton"),
        pytest.raises(KernelError, match="heads of width 257: its kernels hold up to 256 numbers"),
    ):
        call(prefix_attention, rounded(Case(K=257).operands(), torch.float32))
