"""Which trials are finalists, and what can honestly be said of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from autopeft.answer import Answer, Finalist, Interval, Verdict, counted
from autopeft.errors import StudyError
from autopeft.objectives import best, hypervolumes
from autopeft.ranking import ranking_of
from autopeft.study import Study, Task, TaskKind
from autopeft.trial import Proposal, Purpose, State, Trial

Values = NDArray[np.float64]
Score = Callable[[Values, Values], float]
RESAMPLES = 1000
MOST_SEEDS = 64
FEWEST_SEEDS = 2
# What is kept of an example where it is not one number: counts of which a score can be made.
WIDTHS: dict[TaskKind, int] = {"tokens": 3, "causal_lm": 3, "seq2seq": 3}


def finals(study: Study, trials: Sequence[Trial]) -> tuple[Proposal, ...]:
    """List the runs with fresh seeds that the finalists still need, one seed after the other.

    A run that was begun counts as there: whoever goes on with the study begins it anew.
    """
    proposals = []
    for repeat in range(1, study.finals + 1):
        for finalist in finalists(trials):
            again = replace(
                finalist.proposal,
                purpose=Purpose.FINAL,
                seed=finalist.proposal.seed + repeat,
                of=finalist.number,
            )
            known = {t.proposal.seed for t in trials if t.proposal.of == finalist.number}
            if again.seed not in known:
                proposals.append(again)
    return tuple(proposals)


def finalists(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """Return the best searched trial and the best baseline, as far as there are any.

    Of equal scores the one with fewer parameters wins, then the earlier one.
    """
    best = (_best(trials, Purpose.SEARCH), _best(trials, Purpose.BASELINE))
    return tuple(trial for trial in best if trial)


def answer(  # noqa: PLR0917  # what is compared, and what is kept with it
    study: Study,
    trials: Sequence[Trial],
    truth: Values,
    score: Score,
    warnings: Sequence[str] = (),
    prepared: float = 0.0,
) -> Answer:
    """Compare the finalists on the validation split.

    Intervals come from a bootstrap over examples and over seeds; the difference is paired over
    examples. Only seeds are used that both finalists were trained with afresh, because a trial
    that was chosen for its score owes a part of it to the luck of its seed; where there are none,
    the trials themselves are used, and below two seeds there is no verdict. What remains is the
    luck of having been chosen on these very examples, from more searched trials than baselines:
    only the test part is free of it. A baseline stands unless a searched configuration beats it
    beyond noise, reaches its mean with fewer parameters, or is all that the space allows. Finalists
    are chosen by their score whatever the objectives are: what else can be had for fewer
    parameters or less time is the front. ``warnings`` and ``prepared`` are kept with the answer.

    Raises:
        StudyError: No trial was trained to the end; the first failure is named.
    """
    searched, baseline = _best(trials, Purpose.SEARCH), _best(trials, Purpose.BASELINE)
    if not (searched or baseline):
        raise StudyError(f"study {study.id} has no answer: {_why_not(trials)}")
    seeds = _shared_seeds(trials, [trial for trial in (searched, baseline) if trial])
    samples = {
        trial.number: _resample(_runs(study, trial, trials, seeds), truth, score, study.seed)
        for trial in (searched, baseline)
        if trial
    }
    difference: Interval | None = None
    verdict: Verdict = "not compared"
    if searched and baseline:
        pair = samples[searched.number], samples[baseline.number]
        difference = _interval(pair[0][0] - pair[1][0], pair[0][1] - pair[1][1])
        verdict = _verdict(difference, len(seeds))
    return Answer(
        metric=study.task.metric,
        validation_examples=len(truth),
        trials=sum(trial.ended for trial in trials),
        searched=_finalist(study, searched, len(seeds), samples) if searched else None,
        baseline=_finalist(study, baseline, len(seeds), samples) if baseline else None,
        difference=difference,
        verdict=verdict,
        chosen=_chosen(study, searched, baseline, difference, verdict).number,
        ranking=ranking_of(study, trials),
        warnings=tuple(warnings),
        front=best(study, trials),
        hypervolumes=hypervolumes(study, trials),
        prepared=prepared,
    )


def _why_not(trials: Sequence[Trial]) -> str:
    paused = sum(trial.state is State.PAUSED for trial in trials)
    reasons = [trial.failure for trial in trials if trial.failure]
    if paused:
        found = counted(paused, "trial has", "trials have")
        return f"{found} paused and none was trained to the end: raise --time"
    if reasons:
        if len(reasons) == 1:
            return f"the only trial failed: {reasons[0]}"
        return f"all {len(reasons)} trials failed, the first with: {reasons[0]}"
    return "no trial was run: raise --trials or --time"


def _best(trials: Sequence[Trial], purpose: Purpose) -> Trial | None:
    measured = [t for t in trials if t.complete and t.proposal.purpose is purpose]
    return min(
        measured,
        key=lambda t: (-t.score, t.measurement.parameters if t.measurement else 0, t.number),
        default=None,
    )


def _chosen(
    study: Study,
    searched: Trial | None,
    baseline: Trial | None,
    difference: Interval | None,
    verdict: Verdict,
) -> Trial:
    if not (searched and baseline and difference):
        chosen = searched or baseline
    elif verdict == "better" or not study.space.covers(baseline.proposal.configuration):
        chosen = searched  # whoever restricts the space cannot use what lies outside it
    else:
        smaller = (
            searched.measurement
            and baseline.measurement
            and (searched.measurement.parameters < baseline.measurement.parameters)
        )
        chosen = searched if smaller and difference.mean >= 0 else baseline
    if chosen is None:
        raise ValueError("there is no finalist")
    return chosen


def _verdict(difference: Interval, seeds: int) -> Verdict:
    if seeds < FEWEST_SEEDS:
        return "not compared"
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else "no difference beyond noise"


def _shared_seeds(trials: Sequence[Trial], finalists: Sequence[Trial]) -> set[int]:
    """Return the fresh seeds with which every finalist was measured."""
    seeds = [
        {t.proposal.seed for t in trials if t.proposal.of == finalist.number and t.measurement}
        for finalist in finalists
    ]
    return set.intersection(*seeds)


def _runs(study: Study, trial: Trial, trials: Sequence[Trial], seeds: set[int]) -> list[Values]:
    """Return the predictions of a finalist's runs with these seeds, or of the trial itself."""
    fresh = [t for t in trials if t.proposal.of == trial.number and t.proposal.seed in seeds]
    return [
        predictions_of(study.task, t.measurement.predictions)
        for t in fresh or [trial]
        if t.measurement
    ]


def predictions_of(task: Task, stored: bytes) -> Values:
    """Return predictions as they are stored with a measurement, one row an example."""
    width = WIDTHS.get(task.kind, 1)
    values = np.frombuffer(stored, dtype=task.predicted).astype(np.float64)
    return values.reshape(-1, width) if width > 1 else values


def _resample(
    runs: Sequence[Values], truth: Values, score: Score, seed: int
) -> tuple[float, Values]:
    """Return the mean score of the runs, and its bootstrap over examples and seeds.

    Equal seeds draw equal examples, which pairs the finalists.
    """
    rng = np.random.default_rng(seed)
    mean = float(np.mean([score(truth, run) for run in runs]))
    sampled = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        rows = rng.integers(len(truth), size=len(truth))
        picked = (rng.random(MOST_SEEDS)[: len(runs)] * len(runs)).astype(int)
        sampled[i] = np.mean([score(truth[rows], runs[run][rows]) for run in picked])
    return mean, sampled


def bootstrap(runs: Sequence[Values], truth: Values, score: Score, seed: int) -> Interval:
    """Return the mean score of runs with its bootstrap interval over examples and runs."""
    return _interval(*_resample(runs, truth, score, seed))


def paired(
    first: Sequence[Values], second: Sequence[Values], truth: Values, score: Score, seed: int
) -> Interval:
    """Return how much the first runs score above the second, which had equal seeds.

    The bootstrap interval is paired over examples and over seeds.
    """
    (one, ones), (other, others) = (_resample(runs, truth, score, seed) for runs in (first, second))
    return _interval(one - other, ones - others)


def _interval(mean: float, sampled: Values) -> Interval:
    low, high = np.nanpercentile(sampled, [2.5, 97.5])
    return Interval(mean=mean, low=float(low), high=float(high))


def _finalist(
    study: Study, trial: Trial, seeds: int, samples: dict[int, tuple[float, Values]]
) -> Finalist:
    mean, sampled = samples[trial.number]
    is_baseline = trial.proposal.purpose is Purpose.BASELINE
    return Finalist(
        trial=trial.number,
        name=trial.proposal.label if is_baseline else "the searched configuration",
        parameters=trial.proposal.configuration.parameters(study.space.slots),
        seeds=seeds,
        score=_interval(mean, sampled),
    )
