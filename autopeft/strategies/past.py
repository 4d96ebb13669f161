"""The trials of a study as they were at an earlier moment, where one worker runs them in turn."""

from collections.abc import Iterable
from dataclasses import replace

from autopeft.halving import promotion
from autopeft.study import Study
from autopeft.trial import Fidelity, State, Trial


def as_of(study: Study, trials: Iterable[Trial], number: int) -> list[Trial]:
    """Return the trials before a number, at the rungs they had reached when it was proposed.

    A trial that was measured is promoted as soon as it is among the best, and before another is
    proposed; so every promotion can be followed from the measurements.
    """
    earlier = sorted((t for t in trials if t.number < number), key=lambda trial: trial.number)
    if len(study.rungs) == 1:
        return earlier
    whole = {trial.number: trial for trial in earlier}
    known: dict[int, Trial] = {}
    for trial in earlier:
        known[trial.number] = _at(study, trial, study.rungs[0])
        while better := promotion(study, known.values()):
            paused, share = better
            known[paused.number] = _at(study, whole[paused.number], share)
    return list(known.values())


def _at(study: Study, trial: Trial, share: float) -> Trial:
    """Return a trial as it was when it had been measured at a share, if it was."""
    found = trial.at(share)
    if found is None:
        return trial
    return replace(
        trial,
        proposal=replace(trial.proposal, fidelity=Fidelity(share=share)),
        state=State.COMPLETE if share >= study.rungs[-1] else State.PAUSED,
        measurement=found,
        rungs=tuple(m for m in trial.rungs if m.share < share),
        failure="",
    )
