"""How far inherited scores can be trusted."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from autopeft.answer import Interval, Ranking
from autopeft.ranking import FEWEST_PAIRS, PROBE, chance, correlations, ranking_of, trust
from autopeft.trial import Fidelity, Purpose, Trial
from tests.builders import a_measurement, a_proposal, a_study, a_trial

RUNGS = (0.1, 0.3, 1.0)
STUDY = a_study(rungs=RUNGS)
UNKNOWN = Interval(mean=0.0, low=-1.0, high=1.0)


def probe(number, inherited, *scores, **changes):
    """Return a probe that was measured at one rung after another; its loss is minus its score."""
    proposal = a_proposal(label=PROBE, inherited=inherited, fidelity=Fidelity(share=RUNGS[0]))
    trial = Trial(number=number, proposal=replace(proposal, **changes))
    for rung, score in enumerate(scores):
        trial = trial.promoted(RUNGS[rung]) if rung else trial
        measured = replace(a_measurement(score), share=RUNGS[rung], loss=-score)
        trial = trial.started().done(measured)
    return trial


def probes(*pairs):
    return [probe(n, inherited, score) for n, (inherited, score) in enumerate(pairs)]


def one_with(mean, pairs):
    tau = Interval(mean=mean, low=-1.0, high=1.0)
    return Ranking(tau=tau, rho=tau, pairs=pairs, share=1.0)


def with_loss(number, *, share, score, loss):
    """Return a probe that was measured at a share, with a better inherited score than the last."""
    proposal = a_proposal(label=PROBE, inherited=number / 9, fidelity=Fidelity(share=share))
    measured = replace(a_measurement(score), share=share, loss=loss)
    return Trial(number=number, proposal=proposal).started().done(measured)


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
            assert found.mean == pytest.approx(expected)
            assert pytest.approx(expected) in (found.low, found.high)

    def test_an_interval_holds_what_one_more_probe_could_make_of_it(self):
        """Six in the same order and a seventh at the wrong end: 6 of its 21 pairs are swapped."""
        tau, rho = correlations([(n, n) for n in range(6)], seed=0)
        seven = [*range(6), 6], [*range(1, 7), 0]

        assert (tau.low, tau.high) == (pytest.approx(9 / 21), pytest.approx(1.0))
        assert tau.low == pytest.approx(kendalltau(*seven).statistic)
        assert rho.low == pytest.approx(spearmanr(*seven).statistic)

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

    def test_at_a_lower_rung_the_loss_stands_for_the_score(self):
        """All predict alike there, and only how sure they are of it tells them apart."""
        trials = [with_loss(n, share=0.1, score=0.5, loss=1 - n / 9) for n in range(5)]

        found = ranking_of(STUDY, trials)

        assert (found.against, found.tau.mean) == ("loss", pytest.approx(1.0))

    def test_at_the_end_the_score_counts_and_the_loss_among_equal_ones(self):
        scores = (0.1, 0.2, 0.2, 0.3)
        trials = [with_loss(n, share=1.0, score=s, loss=0.9 - s**n) for n, s in enumerate(scores)]
        equal = [with_loss(n, share=1.0, score=0.5, loss=1 - n / 9) for n in range(4)]

        found = ranking_of(a_study(), trials)

        assert found.against == "score"
        assert found.tau.mean == pytest.approx(4 / 6)  # the equal two are the wrong way round
        assert ranking_of(a_study(), equal).tau.mean == pytest.approx(1.0)

    def test_a_score_that_is_no_number_is_left_out(self):
        three = probes((0.1, 1.0), (0.2, 2.0), (0.3, 3.0))

        found = ranking_of(STUDY, [*three, probe(7, 0.9, float("nan")), probe(8, float("nan"), 0)])

        assert (found.pairs, found.tau.mean) == (3, pytest.approx(1.0))


class TestTrust:
    """Whether inherited scores may guide."""

    @pytest.mark.parametrize(
        ("swapped", "pairs", "expected"),
        [
            (2, 6, "guides"),
            (3, 6, "unsure"),
            (1, FEWEST_PAIRS, "guides"),
            (0, FEWEST_PAIRS - 1, "unsure"),
            (60 * 59 // 4, 60, "unsure"),
        ],
    )
    def test_it_takes_enough_pairs_and_an_order_that_is_rare_by_chance(
        self, swapped, pairs, expected
    ):
        found = one_with(1 - 4 * swapped / pairs / (pairs - 1), pairs)

        assert trust(found) == expected

    @pytest.mark.parametrize("pairs", [3, 5, 6])
    def test_chance_is_the_share_of_all_orders(self, pairs):
        taus = [kendalltau(range(pairs), o).statistic for o in permutations(range(pairs))]

        for tau in set(taus):
            share = np.mean([other >= tau - 1e-9 for other in taus])
            assert chance(one_with(tau, pairs)) == pytest.approx(share)

    def test_without_a_ranking_nothing_is_sure(self):
        assert trust(None) == "unsure"

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("tau", "pairs", "least", "most"),
        [(0.0, 6, 0.0, 0.052), (0.7, 6, 0.55, 0.70), (0.7, 10, 0.88, 0.98)],
    )
    def test_noise_hardly_ever_guides_and_a_good_order_mostly_does(self, tau, pairs, least, most):
        """Bounds are three deviations of 400 draws wide."""
        rng, correlation, guided = np.random.default_rng(0), np.sin(np.pi * tau / 2), 0
        held = 0
        for seed in range(400):
            x, noise = rng.standard_normal((2, pairs))
            y = correlation * x + np.sqrt(1 - correlation**2) * noise
            found, rho = correlations([*zip(x, y, strict=True)], seed)
            ranking = Ranking(tau=found, rho=rho, pairs=pairs, share=1.0)
            guided += trust(ranking) == "guides"
            held += found.low <= tau <= found.high

        assert least <= guided / 400 <= most
        assert held / 400 >= 0.93
