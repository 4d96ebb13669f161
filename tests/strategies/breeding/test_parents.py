"""Measured trials as parents."""

from dataclasses import replace

from autopeft.search_spaces.configuration import Configuration
from autopeft.strategies.breeding.parents import Parents, places_of
from autopeft.strategies.memory import Memory
from autopeft.trial import Purpose
from tests.builders import SMALL_SPACE, a_study, a_trial


def told(*trials) -> Memory:
    memory = Memory()
    for trial in trials:
        memory.tell(trial)
    return memory


def test_parents_come_by_number_with_their_genomes_rates_and_points():
    memory = told(a_trial(4, 0.8, ranks=(4, 0)), a_trial(2, 0.5, ranks=(1, 1), rate=2e-3))

    parents = Parents(a_study()).of(memory)

    assert [SMALL_SPACE.decode(p.genome).sizes[0][0] for p in parents] == [1, 4]
    assert [dict(p.rates) for p in parents] == [{"lora": 2e-3}, {"lora": 1e-3}]
    assert [p.point for p in parents] == [(0.5,), (0.8,)]
    assert places_of(parents) == [-0.5, -0.8]


def test_a_failure_is_no_parent():
    assert Parents(a_study()).of(told(a_trial(0, 0.5).failed("oh"))) == []


def test_a_baseline_is_a_parent_by_the_configuration_nearest_to_it():
    """Rank 3 is no size of the space."""
    trial = a_trial(0, 0.5, ranks=(3, 8), purpose=Purpose.BASELINE, label="plain LoRA")

    [parent] = Parents(a_study()).of(told(trial))

    ranks = [row[0] for row in SMALL_SPACE.decode(parent.genome).sizes]
    assert ranks[0] in {2, 4}
    assert ranks[1] == 8


def test_a_baseline_of_slots_that_the_space_does_not_have_is_none():
    trial = a_trial(0, 0.5, purpose=Purpose.BASELINE, label="prefix")
    column = [slot.name for slot in SMALL_SPACE.slots].index("prefix@attention")
    row = tuple(int(place == column) for place in range(len(SMALL_SPACE.slots)))
    other = replace(trial.proposal, configuration=Configuration((row, row)))

    assert Parents(a_study()).of(told(replace(trial, proposal=other))) == []
