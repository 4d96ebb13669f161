"""Ranks, fronts and hypervolumes, held against their definitions written out."""

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft import objectives
from autopeft.objectives import MARGIN, dominates, front, hypervolume, hypervolumes, ranks, values
from autopeft.trial import Fidelity, Purpose, Trial
from tests.builders import a_measurement, a_proposal, a_study, a_trial

BOTH = a_study(objectives=("score", "params"))
NAN, INF = math.nan, math.inf


def clouds(*, most: int = 7):
    """Return up to so many points of one to four objectives, many of them equal in some."""
    numbers = st.integers(-2, 4).map(float)
    return st.integers(1, 4).flatmap(
        lambda width: st.lists(st.tuples(*[numbers] * width), max_size=most)
    )


class TestDominance:
    """At least as good in all, and better in one."""

    @pytest.mark.parametrize(
        ("one", "other", "expected"),
        [
            ((1, 1), (1, 0), True),
            ((1, 1), (1, 1), False),
            ((2, 0), (0, 2), False),
            ((1, INF), (1, 5), True),
        ],
    )
    def test_it_needs_one_that_is_better_and_none_that_is_worse(self, one, other, expected):
        assert dominates(one, other) is expected

    @given(clouds())
    @settings(deadline=None)
    def test_ranks_are_those_of_fronts_taken_away_one_after_another(self, points):
        found, left, rank = {}, dict(enumerate(points)), 0
        while left:
            layer = [n for n, p in left.items() if not any(dominates(o, p) for o in left.values())]
            found |= dict.fromkeys(layer, rank)
            left = {n: p for n, p in left.items() if n not in layer}
            rank += 1

        assert ranks(points) == [found[n] for n in range(len(points))]
        assert front(points) == [n for n in range(len(points)) if found[n] == 0]

    def test_with_one_objective_ranks_are_places_and_ties_share_them(self):
        assert ranks([(3.0,), (5.0,), (3.0,), (-1.0,)]) == [1, 0, 1, 2]

    def test_what_is_no_number_is_worse_than_any(self):
        assert ranks([(NAN,), (-1e300,), (2.0,)]) == [2, 1, 0]
        assert front([(NAN, 5.0), (1.0, 5.0), (0.0, 6.0)]) == [1, 2]

    def test_nothing_has_neither_ranks_nor_a_front(self):
        assert ranks([]) == front([]) == []


class TestHypervolume:
    """The volume that lies below some point and above the reference."""

    @given(clouds())
    @settings(deadline=None)
    def test_it_is_that_of_the_boxes_counted_in_and_out(self, points):
        """Inclusion and exclusion over all sets of boxes; whole numbers, so exactly."""
        width = len(points[0]) if points else 2
        total = 0.0
        for size in range(1, len(points) + 1):
            for chosen in itertools.combinations(points, size):
                sides = (max(0.0, min(p[k] for p in chosen)) for k in range(width))
                total -= (-1) ** size * math.prod(sides)

        assert hypervolume(points, (0.0,) * width) == total

    @given(clouds(), st.randoms(use_true_random=False))
    @settings(deadline=None)
    def test_the_order_of_points_does_not_matter_and_one_more_never_takes_away(self, points, rng):
        least = (-1.0,) * (len(points[0]) if points else 1)
        mixed = rng.sample(points, len(points))

        assert hypervolume(mixed, least) == hypervolume(points, least)
        assert hypervolume(points[1:], least) <= hypervolume(points, least)

    def test_two_steps_of_a_stair(self):
        """2 · 3 and 3 · 1 share 2 · 1."""
        assert hypervolume([(2.0, 3.0), (3.0, 1.0)], (0.0, 0.0)) == 2 * 3 + 3 * 1 - 2 * 1

    @pytest.mark.parametrize("point", [(0.0, 5.0), (-1.0, 5.0), (NAN, 5.0), (-INF, 5.0)])
    def test_what_is_not_better_than_the_reference_in_all_adds_nothing(self, point):
        assert hypervolume([point, (1.0, 1.0)], (0.0, 0.0)) == 1.0


class TestWorth:
    """What a trial is worth in each objective, all to be maximised."""

    def test_costs_are_negated(self):
        study = a_study(objectives=("score", "params", "flops", "memory", "latency"))
        measured = replace(a_measurement(0.9), flops=5.0, memory=6.0, latency=7.0)
        trial = Trial(number=0, proposal=a_proposal()).done(measured)

        assert values(study, trial) == (0.9, -32.0, -5.0, -6.0, -7.0)

    def test_a_trial_that_failed_or_waits_is_worth_nothing_yet(self):
        waiting = Trial(number=0, proposal=a_proposal())

        assert values(BOTH, waiting) is values(BOTH, waiting.failed("ValueError")) is None

    def test_a_cost_that_was_not_measured_is_named(self):
        study = a_study(objectives=("score", "flops"))

        with pytest.raises(ValueError, match="the trial was measured without its flops"):
            values(study, a_trial(0, 0.9))


def baseline(number, score, parameters=300, label="LoRA", **changes):
    return a_trial(
        number, score, parameters=parameters, purpose=Purpose.BASELINE, label=label, **changes
    )


def paused(number, score, **changes):
    proposal = a_proposal(fidelity=Fidelity(share=0.1), **changes)
    return Trial(number=number, proposal=proposal).done(replace(a_measurement(score), share=0.1))


class TestFrontOfAStudy:
    """Among what was trained to the end."""

    def test_score_and_parameters_are_compared_where_the_score_is_the_only_objective(self):
        trials = [a_trial(n, s, parameters=p) for n, (s, p) in enumerate([(8, 9), (9, 9), (7, 5)])]

        assert objectives.axes(a_study()) == ("score", "params")
        assert objectives.best(a_study(), trials) == (1, 2)

    def test_other_objectives_take_the_place_of_the_parameters(self):
        """Trial 2 is small but slow."""
        study = a_study(objectives=("score", "latency"))
        costs = [(8, 9, 1.0), (9, 9, 2.0), (7, 5, 2.0)]
        trials = [timed(a_trial(n, s, parameters=p), t) for n, (s, p, t) in enumerate(costs)]

        assert objectives.best(study, trials) == (0, 1)

    def test_paused_and_failed_trials_and_finals_are_not_on_it(self):
        trials = [
            a_trial(0, 0.5),
            paused(1, 0.9),
            Trial(number=2, proposal=a_proposal()).failed("ValueError"),
            a_trial(3, 0.99, purpose=Purpose.FINAL, of=0, seed=1),
        ]

        assert objectives.best(BOTH, trials) == (0,)
        assert objectives.best(BOTH, []) == ()


def timed(trial, seconds):
    return replace(trial, measurement=replace(trial.measurement, latency=seconds))


class TestHypervolumeOfAStudy:
    """Measured from a reference that does not move."""

    def test_it_is_measured_from_the_worst_baseline_and_the_ceiling(self):
        """400 is the ceiling: 440 with its margin. Of the parameters the share below it counts."""
        trials = [baseline(0, 0.6), baseline(1, 0.5, label="adapters"), a_trial(2, 0.8)]

        assert objectives.reference(BOTH, trials) == (0.5, -MARGIN * 400)
        assert hypervolumes(BOTH, trials) == pytest.approx(
            [0.1 * 140 / 440, 0.1 * 140 / 440, 0.3 * 408 / 440], abs=1e-12
        )

    def test_other_costs_are_measured_from_the_worst_of_a_baseline(self):
        study = a_study(objectives=("score", "latency"))
        trials = [timed(baseline(0, 0.6), 2.0), timed(baseline(1, 0.5), 3.0)]

        assert objectives.reference(study, trials) == pytest.approx((0.5, -3.3))
        assert hypervolumes(study, trials)[-1] == pytest.approx(0.1 * 1.3 / 3.3)

    @pytest.mark.parametrize(
        "later",
        [
            baseline(3, 0.1, label="LoRA"),
            a_trial(3, 0.1),
            a_trial(3, 0.1, purpose=Purpose.FINAL, of=0),
        ],
        ids=["a baseline at another rate", "a searched trial", "a final"],
    )
    def test_what_comes_after_the_first_searched_trial_does_not_move_the_reference(self, later):
        before = [baseline(0, 0.6), baseline(1, 0.5), a_trial(2, 0.8)]

        assert objectives.reference(BOTH, [*before, later]) == objectives.reference(BOTH, before)
        assert hypervolumes(BOTH, [*before, later])[:3] == hypervolumes(BOTH, before)

    def test_nor_does_a_baseline_that_is_trained_further(self):
        """Its first measurement counts."""
        low = paused(0, 0.3, purpose=Purpose.BASELINE, label="LoRA")
        high = low.promoted(1.0).started().done(a_measurement(0.7))

        assert objectives.reference(BOTH, [low]) == objectives.reference(BOTH, [high])
        assert hypervolumes(BOTH, [low]) == (0.0,)
        assert hypervolumes(BOTH, [high]) == pytest.approx([0.4 * 408 / 440])

    def test_without_baselines_the_first_measured_trial_takes_their_place(self):
        failed = Trial(number=0, proposal=a_proposal()).failed("ValueError")
        trials = [failed, a_trial(1, 0.5), a_trial(2, 0.7)]

        assert objectives.reference(BOTH, trials) == (0.5, -MARGIN * 400)
        assert hypervolumes(BOTH, trials) == pytest.approx([0, 0, 0.2 * 408 / 440])

    def test_without_a_measurement_there_is_no_reference_and_no_volume(self):
        failed = Trial(number=0, proposal=a_proposal()).failed("ValueError")

        assert objectives.reference(BOTH, [failed]) is None
        assert hypervolumes(BOTH, [failed]) == (0.0,)
        assert hypervolumes(BOTH, []) == ()

    @given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 400), st.booleans()), max_size=12))
    @settings(deadline=None)
    def test_it_never_falls_and_ends_with_the_volume_of_the_front(self, measured):
        trials = [
            paused(n, score) if pauses else a_trial(n, score, parameters=parameters)
            for n, (score, parameters, pauses) in enumerate(measured)
        ]
        found = hypervolumes(BOTH, trials)

        assert len(found) == len(trials)
        assert list(found) == sorted(found)
        if trials:
            points = [(t.score, -t.measurement.parameters) for t in trials if t.complete]
            whole = hypervolume(points, objectives.reference(BOTH, trials))
            assert found[-1] == pytest.approx(whole / (MARGIN * BOTH.ceiling))
