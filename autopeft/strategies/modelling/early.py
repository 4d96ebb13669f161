"""What short trainings tell a model."""

from collections.abc import Sequence

from autopeft.trial import Trial


def scores_by_loss(trials: Sequence[Trial]) -> list[float]:
    """Return each trial's latest score; that of a pause by the place of its loss.

    Of those that were measured at a rung, the one with the k-th lowest loss gets the k-th highest
    score. So scores stay scores, a loss out of all bounds does no harm, and what short trainings
    differ in only by chance is told by what they differ in more (see `autopeft.halving`).
    """
    found: dict[tuple[int, float], float] = {}
    for share in {trial.latest.share for trial in trials if trial.latest} - {1.0}:
        measured = {t.number: at for t in trials if (at := t.at(share))}
        by_loss = sorted(measured, key=lambda number: (measured[number].loss, number))
        scores = sorted((at.score for at in measured.values()), reverse=True)
        found |= {(number, share): score for number, score in zip(by_loss, scores, strict=True)}
    return [
        found.get((trial.number, trial.latest.share), trial.latest.score)
        for trial in trials
        if trial.latest
    ]
