"""BIPEFT's search: what is tossed and drawn, what is pruned, and the whole on a tiny model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autopeft.errors import SpaceError
from autopeft.search_spaces.written.reading import parse_space, read_space
from autopeft.supernet.gating.ground import Ground
from autopeft.supernet.gating.options import BipeftOptions
from autopeft.supernet.gating.pruning import Alike, Left, search_by_pruning
from autopeft.supernet.gating.structures import Gate
from autopeft.supernet.gating.tossing import Logits
from autopeft.training.loop import DivergedError
from tests.models import Bench, opinions, recipe_of, save_tiny, write_rows

SIZED = """
name: sized
groups:
  - {slots: [lora@attention.query, lora@ffn.output], sizes: [0, 1, 2, 4]}
  - {slots: [parallel_adapter@ffn, prefix@attention], sizes: [0, 1, 3]}
  - {slots: [bitfit@ffn.norm], sizes: [0, 1]}
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return Bench(save_tiny(folder / "model"), write_rows(folder / "data.csv", opinions(80)))


def ground_on(bench, text=SIZED, *, ceiling=300, steps=12, **recipe):
    space = parse_space(text, "own.yaml") if "\n" in text else read_space(text)
    return Ground(
        trainer=bench.trainer, space=space.on(bench.backbone), ceiling=ceiling,
        recipe=recipe_of(**recipe), seed=0, steps=steps,
    )  # fmt: skip


def outcome_of(ground, **options):
    *progress, outcome = search_by_pruning(ground, BipeftOptions(**options))
    return progress, outcome


def a_gate(*costs, free=True, gene=0):
    return Gate(
        gene=gene, cells=((0, gene),), choices=tuple(range(1, len(costs) + 1)),
        sizes=tuple(range(1, len(costs) + 1)), costs=costs, free=free,
    )  # fmt: skip


def left_with(sensitivities, gates, budget):
    left = Left(gates, budget)
    for half in (0, 1):
        left.feel(half, torch.tensor(sensitivities, dtype=torch.float64))
    return left


def test_the_outcome_keeps_the_budget_and_its_sizes_are_choices(bench):
    ground = ground_on(bench)

    progress, outcome = outcome_of(ground, prune_steps=4)

    [structure] = outcome.found
    assert 0 < structure.parameters(ground.space.slots) <= 300
    assert ground.space.encode(structure) is not None
    assert outcome.expected[0] > 300 >= outcome.expected[-1]
    assert outcome.expected[-1] == structure.parameters(ground.space.slots)
    assert progress[-1] <= 1.0
    assert outcome.moved > 0
    assert all(sum(row) == pytest.approx(1) for row in outcome.chances)


def test_the_chances_are_such_that_the_expected_size_is_the_budget(bench):
    ground = ground_on(bench)

    _, outcome = outcome_of(ground)

    costs = ground.space.counter().costs_of_choices()
    expected = sum(
        chance * costs[gene, choice]
        for gene, row in enumerate(outcome.chances)
        for choice, chance in enumerate(row)
    )
    assert expected == pytest.approx(300, rel=1e-6)


def test_the_same_search_ends_the_same(bench):
    assert outcome_of(ground_on(bench)) == outcome_of(ground_on(bench))


def test_pruning_begins_in_time_where_the_sets_never_agree(bench):
    """With a similarity that only equal sets have, and few steps."""
    ground = ground_on(bench, steps=5)

    progress, outcome = outcome_of(ground, similarity=1.0)

    assert progress[-1] == 1.0
    assert 0 < outcome.found[0].parameters(ground.space.slots) <= 300


def test_a_search_ends_early_when_all_is_decided(bench):
    progress, _ = outcome_of(ground_on(bench, steps=40), similarity=0.01, prune_steps=2)

    assert progress[-1] < 0.6


@pytest.mark.parametrize("steps", [1, 2])
def test_one_step_is_enough_to_keep_the_budget(bench, steps):
    ground = ground_on(bench, steps=steps)

    _, outcome = outcome_of(ground)

    assert 0 < outcome.found[0].parameters(ground.space.slots) <= 300


def test_spaces_of_switches_are_searched_too(bench):
    ground = ground_on(bench, "s3pet")

    _, outcome = outcome_of(ground)

    assert 200 < outcome.found[0].parameters(ground.space.slots) <= 300


def test_where_everything_fits_everything_is_left(bench):
    ground = ground_on(bench, "s3pet", ceiling=10**6, steps=4)

    assert outcome_of(ground)[1].found == (ground.space.largest(),)


def test_where_nothing_fits_nothing_is_found(bench):
    assert outcome_of(ground_on(bench, "s3pet", ceiling=3, steps=4))[1].found == ()


def test_a_search_that_diverges_says_so(bench):
    with pytest.raises(DivergedError, match="the loss of the gated network became"):
        outcome_of(ground_on(bench, head_learning_rate=3e37))


@pytest.mark.parametrize(
    "text",
    [
        "autopeft",
        """
name: deep
groups: [{slots: [lora@attention.query, lora@ffn.output], sizes: [1, 2, 4], depth: [0, 1/2, 1]}]
""",
    ],
)
def test_structures_of_spaces_with_switches_and_depths_are_of_the_space(bench, text):
    ground = ground_on(bench, text)
    ceiling = ground.space.largest().parameters(ground.space.slots) // 2

    _, outcome = outcome_of(replace(ground, ceiling=ceiling))

    [found] = outcome.found
    assert ground.space.encode(found) is not None
    assert 0 < found.parameters(ground.space.slots) <= ceiling
    assert all(sum(row) == pytest.approx(1) for row in outcome.chances)


def test_a_space_that_cannot_be_gated_is_refused(bench):
    with pytest.raises(SpaceError, match="the strategy bipeft cannot search the space 'noah'"):
        outcome_of(ground_on(bench, "noah"))


def test_pruning_takes_the_least_sensitive_and_spreads_it_over_its_steps():
    """Four gates of 10 over a budget of 20: a share of 20/4 is due at each of four steps."""
    gates = [a_gate(10, gene=gene) for gene in range(4)]
    left, logits = left_with([3.0, 1.0, 4.0, 2.0], gates, 20), Logits(gates, 0.1)

    seen = []
    for steps_left in (4, 3, 2, 1):
        left.prune(logits, steps_left)
        seen.append(left.flags.tolist())

    assert seen == [
        [True, True, True, True],
        [True, False, True, True],
        [True, False, True, True],
        [True, False, True, False],
    ]


def test_the_last_step_takes_all_that_is_over_and_nothing_that_must_be_there():
    gates = [a_gate(10, free=False), a_gate(30, gene=1), a_gate(5, gene=2)]
    left = left_with([0.0, 2.0, 1.0], gates, 12)

    left.prune(Logits(gates, 0.1), 1)

    assert left.flags.tolist() == [True, False, False]


def test_the_set_within_the_budget_is_the_most_sensitive_and_skips_what_does_not_fit():
    gates = [a_gate(10), a_gate(15, gene=1), a_gate(5, gene=2), a_gate(1, gene=3, free=False)]
    left = left_with([3.0, 2.0, 1.0, 0.0], gates, 16)

    assert left.within_budget(Logits(gates, 0.1)).tolist() == [True, False, True, False]


def test_a_sensitivity_is_a_moving_average_of_both_halves():
    left = Left([a_gate(1)], 1)
    for value in (1.0, 2.0):
        left.feel(0, torch.tensor([value], dtype=torch.float64))
    left.feel(1, torch.tensor([4.0], dtype=torch.float64))

    train, other = 0.85 * 0.15 * 1.0 + 0.15 * 2.0, 0.15 * 4.0
    assert left.sensitivity.tolist() == pytest.approx([(train * other) ** 0.5])


def test_the_latest_five_sets_are_alike_when_every_two_are():
    """Two of three in common, of three each, are a cosine of 2/3."""
    one, other = np.array([1, 1, 1, 0], bool), np.array([0, 1, 1, 1], bool)

    alike = Alike(least=0.85)
    assert [alike.saw(one) for _ in range(5)] == [False] * 4 + [True]
    assert not alike.saw(other)
    assert [alike.saw(other) for _ in range(4)] == [False] * 3 + [True]
    loose = Alike(least=0.66)
    assert [loose.saw(each) for each in (one, other, one, other, one)][-1]


def test_empty_sets_are_alike_only_among_themselves():
    alike, none = Alike(least=0.85), np.zeros(2, bool)

    assert [alike.saw(none) for _ in range(5)][-1]
    assert not alike.saw(np.ones(2, bool))
