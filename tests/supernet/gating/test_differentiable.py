"""S3PET's search, on a tiny model with data that it can learn."""

from dataclasses import replace

import pytest
import torch

from autopeft.errors import SpaceError
from autopeft.search_spaces.written.reading import parse_space, read_space
from autopeft.supernet.gating import differentiable
from autopeft.supernet.gating.differentiable import _Logits, _Search, search_gates
from autopeft.supernet.gating.ground import Ground
from autopeft.supernet.gating.options import S3petOptions
from autopeft.supernet.gating.shifted import concrete
from autopeft.supernet.gating.structures import gates_of
from autopeft.training.loop import DivergedError
from autopeft.training.room import Room
from tests.models import Bench, opinions, recipe_of, save_tiny, write_rows

BUDGET = 300


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return Bench(save_tiny(folder / "model"), write_rows(folder / "data.csv", opinions(80)))


def ground_on(bench, name="s3pet", *, ceiling=BUDGET, steps=3, space=None, **recipe):
    return Ground(
        trainer=bench.trainer,
        space=space or read_space(name).on(bench.backbone),
        ceiling=ceiling,
        recipe=recipe_of(**recipe),
        seed=0,
        steps=steps,
    )


def outcome_of(ground, **options):
    *progress, outcome = search_gates(ground, S3petOptions(**options))
    return progress, outcome


@pytest.mark.parametrize("order", [1, 2])
def test_the_expected_size_is_the_budget_after_every_step_and_the_logits_move(bench, order):
    ground = ground_on(bench)

    progress, outcome = outcome_of(ground, order=order)

    assert progress == pytest.approx([i / 3 for i in range(1, 4)])
    assert outcome.expected == pytest.approx([BUDGET] * 3, rel=1e-6)
    assert outcome.moved > 0.05


@pytest.mark.parametrize("free", [400_000, 57_000])
def test_a_search_keeps_a_limit_and_finds_the_same(bench, free):
    """In pieces, and with blocks that run twice besides; to the rounding of other sums."""
    _, whole = outcome_of(ground_on(bench), order=1)
    room, usual = Room(300 * 2**20 + free, resident=lambda: 0), bench.trainer.room
    bench.trainer.room = room
    try:
        _, narrow = outcome_of(ground_on(bench), order=1)
    finally:
        bench.trainer.room = usual

    assert "1 training took batches in pieces" in room.told[0]
    assert ("computed activations twice" in room.told[0]) == (free < 100_000)
    assert narrow.found == whole.found
    for found, expected in zip(narrow.chances, whole.chances, strict=True):
        assert found == pytest.approx(expected, abs=1e-3)


def test_the_structure_fills_the_budget_with_the_likeliest_cells(bench):
    ground = ground_on(bench)
    space = ground.space

    _, outcome = outcome_of(ground)

    [structure] = outcome.found
    trained = structure.parameters(space.slots)
    gates = gates_of(space, "s3pet", sized=False)
    taken = [g for g, c in zip(gates, space.encode(structure), strict=True) if c]
    likeliest = max(gates, key=lambda gate: outcome.chances[gate.gene][1])
    assert BUDGET - min(gate.costs[0] for gate in gates) < trained <= BUDGET
    assert likeliest in taken
    assert all(sum(row) == pytest.approx(1) for row in outcome.chances)


def test_the_same_search_finds_the_same_and_another_seed_something_else(bench):
    ground = ground_on(bench)

    first, again, other = (
        outcome_of(each)[1] for each in (ground, ground, replace(ground, seed=1))
    )

    assert first == again
    assert first.chances != other.chances


def test_second_order_gives_other_gradients_and_leaves_the_weights_alone(bench):
    assert outcome_of(ground_on(bench), order=1)[1] != outcome_of(ground_on(bench), order=2)[1]


def test_looking_ahead_is_the_derivative_of_the_loss_after_a_step(bench, monkeypatch):
    """With plain gradient steps it is exact up to the finite difference: dL(w(z))/dz.

    Weights and rates are such that the step matters: what comes of it is a good part of the whole.
    """
    monkeypatch.setattr(differentiable, "CLIP", 1e9)
    ground = ground_on(bench)
    gates = gates_of(ground.space, "s3pet", sized=False)
    logits = _Logits(ground, S3petOptions(), gates)
    with ground.prepared(gates) as prepared:
        net = prepared.gated
        generator = torch.Generator().manual_seed(0)
        for parameter in net.weights:
            parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        sgd = torch.optim.SGD(net.weights, lr=0.05)
        search = _Search(replace(prepared, optimizer=sgd), logits, S3petOptions(order=2))
        batch, other = next(prepared.for_weights), next(prepared.for_gates)
        z_A = torch.full((len(gates),), 0.5, dtype=torch.float64)
        before = [parameter.detach().clone() for parameter in net.weights]

        found = search._looking_ahead(batch, other, z_A)
        plain = search._here(batch, other, z_A)

        assert all(torch.equal(p, b) for p, b in zip(net.weights, before, strict=True))

        def after_a_step(z_A):
            net.gradients(batch, z_A)
            sgd.step()
            net.put(z_A)
            with torch.no_grad():
                loss = float(net._tuned.model.loss(other))
            for parameter, was in zip(net.weights, before, strict=True):
                parameter.data.copy_(was)
            return loss

        strongest = (found - plain).abs().argsort(descending=True)[:3].tolist()
        for place in strongest:
            step = torch.zeros_like(z_A)
            step[place] = 0.02
            numeric = (after_a_step(z_A + step) - after_a_step(z_A - step)) / 0.04
            # single precision leaves about three digits of a difference of losses
            assert float(found[place]) == pytest.approx(numeric, rel=0.05, abs=2e-4)
            assert abs(float(plain[place]) - numeric) > 2 * abs(float(found[place]) - numeric)


def test_where_everything_fits_nothing_is_trained(bench):
    ground = ground_on(bench, ceiling=10**6)

    progress, outcome = outcome_of(ground)

    assert progress == []
    assert outcome.found == (ground.space.largest(),)
    assert set(outcome.chances) == {(0.0, 1.0)}


def test_where_no_gate_fits_nothing_is_found(bench):
    progress, outcome = outcome_of(ground_on(bench, ceiling=3))

    assert (progress, outcome.found) == ([], ())


def test_what_must_be_there_counts_and_is_there(bench):
    space = parse_space(
        """
        name: own
        groups:
          - {slots: [lora@attention.query], sizes: [2]}
          - {slots: [bitfit@ffn.norm, bitfit@attention.norm, ln_fit@ffn.norm], sizes: [0, 1]}
        """,
        "own.yaml",
    ).on(bench.backbone)
    always = space.smallest().parameters(space.slots)
    ceiling = always + 70

    _, outcome = outcome_of(ground_on(bench, space=space, ceiling=ceiling))

    [structure] = outcome.found
    assert outcome.expected == pytest.approx([ceiling] * 3)
    query = [slot.name for slot in space.slots].index("lora@attention.query")
    assert [row[query] for row in structure.sizes] == [2, 2]
    assert always + 35 < structure.parameters(space.slots) <= ceiling


def test_tied_cells_are_found_together(bench):
    space = parse_space(
        """
        name: own
        groups:
          - {slots: [bitfit@ffn.norm], sizes: [0, 1], tie: blocks}
          - {slots: [ln_fit@ffn.norm], sizes: [0, 1], tie: blocks}
        """,
        "own.yaml",
    ).on(bench.backbone)

    _, outcome = outcome_of(ground_on(bench, space=space, ceiling=70))

    [structure] = outcome.found
    assert structure.sizes[0] == structure.sizes[1]
    assert sum(structure.sizes[0]) == 1


def test_a_search_that_diverges_says_so(bench):
    ground = ground_on(bench, head_learning_rate=3e37, steps=6)

    with pytest.raises(DivergedError, match="the loss of the gated network became"):
        list(search_gates(ground, S3petOptions()))


def test_a_space_of_switches_is_searched_and_its_structure_is_one_of_the_space(bench):
    space = read_space("autopeft").on(bench.backbone)
    gates = gates_of(space, "s3pet", sized=False)
    ceiling = sum(gate.costs[0] for gate in gates) // 2

    _, outcome = outcome_of(ground_on(bench, space=space, ceiling=ceiling))

    [found] = outcome.found
    assert space.encode(found) is not None
    assert 0 < found.parameters(space.slots) <= ceiling
    assert outcome.moved > 0
    assert [len(row) for row in outcome.chances] == [len(gene.choices) for gene in space.genes]


def test_a_space_that_cannot_be_gated_is_refused_before_anything_is_trained(bench):
    with pytest.raises(SpaceError, match="the strategy s3pet cannot search the space 'noah'"):
        next(search_gates(ground_on(bench, "noah"), S3petOptions()))


def test_dropout_and_half_precision_are_searched_too(bench):
    _, outcome = outcome_of(ground_on(bench, dropout=0.1, precision="bf16"), order=2)

    assert outcome.expected == pytest.approx([BUDGET] * 3)


def test_a_cell_that_lowers_the_loss_rises_above_one_that_raises_it(bench):
    space = parse_space(
        """
        name: own
        groups: [{slots: [bitfit@ffn.norm], sizes: [0, 1]}]
        """,
        "own.yaml",
    ).on(bench.backbone)
    ground = ground_on(bench, space=space, ceiling=40)
    gates = gates_of(space, "s3pet", sized=False)
    logits = _Logits(ground, S3petOptions(), gates)
    with ground.prepared(gates) as prepared:
        search, net = _Search(prepared, logits, S3petOptions()), prepared.gated
        batch, z_A = next(prepared.for_gates), torch.ones(2, dtype=torch.float64)
        net.gradients(batch, z_A)
        good, bad = net._scaled
        good.own.data -= 0.1 * good.own.grad / good.own.grad.norm()
        bad.own.data += 0.1 * bad.own.grad / bad.own.grad.norm()

        z_G = concrete(logits.probabilities(), torch.full((2,), 0.5, dtype=torch.float64))
        search._move_gates(z_G, search._here(batch, batch, logits.spread(z_G)), 1.0)

    assert logits.values_G[good.gate] > 0 > logits.values_G[bad.gate]
