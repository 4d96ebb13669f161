"""How far inherited scores can be trusted."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from autopeft.answer import Interval, Ranking
from autopeft.ranking import FEWEST_PAIRS, PROBE, correlations, ranking_of, trust
from autopeft.trial import Fidelity, Purpose, Trial
from tests.builders import a_measurement, a_proposal, a_study, a_trial

RUNGS = (0.1, 0.3, 1.0)
STUDY = a_study(rungs=RUNGS)
UNKNOWN = Interval(mean=0.0, low=-1.0, high=1.0)


def probe(number, inherited, *scores, **changes):
    """Return a probe that was measured at one rung after another."""
    proposal = a_proposal(label=PROBE, inherited=inherited, fidelity=Fidelity(share=RUNGS[0]))
    trial = Trial(number=number, proposal=replace(proposal, **changes))
    for rung, score in enumerate(scores):
        trial = trial.promoted(RUNGS[rung]) if rung else trial
        trial = trial.started().done(replace(a_measurement(score), share=RUNGS[rung]))
    return trial


def probes(*pairs):
    return [probe(n, inherited, score) for n, (inherited, score) in enumerate(pairs)]


class TestCorrelations:
    """Both, as scipy has them."""

    @given(st.lists(st.tuples(*[st.integers(0, 4).map(float)] * 2), min_size=3, max_size=12))
    @settings(deadline=None, max_examples=30)
    def test_they_are_those_of_scipy_with_ties_too(self, pairs):
        tau, rho = correlations(pairs, seed=0)
        first, second = zip(*pairs, strict=True)

        if len(set(first)) == 1 or len(set(second)) == 1:
            assert tau == rho == UNKNOWN
        else:
            assert tau.mean == pytest.approx(kendalltau(first, second).statistic)
            assert rho.mean == pytest.approx(spearmanr(first, second).statistic)

    @given(st.lists(st.tuples(*[st.floats(-1, 1)] * 2), min_size=3, max_size=12))
    @settings(deadline=None, max_examples=30)
    def test_intervals_stay_within_what_a_correlation_can_be(self, pairs):
        for found in correlations(pairs, seed=0):
            assert -1 - 1e-9 <= found.low <= found.high <= 1 + 1e-9

    @pytest.mark.parametrize(("sign", "expected"), [(1, 1.0), (-1, -1.0)])
    def test_the_same_order_is_one_and_the_reverse_is_minus_one(self, sign, expected):
        for found in correlations([(n, sign * n**3) for n in range(6)], seed=0):
            assert (
                tuple(map(round, (found.mean, found.low, found.high), [9] * 3)) == (expected,) * 3
            )

    def test_the_bootstrap_depends_on_the_seed_alone(self):
        pairs = [(0.0, 1.0), (1.0, 0.0), (2.0, 2.0), (3.0, 4.0), (4.0, 3.0), (5.0, 5.5), (6.0, 5.0)]

        first, again, other = (correlations(pairs, seed) for seed in (0, 0, 1))

        assert first == again
        assert first[0].mean == other[0].mean
        assert first != other

    def test_more_pairs_of_the_same_quality_narrow_the_interval(self):
        rng = np.random.default_rng(0)
        x = rng.standard_normal(60)
        pairs = [*zip(x, x + rng.standard_normal(60), strict=True)]
        few, many = (correlations(pairs[:n], seed=0)[0] for n in (10, 60))

        assert many.high - many.low < 0.6 * (few.high - few.low)

    @pytest.mark.parametrize(
        "pairs",
        [
            [],
            [(0.0, 1.0)],
            [(0.0, 1.0), (1.0, 2.0)],
            [(0.5, 1.0), (0.5, 2.0), (0.5, 3.0)],
            [(1.0, 0.5), (2.0, 0.5), (3.0, 0.5)],
        ],
        ids=["none", "one", "two", "equal inherited", "equal real"],
    )
    def test_what_has_no_order_says_nothing(self, pairs):
        assert correlations(pairs, seed=0) == (UNKNOWN, UNKNOWN)


class TestProbes:
    """Which scores are held against each other."""

    def test_without_probes_that_were_measured_there_is_no_ranking(self):
        waiting = Trial(number=0, proposal=a_proposal(label=PROBE, inherited=0.5))

        assert ranking_of(STUDY, []) is None
        assert ranking_of(STUDY, [waiting, waiting.failed("ValueError")]) is None

    def test_only_probes_count_and_their_finals_do_not(self):
        three = probes((0.1, 1.0), (0.2, 2.0), (0.3, 3.0))
        others = [
            a_trial(7, 0.1, inherited=9.0),
            probe(8, 9.0, 0.1, purpose=Purpose.FINAL, of=0),
            probe(9, None, 0.1),
            probe(10, 9.0),
        ]

        found = ranking_of(STUDY, [*three, *others])

        assert (found.pairs, found.tau.mean, found.share) == (3, pytest.approx(1.0), 0.1)

    def test_scores_are_compared_at_the_smallest_share_that_all_have(self):
        """Trained further, the first falls behind; that is not what the others are held to."""
        found = ranking_of(STUDY, [probe(0, 0.9, 3.0, 0.5), probe(1, 0.5, 2.0), probe(2, 0.1, 1.0)])

        assert (found.share, found.tau.mean) == (0.1, pytest.approx(1.0))

    def test_a_probe_that_failed_on_its_way_up_keeps_its_first_score(self):
        late = probe(0, 0.9, 3.0).promoted(0.3).started().failed("ValueError")

        assert ranking_of(STUDY, [late, *probes((0.1, 1.0), (0.5, 2.0))]).pairs == 3

    def test_without_rungs_probes_are_compared_at_the_end_of_their_training(self):
        trials = [a_trial(n, n / 9, label=PROBE, inherited=n / 5) for n in range(4)]

        found = ranking_of(a_study(), trials)

        assert (found.share, found.pairs, found.tau.mean) == (1.0, 4, pytest.approx(1.0))

    def test_a_score_that_is_no_number_is_left_out(self):
        three = probes((0.1, 1.0), (0.2, 2.0), (0.3, 3.0))

        found = ranking_of(STUDY, [*three, probe(7, 0.9, float("nan")), probe(8, float("nan"), 0)])

        assert (found.pairs, found.tau.mean) == (3, pytest.approx(1.0))


class TestTrust:
    """Whether inherited scores may guide."""

    @pytest.mark.parametrize(
        ("low", "pairs", "expected"),
        [
            (0.2, 6, "guides"),
            (0.2, FEWEST_PAIRS, "guides"),
            (1.0, FEWEST_PAIRS - 1, "unsure"),
            (0.0, 6, "unsure"),
            (-0.3, 60, "unsure"),
        ],
    )
    def test_it_takes_enough_pairs_and_a_tau_that_is_above_chance(self, low, pairs, expected):
        tau = Interval(mean=0.7, low=low, high=1.0)

        assert trust(Ranking(tau=tau, rho=tau, pairs=pairs, share=1.0)) == expected

    def test_without_a_ranking_nothing_is_sure(self):
        assert trust(None) == "unsure"

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("correlation", "pairs", "least", "most"),
        [(0.0, 6, 0.0, 0.02), (0.9, 6, 0.4, 0.7), (0.9, 10, 0.75, 0.97)],
    )
    def test_noise_hardly_ever_guides_and_a_good_order_mostly_does(
        self, correlation, pairs, least, most
    ):
        """A correlation of 0.9 is a tau of 0.71. Bounds are three deviations of 400 draws wide."""
        rng, guided = np.random.default_rng(0), 0
        for seed in range(400):
            x, noise = rng.standard_normal((2, pairs))
            y = correlation * x + np.sqrt(1 - correlation**2) * noise
            tau, rho = correlations([*zip(x, y, strict=True)], seed)
            guided += trust(Ranking(tau=tau, rho=rho, pairs=pairs, share=1.0)) == "guides"

        assert least <= guided / 400 <= most
