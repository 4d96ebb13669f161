"""What a strategy knows."""

from dataclasses import replace
from itertools import pairwise

import pytest

from autopeft.strategies.memory import Memory, best_and_latest, lifted, places
from autopeft.trial import Fidelity, Purpose, Trial
from tests.builders import a_measurement, a_proposal, a_study, a_trial

RUNGS = (0.1, 0.5, 1.0)


def a_rung(number: int, *scores: float) -> Trial:
    """Return a trial that has reached as many rungs as there are scores."""
    fidelity = Fidelity(share=RUNGS[0])
    trial = Trial(number=number, proposal=a_proposal(rate=1e-3 + number / 1e5, fidelity=fidelity))
    for share, score in zip(RUNGS, scores, strict=False):
        trial = trial if share == RUNGS[0] else trial.promoted(share)
        trial = trial.done(replace(a_measurement(score), share=share))
    return trial


def test_nothing_is_lifted_while_no_trial_went_on():
    study = a_study(rungs=RUNGS)

    assert lifted(study, [a_rung(0, 0.2), a_rung(1, 0.6)]) == [(0.2,), (0.6,)]


def test_a_trial_that_pauses_is_lifted_by_what_others_have_gained_from_there():
    """From the first rung 0.2 on average, from the second 0.1: the first waits for 0.3."""
    study = a_study(rungs=RUNGS)
    trials = [a_rung(0, 0.4), a_rung(1, 0.5, 0.6), a_rung(2, 0.5, 0.8, 0.9)]

    points = lifted(study, trials)

    assert [point[0] for point in points] == pytest.approx([0.7, 0.7, 0.9])


def test_only_the_score_is_lifted():
    study = a_study(rungs=RUNGS, objectives=("score", "params"))

    points = lifted(study, [a_rung(0, 0.4), a_rung(1, 0.5, 0.6)])

    assert points == [(pytest.approx(0.5), -32.0), (0.6, -32.0)]


def test_a_training_that_ended_in_no_number_is_no_measurement():
    memory = Memory()
    for number, score in enumerate((0.5, float("nan"), float("inf"))):
        memory.tell(a_trial(number, score, rate=1e-3 + number / 1e4))

    assert [trial.number for trial in memory.ended] == [0, 1, 2]
    assert [trial.number for trial in memory.measured] == [0]


def test_what_was_proposed_and_has_not_ended_is_pending():
    memory = Memory()
    memory.remember(a_proposal(1))
    memory.remember(a_proposal(2))
    memory.remember(a_proposal(4, purpose=Purpose.BASELINE))
    memory.tell(a_trial(0, 0.5, ranks=(1,)))

    assert memory.pending == [a_proposal(2)]
    assert memory.asked == 2


def test_finals_teach_nothing_and_are_no_proposals_of_the_strategy():
    memory = Memory()
    memory.tell(a_trial(0, 0.5, purpose=Purpose.FINAL, of=3))

    assert (memory.ended, memory.asked) == ([], 0)


def largest_first(known: list[int]) -> list[float]:
    return places([(float(number % 100),) for number in known])


@pytest.mark.parametrize("count", [20, 21, 29, 30, 31, 555])
def test_the_best_and_the_latest_are_kept(count):
    kept = best_and_latest(list(range(count)), largest_first, 20)

    assert kept == sorted(set(kept))
    assert set(range(count - 5, count)) <= set(kept)
    assert len(kept) <= 20
    assert count < 100 or 99 in kept


def test_what_is_kept_grows_by_one_until_it_is_sifted():
    kept = [best_and_latest(list(range(count)), largest_first, 20) for count in range(100, 151)]

    begun_anew = sum(later[: len(earlier)] != earlier for earlier, later in pairwise(kept))

    assert begun_anew == 5


def test_places_are_lower_for_better_points_with_one_objective_and_with_several():
    assert places([(0.5,), (0.9,), (0.5,)]) == [-0.5, -0.9, -0.5]
    assert places([(0.5, 0.5), (0.9, 0.1), (0.4, 0.4)]) == [0.0, 0.0, 1.0]
    assert places([]) == []
