"""What short trainings tell a model."""

from dataclasses import replace

from autopeft.strategies.modelling.early import scores_by_loss
from autopeft.trial import Fidelity, Trial
from tests.builders import a_measurement, a_proposal

THIRD = 1 / 3


def measured(number, score, loss, share=THIRD):
    """Return a trial that was measured at a share of its training."""
    trial = Trial(number=number, proposal=a_proposal(fidelity=Fidelity(share=share))).started()
    return trial.done(replace(a_measurement(score), loss=loss, share=share))


def gone_on(trial, score):
    return trial.promoted(1.0).started().done(a_measurement(score))


def test_a_pause_has_the_score_of_the_place_of_its_loss():
    trials = [measured(0, 0.5, 1.0), measured(1, 0.6, 2.0), measured(2, 0.4, 0.5)]

    assert scores_by_loss(trials) == [0.5, 0.4, 0.6]


def test_what_was_trained_to_its_end_keeps_its_score():
    trials = [measured(0, 0.5, 1.0, share=1.0), measured(1, 0.6, 2.0, share=1.0)]

    assert scores_by_loss(trials) == [0.5, 0.6]


def test_those_that_went_on_still_count_at_the_rung_where_they_were():
    trials = [measured(0, 0.5, 1.0), gone_on(measured(1, 0.6, 2.0), 0.9)]

    assert scores_by_loss(trials) == [0.6, 0.9]


def test_a_loss_out_of_all_bounds_only_makes_a_trial_the_last():
    trials = [measured(0, 0.5, 1.0), measured(1, 0.6, 1e30), measured(2, 0.4, 0.9)]

    assert scores_by_loss(trials) == [0.5, 0.4, 0.6]


def test_equal_losses_leave_no_trial_without_a_score():
    assert sorted(scores_by_loss([measured(n, n / 10, 1.0) for n in range(3)])) == [0.0, 0.1, 0.2]


def test_rungs_are_told_apart():
    trials = [measured(0, 0.1, 9.0), measured(1, 0.2, 8.0), measured(2, 0.7, 1.0, share=0.5)]

    assert scores_by_loss(trials) == [0.1, 0.2, 0.7]
