"""Matrices that a network computes until it is taken away."""

import torch

from autopeft.methods.scaffold import Scaffolded, linear, network


def scaffolded(seed=0):
    generator = torch.Generator().manual_seed(seed)
    chain = network([linear(4, 6), torch.nn.Tanh(), linear(6, 5)], generator)
    seeds = torch.randn(3, 4, generator=generator)
    return Scaffolded(3, {"keys": 2, "values": 3}, chain, seeds)


def test_the_matrices_are_cut_from_what_the_network_gives():
    rows = scaffolded()
    whole = rows.network(rows.seeds)

    keys, values = rows()

    assert torch.equal(keys, whole[:, :2])
    assert torch.equal(values, whole[:, 2:])


def test_the_plain_matrices_follow_when_they_are_asked_to():
    """Before that they are shadows of no meaning."""
    rows = scaffolded()
    rows.settle()
    before = {name: value.clone() for name, value in rows.kept().items()}
    rows.seeds.data += 1

    assert all(map(torch.equal, rows.kept().values(), before.values()))
    rows.settle()
    assert all(map(torch.equal, rows.kept().values(), rows()))


def test_without_the_network_the_plain_matrices_stand_for_themselves():
    rows = scaffolded()
    rows.settle()
    rows.dismantle()
    kept = [value.clone() for value in rows.kept().values()]
    rows.seeds.data += 1
    rows.settle()

    assert all(map(torch.equal, rows(), kept))
    (keys, _) = rows()
    keys.sum().backward()
    assert rows.kept()["keys"].grad is not None
    assert rows.seeds.grad is None


def test_equal_generators_draw_equal_networks():
    """And the global random state is not touched."""
    before = torch.get_rng_state()
    one, same, other = scaffolded(), scaffolded(), scaffolded(1)

    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, one(), same()))
    assert not torch.equal(one()[0], other()[0])
