"""Several objectives at once: what a trial is worth in each, and who is not beaten in all of them.

Everything is maximised: what shall be small is negated. What is no number is worse than any.

Axes: N points, K objectives.
"""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from autopeft.study import Objective, Study
from autopeft.trial import Measurement, Purpose, Trial

Values = NDArray[np.float64]
Points = Sequence[Sequence[float]] | Values
MARGIN = 1.1
"""So many times the bound of a cost is its reference: what just keeps the bound counts too."""


def values(study: Study, trial: Trial) -> tuple[float, ...] | None:
    """Return what a trial's latest measurement is worth in each objective; None without one."""
    return worth(study.objectives, trial.latest) if trial.latest else None


def worth(objectives: Iterable[Objective], measured: Measurement) -> tuple[float, ...]:
    """Return what a measurement is worth in each objective.

    Raises:
        ValueError: An objective was not measured.
    """
    return tuple(_worth(objective, measured) for objective in objectives)


def _worth(objective: Objective, measured: Measurement) -> float:
    if objective == "score":
        return measured.score
    if objective == "params":
        return -float(measured.parameters)
    found: float | None = getattr(measured, objective)
    if found is None:
        raise ValueError(f"the trial was measured without its {objective}")
    return -found


def measurements(trial: Trial) -> tuple[Measurement, ...]:
    """Return all that was measured of a trial, a rung after the other."""
    return (*trial.rungs, *([trial.measurement] if trial.measurement else []))


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Tell whether one point is at least as good in every objective, and better in one."""
    pairs = list(zip(one, other, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def ranks(points: Points) -> list[int]:
    """Return each point's non-dominated rank: 0 on the front, 1 on the front without those, ...

    With one objective it is the place in the order, equal values at the same one.
    """
    if len(points) and len(points[0]) == 1:
        values_N = np.asarray(points, dtype=np.float64)[:, 0]
        values_N = np.where(np.isnan(values_N), -np.inf, values_N)
        places_N: NDArray[np.int64] = np.unique(-values_N, return_inverse=True)[1]
        return [int(place) for place in places_N]
    better_NN = _better(points)
    found, left, rank = [0] * len(points), np.arange(len(points)), 0
    while len(left):
        beaten = better_NN[np.ix_(left, left)].any(0)
        for place in left[~beaten]:
            found[place] = rank
        left, rank = left[beaten], rank + 1
    return found


def front(points: Points) -> list[int]:
    """Return the places of the points that no other beats, in their order."""
    return [int(place) for place in np.flatnonzero(~_better(points).any(0))]


def _better(points: Points) -> NDArray[np.bool_]:
    """Return a table that is true where the point of the row dominates that of the column."""
    if not len(points):
        return np.zeros((0, 0), dtype=bool)
    array_NK = np.asarray(points, dtype=np.float64)
    array_NK = np.where(np.isnan(array_NK), -np.inf, array_NK)
    least_NN = np.ones((len(array_NK),) * 2, dtype=bool)
    more_NN = np.zeros_like(least_NN)
    for values_N in array_NK.T:
        least_NN &= values_N[:, None] >= values_N
        more_NN |= values_N[:, None] > values_N
    return least_NN & more_NN


def hypervolume(points: Points, reference: Sequence[float]) -> float:
    """Return the volume between a reference and the front, of points better than it in all.

    Exact: what each point has for itself alone is added up (While, Bradstreet and Barone 2012).
    """
    inside = _inside(points, reference)
    return _volume(inside[front(inside)])


def _inside(points: Points, reference: Sequence[float]) -> Values:
    """Return by how much points are better than a reference, of those that are better in all."""
    array_NK = np.asarray(points, dtype=np.float64).reshape(-1, len(reference))
    better_NK: Values = array_NK - np.asarray(reference)
    inside_NK: Values = better_NK[(better_NK > 0).all(1)]
    return inside_NK


def _volume(front_NK: Values) -> float:
    """Return the volume above the origin, of a front of points that lie above it."""
    count, axes = front_NK.shape
    if axes == 1 or count < 2:
        return float(front_NK.max(0, initial=0.0).prod())
    ordered = front_NK[np.argsort(front_NK[:, -1], kind="stable")]
    if axes == 2:  # ascending in one is descending in the other
        steps = np.diff(ordered[:, 1], prepend=0.0)
        return float((ordered[:, 0] * steps).sum())
    alone = (_alone(point, ordered[place + 1 :, :-1]) for place, point in enumerate(ordered))
    return float(sum(alone))


def _alone(point_K: Values, higher_NJ: Values) -> float:
    """Return the volume below a point that is below no other.

    The others are at least as high in the last objective, which is left out of them.
    """
    inner_J, height = point_K[:-1], point_K[-1]
    shared_NJ = np.minimum(higher_NJ, inner_J)
    return float(height * (inner_J.prod() - _volume(shared_NJ[front(shared_NJ)])))


def figures(study: Study, measured: Measurement) -> dict[Objective, float]:
    """Return what a measurement is in each of the `axes`, as one speaks of it: costs positive."""
    return {
        axis: value if axis == "score" else abs(value)
        for axis, value in zip(axes(study), worth(axes(study), measured), strict=True)
    }


def axes(study: Study) -> tuple[Objective, ...]:
    """Return what trials are compared by: the objectives, the parameters beside a score alone."""
    return study.objectives if len(study.objectives) > 1 else ("score", "params")


def best(study: Study, trials: Iterable[Trial]) -> tuple[int, ...]:
    """Return the numbers of the trials on the Pareto front, in their order.

    They were trained to the end; finals, which repeat others, are not among them.
    """
    compared = [trial for trial in trials if _is_compared(trial)]
    return tuple(compared[place].number for place in front(_points(study, compared)))


def hypervolumes(study: Study, trials: Sequence[Trial]) -> tuple[float, ...]:
    """Return for each trial the hypervolume of the front that it and those before it make.

    Only what was trained to the end counts. It never falls, since all are held against one
    `reference`; without one all are zero. Costs are taken as shares of the reference, so that it
    does not depend on their units: a front that gains 0.1 for half of every cost has 0.1 · 0.5 for
    each of them.
    """
    least = reference(study, trials)
    volume, kept, found = 0.0, np.empty((0, len(axes(study)))), []
    for trial in trials:
        if least and _is_compared(trial):
            for point in _inside(_points(study, [trial]), least) / _units(study, least):
                volume += _added(point, kept)
                kept = np.vstack([kept, point])
                kept = kept[front(kept)]
        found.append(volume)
    return tuple(found)


def _units(study: Study, least: Sequence[float]) -> Values:
    return np.array(
        [1.0 if axis == "score" else -bound for axis, bound in zip(axes(study), least, strict=True)]
    )


def _added(point_K: Values, front_NK: Values) -> float:
    """Return the volume that a point adds to that of a front, 0 where it is beaten."""
    shared_NK = np.minimum(front_NK, point_K)
    return max(0.0, float(point_K.prod()) - _volume(shared_NK[front(shared_NK)]))


def reference(study: Study, trials: Iterable[Trial]) -> tuple[float, ...] | None:
    """Return the point that hypervolumes are measured from; None while nothing is measured.

    Of the score it is the lowest that a baseline had at its first rung, about what is reached
    without a choice and with little training. Of the parameters it is the budget's ceiling, of
    other costs the largest of a baseline, each times `MARGIN`. It does not change as a study goes
    on: only the baselines before the first searched trial count, with their first measurements.
    Where there are none the first measured trial takes their place.
    """
    known = [trial for trial in trials if measurements(trial)]
    begun = itertools.takewhile(lambda t: t.proposal.purpose is Purpose.BASELINE, known)
    bar = [measurements(trial)[0] for trial in list(begun) or known[:1]]
    return tuple(_least(study, axis, bar) for axis in axes(study)) if bar else None


def _least(study: Study, axis: Objective, bar: Sequence[Measurement]) -> float:
    if axis == "params":
        return -MARGIN * study.ceiling
    lowest = min(_worth(axis, measured) for measured in bar)
    return lowest if axis == "score" else MARGIN * lowest


def _is_compared(trial: Trial) -> bool:
    return trial.complete and trial.proposal.purpose is not Purpose.FINAL


def _points(study: Study, trials: Iterable[Trial]) -> list[tuple[float, ...]]:
    return [worth(axes(study), t.measurement) for t in trials if t.measurement]
