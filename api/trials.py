"""Trials as they go over the wire, and what they amount to together."""

from collections.abc import Sequence
from typing import Any

from autopeft.objectives import axes, best, figures, hypervolumes, measurements, reference
from autopeft.records import to_json
from autopeft.report.writing import what
from autopeft.resources.answers import (
    ParetoResource,
    PointResource,
    TrialDetail,
    TrialResource,
    TrialState,
)
from autopeft.service.job import Job
from autopeft.study import Objective, Study
from autopeft.trial import Measurement, Purpose, State, Trial
from autopeft.wiring.hidden import Hidden


def state_of(trial: Trial, job: Job) -> TrialState:
    """Tell where a trial stands, seen with the job that it is a part of.

    One that was running when its worker stopped is preempted, and so is one that waits to be tried
    again. One that paused at a rung is pruned when the job has ended, for it will not go on.
    """
    match trial.state:
        case State.RUNNING:
            return "running" if job.state.held else "preempted"
        case State.WAITING:
            return "preempted" if trial.attempts else "waiting"
        case State.PAUSED:
            return "pruned" if job.state.ended else "paused"
        case State.OOM:
            return "oom"
        case State.FAILED:
            return "failed"
        case State.COMPLETE:
            return "complete"


def front_of(study: Study, trials: Sequence[Trial]) -> frozenset[int]:
    """Return the numbers of the trials that no other beats in all objectives."""
    return frozenset(best(study, trials))


def a_trial(
    study: Study, trial: Trial, job: Job, front: frozenset[int], hidden: Hidden
) -> TrialResource:
    """Present a trial."""
    return TrialResource(**_fields(study, trial, job, front, hidden))


def a_trial_in_full(
    study: Study, trial: Trial, job: Job, front: frozenset[int], hidden: Hidden
) -> TrialDetail:
    """Present a trial with its table, its recipe and all that was measured."""
    latest = trial.measurement
    return TrialDetail(
        **_fields(study, trial, job, front, hidden),
        slots=[slot.name for slot in study.space.slots],
        sizes=[list(row) for row in trial.proposal.configuration.sizes],
        recipe=to_json(trial.proposal.recipe),
        rungs=[_measured(rung) for rung in trial.rungs],
        measurement=_measured(latest) if latest else None,
    )


def _fields(
    study: Study, trial: Trial, job: Job, front: frozenset[int], hidden: Hidden
) -> dict[str, Any]:
    proposal, latest, found = trial.proposal, trial.latest, measurements(trial)
    return {
        "number": trial.number,
        "state": state_of(trial, job),
        "purpose": proposal.purpose.value,
        "label": proposal.label,
        "of": proposal.of,
        "score": latest.score if latest else None,
        "parameters": proposal.configuration.parameters(study.space.slots),
        "share": latest.share if latest else None,
        "seconds": sum(m.seconds for m in found) if found else None,
        "inherited": proposal.inherited,
        "attempts": trial.attempts,
        "failure": hidden.text(trial.failure),
        "front": trial.number in front,
    }


def _measured(measurement: Measurement) -> dict[str, Any]:
    fields = to_json(measurement)
    del fields["predictions"]
    return fields


def pareto(study: Study, trials: Sequence[Trial], job: Job) -> ParetoResource:
    """Present the front of a search, what it covers, and what it is held against."""
    numbers, least = front_of(study, trials), reference(study, trials)
    measured = [(trial, trial.latest) for trial in trials]
    volumes = hypervolumes(study, trials)
    return ParetoResource(
        search=job.id,
        metric=study.task.metric,
        objectives=list(axes(study)),
        ceiling=study.ceiling,
        budget=study.budget.text,
        reference=_spoken(axes(study), least) if least else None,
        hypervolume=max(volumes, default=0.0),
        hypervolumes=list(volumes),
        points=[_point(study, t, m, job, t.number in numbers) for t, m in measured if m],
    )


def _spoken(names: Sequence[Objective], values: Sequence[float]) -> dict[str, float | None]:
    pairs = zip(names, values, strict=True)
    return {name: value if name == "score" else abs(value) for name, value in pairs}


def _point(
    study: Study, trial: Trial, measured: Measurement, job: Job, front: bool
) -> PointResource:
    return PointResource(
        trial=trial.number,
        state=state_of(trial, job),
        purpose=trial.proposal.purpose.value,
        label=what(study, trial),
        baseline=trial.proposal.purpose is Purpose.BASELINE,
        values={str(axis): value for axis, value in figures(study, measured).items()},
        share=measured.share,
        front=front,
    )
