"""The shifted global sigmoid, against its definition."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.supernet.gating.shifted import concrete, probabilities, shift_of


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


@settings(deadline=None)
@given(
    logits=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40),
    sizes=st.data(),
    share=st.floats(1e-9, 1 - 1e-9),
    temperature=st.floats(0.05, 20),
)
def test_the_expected_size_is_the_budget(logits, sizes, share, temperature):
    count = len(logits)
    sizes = sizes.draw(st.lists(st.integers(1, 10**6), min_size=count, max_size=count))
    budget = share * sum(sizes)

    p_G = probabilities(doubles(*logits), doubles(*sizes), budget, temperature)

    assert ((p_G >= 0) & (p_G <= 1)).all()
    assert float(p_G @ doubles(*sizes)) == pytest.approx(budget, rel=1e-6)


def test_equal_logits_share_the_budget_equally():
    p_G = probabilities(doubles(3.0, 3.0, 3.0, 3.0), doubles(8, 8, 8, 8), 8)

    assert p_G.tolist() == pytest.approx([0.25] * 4)


def test_a_known_case_is_met():
    """sigmoid(1 - b) + sigmoid(-1 - b) = 1 has the solution b = 0."""
    assert shift_of(doubles(1.0, -1.0), doubles(5, 5), 5) == pytest.approx(0.0, abs=1e-9)


def test_a_budget_for_everything_opens_all_gates():
    assert shift_of(doubles(0.0, 5.0), doubles(3, 4), 7) == -math.inf
    assert probabilities(doubles(0.0, 5.0), doubles(3, 4), 7).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("budget", [0, -5])
def test_a_budget_for_nothing_closes_all_gates(budget):
    assert shift_of(doubles(0.0, 5.0), doubles(3, 4), budget) == math.inf
    assert probabilities(doubles(0.0, 5.0), doubles(3, 4), budget).tolist() == [0.0, 0.0]


def test_no_gradient_goes_through_what_the_gates_share():
    """The gradient of the sum of all probabilities is zero: one rises at the cost of others."""
    logits_G = doubles(0.3, -0.2, 1.0).requires_grad_()

    probabilities(logits_G, doubles(2, 3, 4), 4).sum().backward()

    assert logits_G.grad.tolist() == pytest.approx([0.0] * 3, abs=1e-12)


def test_the_gradient_is_that_of_the_detached_formula():
    logits_G, sizes_G = doubles(0.3, -0.2, 1.0), doubles(2, 3, 4)
    shift = shift_of(logits_G, sizes_G, 4)
    leaf_G, other_G = logits_G.clone().requires_grad_(), logits_G.clone().requires_grad_()

    probabilities(leaf_G, sizes_G, 4)[0].backward()
    p_G = torch.sigmoid(other_G - shift)
    (p_G[0] / p_G.sum() * p_G.sum().item()).backward()

    assert leaf_G.grad.tolist() == pytest.approx(other_G.grad.tolist())


def test_a_relaxed_toss_is_the_sigmoid_of_both_odds():
    z_G = concrete(doubles(0.8, 0.5), doubles(0.5, 0.2), temperature=2.0)

    # odds 4 and 1, and 1 and 1/4, under a square root
    assert z_G.tolist() == pytest.approx([2 / 3, 1 / 3])


def test_tosses_are_one_as_often_as_their_probability_says():
    u_G = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    z_G = concrete(torch.full((20_000,), 0.3, dtype=torch.float64), u_G)

    share = float((z_G > 0.5).double().mean())
    assert share == pytest.approx(0.3, abs=0.015)  # four standard deviations are 0.013


def test_certain_gates_stay_finite():
    z_G = concrete(doubles(0.0, 1.0, 0.0, 1.0), doubles(0.0, 1.0, 1.0, 0.0))

    assert torch.isfinite(z_G).all()
    assert z_G[:2].tolist() == pytest.approx([0.0, 1.0], abs=1e-6)
