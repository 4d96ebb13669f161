"""Processes that train together."""

import pytest
import torch
from torch import distributed, nn
from torch.distributed.tensor import DTensor

from autopeft.errors import OptionError
from autopeft.training.team import ALONE, Team, team


@pytest.fixture
def group(tmp_path):
    """A group of one process, which shards as several do."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield Team(rank=0, size=1, shards=True)
    distributed.destroy_process_group()


def block():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 4)).requires_grad_(requires_grad=False)


def test_one_process_is_alone():
    with team() as together:
        assert together == ALONE


def test_one_process_has_nobody_to_share_weights_with():
    alone = pytest.raises(OptionError, match=r"--shard divides .* and there is one: start several")
    with alone, team(shards=True):
        pass


def test_frozen_weights_are_divided_and_trained_ones_stay_whole(group):
    module, plain = block(), block()
    for layers in (module, plain):
        layers[1].bias = nn.Parameter(torch.zeros(4))
    x, trained = torch.ones(2, 4), module[1].bias

    group.shard([module, module], [trained])
    for layers in (module, plain):
        layers(x).square().sum().backward()

    assert isinstance(module[0].weight, DTensor)
    assert module[1].bias is trained
    torch.testing.assert_close(trained.grad, plain[1].bias.grad)
