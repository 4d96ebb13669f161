"""What stands in for frozen blocks changes nothing but the time."""

import pytest
import torch
from torch import nn

from autopeft.search_spaces.configuration import Configuration
from autopeft.supernet.trunk import Trunk, lowest_row
from tests.models import FAMILIES, tiny
from tests.supernet.nets import falling, perturbed, space_of, supernet_on

METHODS = ("lora", "parallel_adapter", "bitfit", "prefix")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(family, marks=() if family in {"bert", "gpt2", "mt5"} else pytest.mark.slow)
        for family in FAMILIES
    ],
)
def net(request, tmp_path_factory):
    small = tiny(tmp_path_factory.mktemp(request.param), request.param)
    space = space_of(small.backbone, *METHODS)
    return perturbed(supernet_on(small, space), space)


def above(configuration, row):
    """Empty the rows below one."""
    nothing = (0,) * len(configuration.sizes[0])
    return Configuration((*(nothing,) * row, *configuration.sizes[row:]))


def passed(net, configuration, trunk=None):
    batch = net.trainer.parts["train"].batch([0, 1, 2])
    with net.active(configuration) as subnet:
        subnet.model.train()
        if trunk is None:
            loss = subnet.model.loss(batch)
        else:
            with trunk.below(lowest_row(configuration)):
                loss = subnet.model.loss(batch)
        loss.backward()
        return loss.item(), {v.name: v.leaf.grad for v in subnet.views if v.leaf.grad is not None}


def test_losses_and_gradients_are_equal_to_the_bit_with_and_without(net):
    """In either order: the one that is first records, and the others find it recorded."""
    rows = len(net.trainer.blocks)
    configurations = [above(falling(net.space), row) for row in range(rows)]
    plain = [passed(net, configuration) for configuration in configurations]

    for order in (range(rows), reversed(range(rows))):
        trunk = Trunk(net.trainer.blocks)
        for row in order:
            loss, gradients = passed(net, configurations[row], trunk)
            assert loss == plain[row][0]
            assert gradients.keys() == plain[row][1].keys()
            for name, gradient in gradients.items():
                assert torch.equal(gradient, plain[row][1][name]), name


def test_blocks_that_are_recorded_are_not_run_again(net):
    blocks = net.trainer.blocks
    inner = [next(m for m in block.modules() if not list(m.children())) for block in blocks]
    runs = []
    hooks = [
        module.register_forward_pre_hook(lambda _module, _args, row=row: runs.append(row))
        for row, module in enumerate(inner)
    ]
    trunk, last = Trunk(blocks), len(blocks) - 1

    passed(net, above(falling(net.space), last), trunk)
    first = list(runs)
    passed(net, above(falling(net.space), last), trunk)
    for hook in hooks:
        hook.remove()

    assert set(range(last)) <= set(first)
    assert set(runs[len(first) :]) <= {last}
    assert (trunk.bytes > 0) is (last > 0)  # ALBERT has one block, and so none below it


def test_afterwards_the_blocks_are_what_they_were(net):
    def state():
        return [(id(b), vars(b).get("forward"), len(b._forward_hooks)) for b in net.trainer.blocks]

    before = state()
    trunk = Trunk(net.trainer.blocks)

    for _ in range(2):
        passed(net, above(falling(net.space), 1), trunk)

    assert state() == before


def test_no_more_is_recorded_than_is_allowed():
    blocks = [nn.Linear(4, 4) for _ in range(3)]
    trunk = Trunk(blocks, limit=2 * 4 * 4 * 2)  # two outputs of 2 x 4 numbers

    with trunk.below(3), torch.no_grad():
        x = torch.ones(2, 4)
        for block in blocks:
            x = block(x)

    assert trunk.bytes == 2 * 4 * 4 * 2


@pytest.mark.parametrize(
    ("sizes", "row"), [(((0, 0), (0, 1)), 1), (((1, 0), (0, 0)), 0), (((0, 0), (0, 0)), 2)]
)
def test_the_lowest_row_is_the_first_that_holds_something(sizes, row):
    assert lowest_row(Configuration(sizes)) == row
