"""Results that are made again rather than kept. Axes: N rows, I inputs, R rank, O outputs."""

import pytest
import torch
from torch.nn.functional import gelu

from autopeft.kernels.lora_linear.operator import lora_linear
from autopeft.kernels.remade import forget, note, remade, sparing

N, I, R, O = 6, 5, 2, 3  # noqa: E741  # axes


@pytest.fixture(autouse=True)
def _memory_is_short():
    with sparing():
        yield


class Net:
    """Two products that take the same activation."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)

        def drawn(*shape):
            return torch.randn(*shape, generator=generator)

        self.x_NI = drawn(N, I).requires_grad_()
        self.weights = [drawn(O, I) for _ in range(2)]
        self.factors = [drawn(*shape).requires_grad_() for shape in ((R, I), (R, O)) * 2]
        self.runs = 0

    def activated(self, x):
        self.runs += 1
        return gelu(x)

    def forward(self, *, noted):
        y_NI = self.activated(self.x_NI)
        if noted:
            note(y_NI, self.x_NI, self.activated)
        down, up, other_down, other_up = self.factors
        first = lora_linear(y_NI, self.weights[0], None, down, up, 0.5, dropout=0.4, seed=3)
        return first + lora_linear(y_NI, self.weights[1], None, other_down, other_up, 2.0)

    def gradients(self, *, noted):
        found = torch.autograd.grad(self.forward(noted=noted).sum(), [self.x_NI, *self.factors])
        return list(found)


def kept(net, *, noted):
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        net.forward(noted=noted)
    return {tensor.data_ptr() for tensor in saved if tensor.shape == (N, I)}


def test_gradients_are_equal_bit_for_bit():
    net = Net()
    pairs = zip(net.gradients(noted=False), net.gradients(noted=True), strict=True)

    assert all(torch.equal(one, other) for one, other in pairs)


def test_only_the_source_is_kept():
    net = Net()

    assert kept(net, noted=True) == {net.x_NI.data_ptr()}
    assert len(kept(net, noted=False)) == 2


def test_for_two_that_take_it_it_is_made_once_more_and_not_held_longer():
    net = Net()
    out = net.forward(noted=True)
    out.sum().backward()

    assert net.runs == 2


def test_a_second_backward_through_the_same_graph_makes_it_again():
    net = Net()
    total = net.forward(noted=True).sum()
    first = torch.autograd.grad(total, net.factors, retain_graph=True)
    second = torch.autograd.grad(total, net.factors)

    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_what_was_written_into_since_is_kept():
    x = torch.ones(3)
    y = x * 2
    note(y, x, lambda t: t * 2)
    assert remade(y)

    y += 1

    assert remade(y) is None


def test_a_source_that_was_written_into_is_an_error_and_no_wrong_gradient():
    net = Net()
    total = net.forward(noted=True).sum()
    with torch.no_grad():
        net.x_NI += 1

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_a_note_can_be_dropped():
    x = torch.ones(3)
    y = x * 2
    note(y, x, lambda t: t * 2)

    forget(y)
    forget(x)

    assert remade(y) is None
