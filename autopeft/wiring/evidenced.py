"""The evidence that goes into a plan: its scores and those of its baselines, machine and code."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from autopeft.answer import Answer, Interval
from autopeft.errors import BackboneError
from autopeft.evidence import Evidence, Held, Scored
from autopeft.selection import Score, Values, predictions_of
from autopeft.study import Study
from autopeft.trial import Purpose, Trial
from autopeft.wiring.revision import code_revision

_RESAMPLES = 200


def evidence_of(
    study: Study, trials: Sequence[Trial], answer: Answer, truth: Values, score: Score
) -> Evidence:
    """Gather what the numbers of a plan rest on.

    Intervals are bootstraps over validation examples: for one training each in ``scores``; for the
    difference to the best baseline the one of the answer, over seeds too. The other baselines were
    trained with one seed, and so there is a difference but no verdict.
    """
    from autopeft.training.hardware import this_hardware

    whole = [trial for trial in trials if trial.complete and trial.measurement]
    kept = [trial for trial in whole if _is_kept(trial, answer)]
    sampled = {t.number: _sampled(study, t, truth, score) for t in kept}
    names = {t.number: t.proposal.label for t in kept if t.proposal.purpose is Purpose.BASELINE}
    return Evidence(
        code=code_revision(),
        backbone_revision=_revision(study.where.model),
        hardware=this_hardware(),
        study_seed=study.seed,
        scores=tuple(
            Scored(
                trial=trial.number,
                purpose=trial.proposal.purpose,
                name=names.get(trial.number, ""),
                of=trial.proposal.of,
                seed=trial.proposal.seed,
                parameters=trial.proposal.configuration.parameters(study.space.slots),
                score=_interval(*sampled[trial.number]),
            )
            for trial in kept
        ),
        baselines=tuple(
            _held(study, trial, answer, sampled)
            for trial in kept
            if trial.number in names and trial.number != answer.chosen
        ),
        ranking=answer.ranking,
    )


def _is_kept(trial: Trial, answer: Answer) -> bool:
    finalists = {f.trial for f in (answer.searched, answer.baseline) if f}
    return trial.number in finalists or trial.proposal.purpose is not Purpose.SEARCH


def _held(
    study: Study, trial: Trial, answer: Answer, sampled: dict[int, tuple[float, Values]]
) -> Held:
    parameters = trial.proposal.configuration.parameters(study.space.slots)
    best = answer.baseline
    if answer.difference and best and best.trial == trial.number:
        difference, seeds, verdict = answer.difference, best.seeds, answer.verdict
    else:
        chosen, other = sampled[answer.chosen], sampled[trial.number]
        difference = _interval(chosen[0] - other[0], chosen[1] - other[1])
        seeds, verdict = 1, "not compared"
    return Held(
        trial=trial.number, name=trial.proposal.label, parameters=parameters,
        difference=difference, seeds=seeds, verdict=verdict,
    )  # fmt: skip


def _sampled(study: Study, trial: Trial, truth: Values, score: Score) -> tuple[float, Values]:
    """Return the score of a training, and a bootstrap of it; equal draws pair all trainings."""
    assert trial.measurement is not None, "only what is complete is sampled"
    run = predictions_of(study.task, trial.measurement.predictions)
    rng = np.random.default_rng(study.seed)
    rows = rng.integers(len(truth), size=(_RESAMPLES, len(truth)))
    return trial.measurement.score, np.array([score(truth[drawn], run[drawn]) for drawn in rows])


def _interval(mean: float, sampled: Values) -> Interval:
    low, high = np.nanpercentile(sampled, [2.5, 97.5])
    return Interval(mean=mean, low=float(low), high=float(high))


def _revision(model: str) -> str | None:
    from autopeft.training.model_files import find_model, revision_of

    with suppress(BackboneError):  # it may lie elsewhere by now, and nothing here needs it
        return revision_of(find_model(model))
    return None
