"""What is tossed and drawn by logits, and how they learn."""

import torch

from autopeft.supernet.gating.gates import Gradients
from autopeft.supernet.gating.structures import Gate
from autopeft.supernet.gating.tossing import Logits


def a_gate(*costs, gene=0):
    return Gate(
        gene=gene, cells=((0, gene),), choices=tuple(range(1, len(costs) + 1)),
        sizes=tuple(range(1, len(costs) + 1)), costs=costs, free=True,
    )  # fmt: skip


def test_tosses_are_hard_with_the_gradient_of_the_relaxed_ones():
    logits = Logits([a_gate(1, gene=gene) for gene in range(6)], rate=0.01)

    z_A = logits.toss(5.0, torch.Generator().manual_seed(0))
    z_A.sum().backward()

    assert set(z_A.tolist()) == {0.0, 1.0}
    slopes = logits.gates_A.grad
    assert ((slopes > 0) & (slopes <= 0.25 / 5)).all()  # the steepest sigmoid, at temperature 5


def test_a_drawn_size_keeps_its_first_rows():
    logits = Logits([a_gate(1, 2, 3)], rate=0.01)
    generator = torch.Generator().manual_seed(0)

    drawn = {tuple(logits.draw(1.0, generator)[0].tolist()) for _ in range(40)}

    assert drawn == {(1.0, 0.0, 0.0), (1.0, 1.0, 0.0), (1.0, 1.0, 1.0)}


def test_a_row_that_lowers_the_loss_makes_the_sizes_that_hold_it_likelier():
    logits = Logits([a_gate(1, 2, 3)], rate=0.1)
    rows = logits.draw(1.0, torch.Generator().manual_seed(0))
    third_helps = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)

    logits.learn_sizes(rows, Gradients(gates=torch.zeros(1), rows={0: third_helps}), 1.0)

    assert logits.likeliest(0) == 2
    assert logits.shares(0)[2] > 1 / 3


def test_a_gate_that_lowers_the_loss_becomes_likelier():
    logits = Logits([a_gate(1), a_gate(1, gene=1)], rate=0.1)
    z_A = logits.toss(1.0, torch.Generator().manual_seed(0))
    slopes = torch.tensor([-1.0, 1.0], dtype=torch.float64)

    logits.learn_gates(z_A, Gradients(gates=slopes), 1.0)

    assert logits.gates_A[0] > 0 > logits.gates_A[1]


def test_a_fixed_size_is_drawn_always():
    logits = Logits([a_gate(1, 2, 3)], rate=0.1)
    logits.sizes[0].data[1] = 3.0

    logits.fix()

    assert logits.shares(0) == [0.0, 1.0, 0.0]
    assert logits.draw(1.0, torch.Generator().manual_seed(0))[0].tolist() == [1.0, 1.0, 0.0]
