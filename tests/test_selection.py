"""Which trials are finalists, and what is said of them."""

from dataclasses import replace

import numpy as np
import pytest

from autopeft.answer import Interval
from autopeft.errors import StudyError
from autopeft.ranking import PROBE
from autopeft.search_spaces.configuration import Configuration
from autopeft.selection import answer, bootstrap, finalists, finals
from autopeft.trial import Fidelity, Purpose, Trial
from tests.builders import TASK, a_measurement, a_proposal, a_study, a_trial

STUDY = a_study(finals=2)
N = 40
TRUTH = np.tile([0.0, 1.0], N // 2)


def accuracy(truth, predictions) -> float:
    return float(np.mean(truth == predictions))


def right(count: int) -> list[int]:
    """Predict the first examples rightly and the others wrongly."""
    return [int(y) if i < count else 1 - int(y) for i, y in enumerate(TRUTH)]


def searched(number: int, hits: int, *, parameters: int = 32, ranks=(1, 1)) -> Trial:
    return a_trial(number, hits / N, ranks=ranks, predictions=right(hits), parameters=parameters)


def baseline(number: int, hits: int, *, parameters: int = 32, ranks=(1, 1)) -> Trial:
    return a_trial(
        number, hits / N, ranks=ranks, predictions=right(hits), parameters=parameters,
        purpose=Purpose.BASELINE, label="plain LoRA",
    )  # fmt: skip


def final(number: int, of: int, hits: int, *, seed: int = 1) -> Trial:
    return a_trial(
        number, hits / N, predictions=right(hits), purpose=Purpose.FINAL, seed=seed, of=of
    )


def confirmed(*finalists: Trial) -> list[Trial]:
    """Return finalists with two fresh seeds each that repeat their predictions."""
    runs = [
        replace(
            finalist,
            number=10 * seed + finalist.number,
            proposal=replace(
                finalist.proposal, purpose=Purpose.FINAL, seed=seed, of=finalist.number
            ),
        )
        for seed in (1, 2)
        for finalist in finalists
    ]
    return [*finalists, *runs]


def paused(number: int) -> Trial:
    proposal = a_proposal(fidelity=Fidelity(share=0.1))
    return Trial(number=number, proposal=proposal).started().done(a_measurement(0.99))


def asked(*trials: Trial, study=STUDY):
    return answer(study, trials, TRUTH, accuracy)


class TestFinalists:
    """The best searched trial and the best baseline."""

    def test_they_are_the_best_of_each_purpose(self):
        trials = [baseline(0, 30), baseline(1, 33), searched(2, 35), searched(3, 34)]

        assert [t.number for t in finalists(trials)] == [2, 1]

    def test_of_equal_scores_the_one_with_fewer_parameters_wins_then_the_earlier(self):
        trials = [
            searched(0, 35, parameters=48),
            searched(1, 35, parameters=32),
            searched(2, 35, parameters=32),
        ]

        assert [t.number for t in finalists(trials)] == [1]

    def test_finals_are_no_finalists_however_lucky_they_are(self):
        assert [t.number for t in finalists([searched(0, 30), final(1, 0, 40)])] == [0]

    def test_what_has_paused_is_no_finalist_however_well_it_began(self):
        assert [t.number for t in finalists([paused(0), searched(1, 30)])] == [1]

    def test_the_score_decides_whatever_the_objectives_are(self):
        """The small one stays on the front."""
        study = a_study(finals=2, objectives=("score", "params"))
        trials = [searched(0, 30, parameters=8), searched(1, 35, parameters=300)]

        found = asked(*trials, study=study)

        assert found.searched.trial == 1
        assert found.front == (0, 1)

    def test_failures_are_no_finalists(self):
        failed = Trial(number=0, proposal=a_proposal()).failed("ValueError")

        assert finalists([failed, searched(1, 3)]) == (searched(1, 3),)
        assert finalists([failed]) == ()


class TestFinals:
    """The runs with fresh seeds that are still needed."""

    def test_each_finalist_is_run_with_as_many_seeds_as_the_study_says(self):
        """Seed by seed, so that the finalists have equally many when time runs out."""
        trials = [baseline(0, 30), searched(1, 35)]

        assert [(p.of, p.seed, p.purpose) for p in finals(STUDY, trials)] == [
            (of, seed, Purpose.FINAL) for seed in (1, 2) for of in (1, 0)
        ]

    @pytest.mark.parametrize("state", ["waiting", "running", "failed", "complete"])
    def test_what_was_begun_is_not_proposed_again(self, state):
        waiting = replace(final(2, 1, 35), measurement=None, state="waiting")
        known = {
            "waiting": waiting,
            "running": waiting.started(),
            "failed": waiting.failed("ValueError"),
            "complete": final(2, 1, 35),
        }[state]

        needed = finals(STUDY, [baseline(0, 30), searched(1, 35), known])

        assert [(p.of, p.seed) for p in needed] == [(0, 1), (1, 2), (0, 2)]

    def test_a_finalist_that_was_overtaken_leaves_its_finals_behind(self):
        trials = [searched(0, 30), final(1, 0, 30), final(2, 0, 30, seed=2), searched(3, 36)]

        assert [(p.of, p.seed) for p in finals(STUDY, trials)] == [(3, 1), (3, 2)]

    def test_a_final_differs_from_its_finalist_in_seed_and_purpose_alone(self):
        trial = searched(0, 30, ranks=(4, 2))

        proposal = finals(STUDY, [trial])[0]

        assert replace(proposal, purpose=Purpose.SEARCH, seed=0, of=None) == trial.proposal

    def test_without_fresh_seeds_or_finalists_there_are_none(self):
        assert finals(a_study(finals=0), [searched(0, 30)]) == ()
        assert finals(STUDY, []) == ()


class TestVerdict:
    """Better, worse, or no difference beyond noise."""

    def test_a_large_difference_is_better(self):
        found = asked(*confirmed(baseline(0, 20), searched(1, 38)))

        assert found.verdict == "better"
        assert found.difference.mean == pytest.approx(18 / N)
        assert 0 < found.difference.low < 18 / N < found.difference.high
        assert found.chosen == 1

    def test_a_large_difference_the_other_way_is_worse(self):
        found = asked(*confirmed(baseline(0, 38), searched(1, 20)))

        assert found.verdict == "worse"
        assert found.difference.high < 0
        assert found.chosen == 0

    @pytest.mark.parametrize("hits", [31, 32, 33])
    def test_one_example_more_or_less_is_no_difference_beyond_noise(self, hits):
        found = asked(*confirmed(baseline(0, 32), searched(1, hits)))

        assert found.verdict == "no difference beyond noise"
        assert found.difference.low <= 0 <= found.difference.high

    def test_the_difference_is_paired_over_examples(self):
        """Six gained and none lost is more than noise, though the scores' intervals overlap."""
        found = asked(*confirmed(baseline(0, 26), searched(1, 32)))

        assert found.verdict == "better"
        assert found.searched.score.low < found.baseline.score.high

    @pytest.mark.parametrize(
        ("hits", "parameters", "chosen"),
        [(33, 16, 1), (32, 16, 1), (31, 16, 0), (33, 32, 0), (33, 48, 0)],
        ids=[
            "higher, smaller",
            "equal, smaller",
            "lower, smaller",
            "higher, equal",
            "higher, larger",
        ],
    )
    def test_within_noise_a_baseline_stands_unless_its_mean_is_reached_with_fewer_parameters(
        self, hits, parameters, chosen
    ):
        found = asked(
            *confirmed(baseline(0, 32, parameters=32), searched(1, hits, parameters=parameters))
        )

        assert found.verdict == "no difference beyond noise"
        assert found.chosen == chosen

    @pytest.mark.parametrize(
        "trial", [baseline(0, 30), searched(0, 30)], ids=["baseline", "searched"]
    )
    def test_a_finalist_alone_is_chosen_and_compared_with_nothing(self, trial):
        found = asked(trial)

        assert (found.verdict, found.difference, found.chosen) == ("not compared", None, 0)


class TestSeeds:
    """Fresh seeds count, and not the trial that was chosen for its luck."""

    def test_the_score_is_the_mean_of_the_fresh_seeds(self):
        found = asked(searched(0, 40), final(1, 0, 30), final(2, 0, 34, seed=2))

        assert found.searched.score.mean == pytest.approx(32 / N)
        assert found.searched.seeds == 2
        assert found.searched.score.low < 30 / N < 34 / N < found.searched.score.high

    def test_luck_that_fresh_seeds_do_not_repeat_makes_nothing_better(self):
        chosen = [baseline(0, 30), searched(1, 40)]
        repeats = [final(10 * s + of, of, 30, seed=s) for s in (1, 2) for of in (0, 1)]

        assert asked(*confirmed(*chosen)).verdict == "better"
        assert asked(*chosen, *repeats).verdict == "no difference beyond noise"

    @pytest.mark.parametrize("seeds", [0, 1])
    def test_below_two_fresh_seeds_there_is_no_verdict(self, seeds):
        """One run says nothing of the noise between runs, however large the difference."""
        trials = [baseline(0, 10), searched(1, 40)]
        repeats = [final(5, 0, 10), final(6, 1, 40)] if seeds else []

        found = asked(*trials, *repeats)

        assert (found.verdict, found.chosen) == ("not compared", 0)
        assert "too few to tell it from" in found.sentence()

    def test_only_seeds_that_both_have_are_compared(self):
        """A finalist whose run failed, or was never begun, is not held against a lucky one."""
        trials = confirmed(baseline(0, 30), searched(1, 30))
        lucky = final(40, 1, 40, seed=3)

        found = asked(*trials, lucky)

        assert (found.searched.seeds, found.baseline.seeds) == (2, 2)
        assert found.searched.score.mean == pytest.approx(30 / N)

    def test_what_lies_outside_the_space_is_never_chosen(self):
        """Whoever allows only some slots cannot use a baseline that needs others."""
        other = Configuration(
            tuple((0, *row[1:-1], 3) for row in searched(0, 1).proposal.configuration.sizes)
        )
        outside = baseline(0, 40)
        outside = replace(outside, proposal=replace(outside.proposal, configuration=other))
        genes = tuple(g for g in STUDY.space.genes if all(c == 0 for _, c in g.cells))
        study = a_study(finals=2, space=replace(STUDY.space, genes=genes))

        found = asked(*confirmed(outside, searched(1, 20, ranks=(1, 1))), study=study)

        assert (found.verdict, found.chosen) == ("worse", 1)
        assert "outside the search space" in found.sentence()

    def test_without_fresh_seeds_the_trial_itself_is_used_and_the_answer_says_so(self):
        failed = final(1, 0, 0).failed("ValueError: diverged")
        failed = replace(failed, measurement=None)

        found = asked(searched(0, 36), failed)

        assert (found.searched.seeds, found.searched.score.mean) == (0, 36 / N)
        assert "its own seed" in found.sentence()

    def test_seeds_that_differ_widen_the_interval(self):
        steady = asked(searched(0, 30), final(1, 0, 30), final(2, 0, 30, seed=2)).searched.score
        shaky = asked(searched(0, 30), final(1, 0, 22), final(2, 0, 38, seed=2)).searched.score

        assert shaky.mean == pytest.approx(steady.mean)
        assert shaky.high - shaky.low > 1.2 * (steady.high - steady.low)


def test_an_answer_counts_what_it_is_based_on():
    waiting = Trial(number=3, proposal=a_proposal())
    failed = Trial(number=2, proposal=a_proposal()).failed("ValueError")

    found = asked(baseline(0, 30), searched(1, 38, ranks=(4, 0)), failed, waiting)

    assert (found.metric, found.validation_examples, found.trials) == ("accuracy", N, 3)
    assert (found.searched.name, found.baseline.name) == (
        "the searched configuration",
        "plain LoRA",
    )
    assert (found.searched.parameters, found.baseline.parameters) == (64, 32)


def test_an_answer_holds_the_front_and_what_it_covers_after_each_trial():
    """The baseline's score and 440 parameters are the reference; the smallest is below it."""
    trials = [baseline(0, 30), searched(1, 36, parameters=40), searched(2, 20, parameters=8)]

    found = asked(*trials, final(3, 1, 40))

    assert found.front == (0, 1, 2)
    assert found.hypervolumes == pytest.approx((0, *[6 / N * 400 / 440] * 3))


def test_an_answer_holds_how_far_inherited_scores_put_trials_in_order():
    probes = [
        replace(t, proposal=replace(t.proposal, label=PROBE, inherited=t.score))
        for t in (searched(n, 20 + 2 * n) for n in range(6))
    ]

    found = asked(baseline(6, 30), *probes)

    assert (found.ranking.pairs, found.ranking.tau.mean) == (6, pytest.approx(1.0))
    assert found.searched.name == "the searched configuration"
    assert asked(baseline(0, 30)).ranking is None


def test_an_answer_keeps_the_warnings_that_it_is_given():
    found = answer(STUDY, [searched(0, 30)], TRUTH, accuracy, ["the supernet was given up: why"])

    assert found.warnings == ("the supernet was given up: why",)


def test_the_same_trials_give_the_same_answer():
    trials = baseline(0, 30), searched(1, 33), final(2, 1, 32), final(3, 0, 30)

    assert asked(*trials) == asked(*trials)


def test_the_bootstrap_depends_on_the_seed_alone():
    """Squares of forty different numbers: resampled means hardly ever fall together."""
    runs = [np.linspace(0, 1, N), np.linspace(0, 2, N)]

    first, again, other = (
        bootstrap(runs, TRUTH, lambda truth, made: float(np.mean((truth - made) ** 2)), seed)
        for seed in (0, 0, 1)
    )

    assert first == again != other
    assert first.mean == other.mean


@pytest.mark.parametrize(
    ("kind", "form", "labels"),
    [("tokens", "<i4", ("O", "B-X")), ("causal_lm", "<f4", ()), ("seq2seq", "<f4", ())],
)
def test_where_several_numbers_are_kept_of_an_example_they_are_drawn_together(kind, form, labels):
    """Here the first over the second, summed over the examples that were drawn."""
    study = a_study(task=replace(TASK, kind=kind, labels=labels))
    kept = np.stack([np.arange(len(TRUTH)), np.full(len(TRUTH), 2), TRUTH], 1).astype(form)
    trial = searched(0, 30)
    trial = trial.done(replace(trial.measurement, predictions=kept.tobytes()))

    def score(_truth, made):
        assert made.shape == (len(TRUTH), 3)
        return float(made[:, 0].sum() / made[:, 1].sum())

    found = answer(study, [trial], TRUTH, score).searched.score

    assert found.mean == pytest.approx((len(TRUTH) - 1) / 4)
    assert found.low < found.mean < found.high


def test_predictions_of_a_regression_are_read_as_numbers():
    study = a_study(task=replace(TASK, kind="regression", metric="spearman", labels=()))
    values = TRUTH.astype("<f4") + 0.25
    trial = searched(0, 30)
    trial = trial.done(replace(trial.measurement, predictions=values.tobytes()))

    found = answer(study, [trial], TRUTH, lambda truth, made: -float(np.abs(truth - made).mean()))

    assert found.searched.score == Interval(mean=-0.25, low=-0.25, high=-0.25)


@pytest.mark.parametrize(
    ("trials", "why"),
    [
        ([], r"no trial was run: raise --trials or --time"),
        (
            [
                Trial(number=0, proposal=a_proposal()).failed("ValueError: shapes differ"),
                Trial(number=1, proposal=a_proposal()).out_of_memory("MemoryError"),
            ],
            "all 2 trials failed, the first with: ValueError: shapes differ",
        ),
        ([Trial(number=0, proposal=a_proposal()).failed("odd")], "the only trial failed: odd"),
        ([paused(0)], "1 trial has paused and none was trained to the end: raise --time"),
        (
            [
                paused(0),
                paused(1),
                Trial(number=2, proposal=a_proposal()).failed("ValueError: shapes differ"),
            ],
            "2 trials have paused and none was trained to the end: raise --time",
        ),
    ],
)
def test_a_study_without_a_measurement_has_no_answer_and_says_why(trials, why):
    with pytest.raises(StudyError, match=rf"study {STUDY.id} has no answer: {why}"):
        answer(STUDY, trials, TRUTH, accuracy)


def test_the_bootstrap_has_the_width_of_the_binomial():
    """75% of 400 examples: 1.96 standard deviations are 0.0424, resampled to about a tenth."""
    truth = np.zeros(400)
    predictions = np.repeat([0.0, 1.0], [300, 100])

    interval = bootstrap([predictions], truth, accuracy, seed=0)

    assert interval.mean == 0.75
    assert interval.high - interval.low == pytest.approx(2 * 0.0424, rel=0.1)


@pytest.mark.slow
def test_intervals_cover_the_true_score_about_as_often_as_they_say():
    """300 validation splits of 100 examples that a model gets right four times in five.

    The percentile bootstrap of 100 examples covers a little less than 95%; four standard
    deviations of 300 trials at 94% are 5.5 points.
    """
    rng, truth = np.random.default_rng(0), np.zeros(100)
    covered = 0
    for seed in range(300):
        wrong = (rng.random(100) < 0.2).astype(float)
        interval = bootstrap([wrong], truth, accuracy, seed)
        covered += interval.low <= 0.8 <= interval.high

    assert 0.885 < covered / 300 < 0.995
