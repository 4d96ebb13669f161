"""What the parts of a winner are worth."""

from dataclasses import replace

import numpy as np
import pytest

from autopeft.ablation import (
    EVERYTHING,
    Listed,
    derived,
    effects,
    groups,
    proposals,
    thirds,
    winner,
)
from autopeft.errors import StudyError
from autopeft.search_spaces.configuration import Configuration
from autopeft.selection import paired
from autopeft.trial import Trial
from tests.builders import MINI_LM, SMALL_SPACE, a_measurement, a_proposal, a_study, space_on
from tests.test_selection import TRUTH, accuracy, final, right, searched

STUDY = a_study()
SLOTS = SMALL_SPACE.slots
BOTH = Configuration(((4, 0, 2, 0), (0, 2, 0, 0)))
"""LoRA in both blocks, a serial adapter in the first."""


def trials():
    """Return a winner with two finals, and another trial."""
    return searched(0, 30), searched(3, 36), final(7, 3, 35, seed=1), final(8, 3, 36, seed=2)


def without(hits: int):
    """Return what was trained without each part of the winner, all with so many hits."""
    listed = proposals(winner(trials(), 3), SLOTS)
    return tuple(
        Trial(number=n, proposal=proposal).started().done(
            a_measurement(hits / 40, predictions=right(hits))
        )
        for n, proposal in enumerate(listed)
    )  # fmt: skip


def test_each_method_each_third_of_the_blocks_and_everything_can_be_left_out():
    found = {group.name: group.rest.sizes for group in groups(BOTH, SLOTS)}

    assert found == {
        "lora": ((0, 0, 2, 0), (0, 0, 0, 0)),
        "serial_adapter": ((4, 0, 0, 0), (0, 2, 0, 0)),
        "block 0": ((0, 0, 0, 0), (0, 2, 0, 0)),
        "block 1": ((4, 0, 2, 0), (0, 0, 0, 0)),
        EVERYTHING: ((0, 0, 0, 0), (0, 0, 0, 0)),
    }


def test_what_leaves_the_same_is_left_out_once():
    one = Configuration(((4, 0, 0, 0), (0, 0, 0, 0)))

    assert [group.name for group in groups(one, SLOTS)] == [EVERYTHING]
    assert groups(Configuration(((0, 0, 0, 0),) * 2), SLOTS) == ()


def test_a_gate_goes_with_what_it_acts_on():
    slots = space_on(MINI_LM, "unipelt").slots
    row = [int(slot.method in {"gate", "lora", "serial_adapter"}) for slot in slots]
    gates = [c for c, slot in enumerate(slots) if slot.method == "gate"]
    found = {g.name: g.rest for g in groups(Configuration((tuple(row),) * 6), slots)}

    assert gates
    for name in ("lora", "serial_adapter"):
        rest = found.get(name)
        assert rest is None or not any(
            r[c] and not any(n for k, n in enumerate(r) if k not in gates)
            for r in rest.sizes
            for c in gates
        )


@pytest.mark.parametrize("blocks", range(1, 40))
def test_thirds_hold_every_block_once(blocks):
    parts = thirds(blocks)

    assert [b for first, after in parts for b in range(first, after)] == list(range(blocks))
    assert len(parts) == min(3, blocks)
    assert max(a - f for f, a in parts) - min(a - f for f, a in parts) <= 1


def test_the_winner_is_held_against_its_finals_or_itself():
    assert [t.number for t in winner(trials(), 3)] == [7, 8]
    assert [t.number for t in winner(trials(), 0)] == [0]
    with pytest.raises(StudyError, match="trial 5 was not trained to the end: there is nothing"):
        winner(trials(), 5)


def test_the_trainings_have_the_seeds_and_the_recipe_of_the_winners():
    run = replace(
        final(7, 3, 35),
        proposal=replace(
            a_proposal(),
            configuration=BOTH,
            seed=5,
            recipe=replace(a_proposal().recipe, learning_rates={"lora": 1e-3,
                                                                "serial_adapter": 2e-3}),
        ),
    )  # fmt: skip
    listed = proposals((run,), SLOTS)

    assert {p.seed for p in listed} == {5}
    assert [p.label for p in listed][:2] == ["without lora", "without serial_adapter"]
    assert [dict(p.recipe.learning_rates) for p in listed] == [
        {"serial_adapter": 2e-3}, {"lora": 1e-3}, {"lora": 1e-3},
        {"lora": 1e-3, "serial_adapter": 2e-3}, {},
    ]  # fmt: skip
    assert all(p.fidelity.whole and p.of is None for p in listed)


def test_they_are_a_study_of_their_own_that_is_the_same_every_time():
    halved = replace(STUDY, rungs=(0.1, 1.0), objectives=("score", "params"))

    assert derived(halved, 3).id == derived(halved, 3).id
    assert len({STUDY.id, derived(STUDY, 3).id, derived(STUDY, 0).id, derived(halved, 3).id}) == 4
    assert derived(halved, 3).rungs == (1.0,)


def test_a_list_gives_nothing_twice_and_nothing_that_was_told():
    listed = proposals(winner(trials(), 3), SLOTS)
    strategy = Listed(listed)
    strategy.tell(Trial(number=0, proposal=listed[1]).failed("no"))
    asked = list(iter(strategy.ask, None))

    assert asked == [listed[0], *listed[2:]]
    assert strategy.ask() is None


def test_an_effect_is_the_winners_score_minus_that_without_the_part():
    found = effects(STUDY, trials(), without(20), 3, TRUTH, accuracy)
    effect = found.effects[0]

    assert (found.trial, found.seeds, found.examples) == (3, (1, 2), 40)
    assert effect.score == 0.5
    assert effect.difference.mean == pytest.approx((35 + 36) / 80 - 0.5)
    assert effect.difference.low > 0
    assert found.study == derived(STUDY, 3).id


def test_equal_runs_differ_by_nothing():
    runs = [np.array(right(30), dtype=float)] * 2

    assert paired(runs, runs, TRUTH, accuracy, 0) == replace(
        paired(runs, runs, TRUTH, accuracy, 0), mean=0.0, low=0.0, high=0.0
    )


def test_without_the_data_the_seeds_alone_are_compared():
    effect = effects(STUDY, trials(), without(20), 3, None, accuracy).effects[0]

    assert effect.difference.mean == pytest.approx((35 + 36) / 80 - 0.5)
    assert (effect.difference.low, effect.difference.high) == pytest.approx((0.375, 0.4))


def test_what_failed_says_why_and_what_was_not_begun_is_nothing():
    failed = tuple(
        Trial(number=t.number, proposal=t.proposal).failed("diverged: nan") for t in without(1)
    )
    waiting = tuple(Trial(number=t.number, proposal=t.proposal) for t in without(1))
    effect = effects(STUDY, trials(), failed, 3, TRUTH, accuracy).effects[0]

    assert (effect.score, effect.difference, effect.failure) == (None, None, "diverged: nan")
    assert effects(STUDY, trials(), waiting, 3, TRUTH, accuracy) is None
    assert effects(STUDY, trials(), (), 3, TRUTH, accuracy) is None
