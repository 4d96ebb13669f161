"""The peak of a step, held against counts by hand."""

import torch
from torch import nn

from autopeft.training.footprint import peak_of, saved_by
from autopeft.training.recomputing import recomputed

ROWS, WIDTH, BYTES = 50, 20, 4
VECTORS = ROWS * WIDTH * BYTES


def test_what_is_gone_is_not_counted_any_more():
    """Of ten sums in a row two are there at a time."""
    x_ND = torch.zeros(ROWS, WIDTH)

    def step():
        y_ND = x_ND
        for _ in range(10):
            y_ND = y_ND + 1

    assert peak_of(step, [x_ND]) == 2 * VECTORS


def test_a_view_is_its_storage_and_what_is_known_is_not_counted():
    x_ND = torch.zeros(ROWS, WIDTH)

    assert peak_of(lambda: x_ND.T.reshape(-1, 5).T[0], [x_ND]) == VECTORS
    assert peak_of(lambda: x_ND.T[0].add_(1), [x_ND]) == 0


def test_what_autograd_keeps_is_counted_until_the_backward_has_used_it():
    x_ND = torch.zeros(ROWS, WIDTH, requires_grad=True)

    def step(depth):
        y_ND = x_ND
        for _ in range(depth):
            y_ND = y_ND.exp()  # its result is kept
        y_ND.sum().backward()
        x_ND.grad = None

    shallow, deep = (peak_of(lambda depth=depth: step(depth), [x_ND]) for depth in (4, 9))

    assert deep - shallow == 5 * VECTORS


def test_what_a_loss_keeps_is_counted_once_and_what_stays_is_not():
    """A sine keeps its input, which is there twice, and an exponential its result."""
    x_ND = torch.zeros(ROWS, WIDTH, requires_grad=True)
    y_ND = torch.ones(ROWS, WIDTH)

    def loss():
        kept_ND = x_ND.exp()
        return (kept_ND.sin() + kept_ND.T.cos().T + y_ND * x_ND).sum()

    assert saved_by(loss, [x_ND, y_ND]) == VECTORS
    assert saved_by(loss, [x_ND]) == 2 * VECTORS


def test_a_step_ends_where_it_comes_to_more_than_is_allowed():
    ended = []

    def step():
        kept = [torch.zeros(ROWS, WIDTH) for _ in range(9)]
        ended.append(kept)

    assert peak_of(step, [], 2.5 * VECTORS) == 3 * VECTORS
    assert not ended


def test_blocks_that_run_twice_keep_their_inputs_only():
    torch.manual_seed(0)
    blocks = [nn.Sequential(*(layer for _ in range(4) for layer in _layers())) for _ in range(5)]
    stack, x_ND = nn.Sequential(*blocks), torch.randn(ROWS, WIDTH)
    known = [*stack.parameters(), x_ND]

    def step():
        stack(x_ND).sum().backward()
        stack.zero_grad()

    once = peak_of(step, known)
    with recomputed(blocks):
        twice = peak_of(step, known)

    assert peak_of(step, known) == once
    assert twice < 0.6 * once


def _layers():
    return nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Dropout(0.5)


def test_blocks_that_run_twice_draw_the_same_dropout():
    torch.manual_seed(0)
    stack, x_ND = nn.Sequential(*_layers(), *_layers()), torch.randn(ROWS, WIDTH)

    def gradients():
        torch.manual_seed(7)
        stack.zero_grad()
        loss = stack(x_ND).square().sum()
        loss.backward()
        return [loss.detach(), *(p.grad.clone() for p in stack.parameters())]

    once = gradients()
    with recomputed([stack]):
        twice = gradients()

    assert all(torch.equal(one, two) for one, two in zip(once, twice, strict=True))


def test_a_block_is_called_as_before_when_the_context_has_ended():
    block = nn.Linear(2, 2)
    with recomputed([block, block]):
        assert "_call_impl" in vars(block)

    assert "_call_impl" not in vars(block)
