"""Which paused trial goes on, decided from the trials alone."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.halving import ETA, promotion
from autopeft.trial import Fidelity, Purpose, Trial
from tests.builders import a_measurement, a_proposal, a_study

RUNGS = (0.1, 0.3, 1.0)
STUDY = a_study(rungs=RUNGS)
TWO = a_study(rungs=RUNGS, objectives=("score", "params"))


def paused(number, *scores, parameters=32, **changes):
    """Return a trial that was measured at one rung after another, and has paused at the last."""
    trial = Trial(number=number, proposal=a_proposal(fidelity=Fidelity(share=RUNGS[0]), **changes))
    for rung, score in enumerate(scores):
        trial = trial.promoted(RUNGS[rung]) if rung else trial
        measured = replace(a_measurement(score, parameters), share=RUNGS[rung], loss=1 - score)
        trial = trial.started().done(measured)
    return trial


def losing(number, score, loss):
    """Return a trial that paused at the first rung with a loss of its own."""
    trial = Trial(number=number, proposal=a_proposal(fidelity=Fidelity(share=RUNGS[0])))
    measured = replace(a_measurement(score), share=RUNGS[0], loss=loss)
    return trial.started().done(measured)


def pool(*scores):
    return [paused(n, score) for n, score in enumerate(scores)]


def chosen(study, trials):
    found = promotion(study, trials)
    return found and (found[0].number, found[1])


def until_done(study, trials):
    """Promote as long as something goes on, each to a score a little higher, and return all."""
    known = {trial.number: trial for trial in trials}
    while found := promotion(study, known.values()):
        trial, share = found
        measured = replace(a_measurement(trial.score + 0.01), share=share, loss=1 - trial.score)
        known[trial.number] = trial.promoted(share).started().done(measured)
    return [known[number] for number in sorted(known)]


def reached(trials):
    return [max(t.at(share) is not None and share for share in RUNGS) for t in trials]


def test_of_three_the_best_goes_on():
    assert chosen(STUDY, pool(0.5, 0.9, 0.7)) == (1, 0.3)


def test_the_loss_decides_where_scores_do_not_tell_trials_apart_yet():
    """And against the score: in a short training it tells more."""
    even = [losing(n, 0.5, loss) for n, loss in enumerate((0.7, 0.6, 0.65))]
    against = [losing(n, score, 1 - n / 10) for n, score in enumerate((0.9, 0.5, 0.4))]

    assert chosen(STUDY, even) == (1, 0.3)
    assert chosen(STUDY, against) == (2, 0.3)


def test_of_equal_losses_the_score_decides():
    assert chosen(STUDY, [losing(n, s, 0.5) for n, s in enumerate((0.5, 0.9, 0.7))]) == (1, 0.3)


def test_a_loss_that_is_no_number_neither_goes_on_nor_counts():
    nan = losing(0, 0.9, float("nan"))

    assert chosen(STUDY, [nan]) is None
    assert chosen(STUDY, [nan, losing(1, 0.5, 0.6), losing(2, 0.4, 0.5)]) == (2, 0.3)


def test_the_first_goes_on_at_once_and_a_second_only_among_six():
    """So there is an answer after one training, and no search ends without one."""
    first = paused(0, 0.5, 0.6, 0.7)

    assert chosen(STUDY, pool(0.5)) == (0, 0.3)
    assert chosen(STUDY, [paused(0, 0.5, 0.6)]) == (0, 1.0)
    others = [paused(number, 0.4 - number / 100) for number in range(1, 6)]
    assert chosen(STUDY, [first, *others[:4]]) is None
    assert chosen(STUDY, [first, *others]) == (1, 0.3)


def test_of_equal_ones_the_earlier_goes_on():
    assert chosen(STUDY, pool(0.5, 0.9, 0.9)) == (1, 0.3)


def test_whoever_has_gone_on_makes_no_room_for_another():
    """Running, on its way to the end, or complete: it is still among the best third."""
    best = paused(1, 0.9).promoted(0.3)
    others = [paused(0, 0.5), paused(2, 0.7)]

    for state in (best, best.started(), paused(1, 0.9, 0.95, 0.97)):
        assert chosen(STUDY, [others[0], state, others[1]]) is None


def test_a_better_one_that_comes_later_goes_on_too():
    """Promotions are not taken back: the third that goes on is that of all so far."""
    first = paused(0, 0.5, 0.6, 0.7)

    assert chosen(STUDY, [first, paused(1, 0.4), paused(2, 0.9)]) == (2, 0.3)
    assert chosen(STUDY, [first, paused(1, 0.4), paused(2, 0.3)]) is None


def test_higher_rungs_come_first():
    trials = [
        *(paused(n, 0.5, 0.6 + n / 10) for n in range(3)),
        *(paused(n, 0.1) for n in range(3, 9)),
        paused(9, 0.9),
    ]

    assert chosen(STUDY, trials) == (2, 1.0)


def test_baselines_and_searched_trials_are_halved_apart():
    """However good the baselines are, a searched trial is trained to the end, and the reverse."""
    baselines = [paused(n, 0.9 + n / 100, purpose=Purpose.BASELINE, label="LoRA") for n in range(4)]
    searched = [paused(n, 0.1 + n / 100) for n in range(4, 9)]

    found = reached(until_done(STUDY, baselines + searched))

    assert found == [0.1, 0.1, 0.1, 1.0, *[0.1] * 4, 1.0]


def test_finals_are_not_halved():
    final = replace(paused(3, 0.99), proposal=a_proposal(purpose=Purpose.FINAL, of=0))

    assert chosen(STUDY, [paused(0, 0.2, 0.3, 0.4), paused(1, 0.1), final]) is None


def test_with_several_objectives_the_front_goes_on_by_score():
    """The fourth is beaten in both by the first."""
    trials = [
        paused(0, 0.8, parameters=10),
        paused(1, 0.9, parameters=40),
        paused(2, 0.2, parameters=5),
        paused(3, 0.7, parameters=20),
        paused(4, 0.1, parameters=50),
        paused(5, 0.1, parameters=60),
    ]
    alone = [replace(t, number=n) for n, t in enumerate(trials)]

    assert chosen(TWO, alone) == (1, 0.3)
    assert chosen(STUDY, alone) == (1, 0.3)
    assert sum(r > 0.1 for r in reached(until_done(TWO, alone))) == 2
    assert reached(until_done(TWO, alone))[3] == 0.1


def test_a_score_that_is_no_number_neither_goes_on_nor_counts():
    assert chosen(STUDY, pool(float("nan"))) is None
    assert chosen(STUDY, pool(float("nan"), 0.5, 0.6)) == (2, 0.3)


def test_one_that_fails_on_its_way_up_leaves_its_place_to_the_next():
    """Or nothing would be trained to the end where the best needs too much memory."""
    failed = paused(1, 0.9).promoted(0.3).started().out_of_memory("MemoryError")

    assert chosen(STUDY, [paused(0, 0.5), failed, paused(2, 0.7)]) == (2, 0.3)


def test_without_rungs_nothing_is_promoted():
    complete = [replace(t, state="complete") for t in pool(0.5, 0.9, 0.7)]

    assert promotion(a_study(), complete) is None
    assert promotion(STUDY, []) is None


def test_of_trials_that_come_one_by_one_in_no_order_about_four_in_ten_go_on():
    """Who was among the best third for a while has gone on; nobody is taken back."""
    further = 0
    for seed in range(20):
        known = {}
        for number, score in enumerate(np.random.default_rng(seed).random(30)):
            known[number] = paused(number, float(score))
            while found := promotion(STUDY, known.values()):
                trial, share = found
                known[trial.number] = paused(
                    trial.number, *([trial.score] * (RUNGS.index(share) + 1))
                )
        further += sum(trial.at(0.3) is not None for trial in known.values())

    assert 0.35 < further / (20 * 30) < 0.47


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20))
@settings(deadline=None, max_examples=50)
def test_a_third_goes_on_at_every_rung_and_it_is_the_best(scores):
    trials = until_done(STUDY, pool(*scores))

    for low, high in itertools.pairwise(RUNGS):
        here = [t for t in trials if t.at(low)]
        further = [t for t in here if t.at(high)]
        assert len(further) == max(1, len(here) // ETA)
        best = sorted(here, key=lambda t: (-t.at(low).score, t.number))
        assert {t.number for t in further} == {t.number for t in best[: len(further)]}


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_in_which_trials_are_listed_does_not_matter(order):
    trials = pool(0.5, 0.9, 0.7, 0.9, 0.1, 0.3)

    assert chosen(STUDY, trials[::order]) == (1, 0.3)
