"""What earlier studies of the same store have found, as first points of a new one.

Nothing leaves the store: earlier studies are read where they are.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

from autopeft.ablation import STRATEGY as ABLATION
from autopeft.errors import StudyError
from autopeft.objectives import ranks, worth
from autopeft.ports import Store
from autopeft.storage.lookup import find_study
from autopeft.strategies.translation import shared_slots, translated
from autopeft.strategies.warm_start import Point
from autopeft.study import Objective, Study, first_tried
from autopeft.trial import Measurement, Purpose, Trial

MOST_STUDIES = 3
MOST_POINTS = 6
_LOOKED_AT = 30  # of each study: what is further down is hardly worth a translation


def named_studies(study: Study, references: Iterable[str], store: Store) -> tuple[str, ...]:
    """Return the ids of the studies that a user names; those of other owners are not there.

    Raises:
        StudyError: There is no such study, it has another kind of task, or uses no slot that this
            one may use.
    """
    found = []
    own = {known.id: known for known in store.studies() if known.owner == study.owner}
    for reference in references:
        earlier = own[find_study(reference, tuple(own))]
        if earlier.task.kind != study.task.kind:
            raise StudyError(
                f"study {earlier.id} is about {earlier.task.kind}, and this one about "
                f"{study.task.kind}: leave it out of --warm-start"
            )
        if not shared_slots(earlier, study):
            raise StudyError(
                f"study {earlier.id} ({earlier.backbone.name}, space {earlier.space.name}) uses no "
                f"slot that the space {study.space.name!r} has on {study.backbone.name}: leave it "
                "out of --warm-start"
            )
        found.append(earlier.id)
    return tuple(dict.fromkeys(found))


def similar_studies(study: Study, store: Store) -> tuple[str, ...]:
    """Choose a few studies that are like this one, the most similar first.

    They have the same owner, the same kind of task and an architecture of the same family. The same
    backbone comes first, then the same data, then the same metric, then a width that is near.
    """
    candidates = [
        earlier
        for earlier in store.studies()
        if earlier.owner == study.owner
        and earlier.task.kind == study.task.kind
        and earlier.backbone.architecture == study.backbone.architecture
        and earlier.strategy != ABLATION
        and not _is_same(earlier, study)
        and shared_slots(earlier, study)
        and any(True for _ in _measured(store.trials(earlier.id)))
    ]
    candidates.sort(key=lambda earlier: _distance(earlier, study))  # else the latest first
    return tuple(earlier.id for earlier in candidates[:MOST_STUDIES])


def earlier_points(study: Study, store: Store) -> tuple[Point, ...]:
    """Return the best configurations of the study's earlier ones, in terms of this one.

    The best of each study come first, then the second best; what comes out equal, once. Where the
    study says which trials it began with, it is these.

    Raises:
        StudyError: An earlier study, or a trial of it, is not in the store.
    """
    own = [_points(*first_tried(earlier), study, store) for earlier in study.earlier]
    found: dict[object, Point] = {}
    for turn in zip_longest(*own):
        for point in turn:
            if point is not None:
                found.setdefault(point.configuration, point)
        if len(found) >= MOST_POINTS:
            break
    return tuple(found.values())[:MOST_POINTS]


def pinned(study: Study, store: Store) -> Study:
    """Return the study with the trials of its earlier ones that its points come from.

    Raises:
        StudyError: An earlier study is not in the store.
    """
    points = earlier_points(study, store)
    entries = []
    for reference in study.earlier:
        earlier, _ = first_tried(reference)
        numbers = (str(point.trial) for point in points if point.study == earlier)
        entries.append(f"{earlier}:{'.'.join(numbers)}")
    return replace(study, earlier=tuple(entries))


def _points(
    reference: str, numbers: tuple[int, ...] | None, study: Study, store: Store
) -> Iterator[Point]:
    earlier = store.study(reference)
    measured = {trial.number: trial for trial in _measured(store.trials(earlier.id))}
    if numbers is None:
        chosen = _ordered(study, list(measured.values()))[:_LOOKED_AT]
    elif missing := [number for number in numbers if number not in measured]:
        raise StudyError(
            f"this study began with trial {missing[0]} of study {earlier.id}, which is not in the "
            "store any more: leave --warm-start out, and a new study begins"
        )
    else:
        chosen = [measured[number] for number in numbers]
    for trial in chosen:
        proposal = trial.proposal
        if configuration := translated(proposal.configuration, earlier, study):
            yield Point(
                configuration=configuration,
                learning_rates=proposal.recipe.learning_rates,
                study=earlier.id,
                trial=trial.number,
            )


def _measured(trials: Iterable[Trial]) -> Iterator[Trial]:
    """Yield the trials that were trained to the end; baselines among them, with their rates."""
    for trial in trials:
        final = trial.proposal.purpose is Purpose.FINAL
        if trial.complete and not final and math.isfinite(trial.score):
            yield trial


def _ordered(study: Study, trials: Sequence[Trial]) -> list[Trial]:
    """Put trials in order by what this study asks for: those that nothing beats come first.

    An objective that the earlier study did not measure is left out.
    """
    measured = [trial.measurement for trial in trials if trial.measurement]
    known = [o for o in study.objectives if all(_knows(m, o) for m in measured)]
    points = [worth(known, m) for m in measured]
    keyed = zip(ranks(points), points, trials, strict=True)
    ordered = sorted(keyed, key=lambda e: (e[0], -e[1][0], e[2].number))
    return [trial for _, _, trial in ordered]


def _knows(measurement: Measurement, objective: Objective) -> bool:
    return objective in {"score", "params"} or getattr(measurement, objective) is not None


def _is_same(earlier: Study, study: Study) -> bool:
    """Whether only the earlier studies make the difference between the two."""
    return replace(earlier, earlier=study.earlier).id == study.id


def _distance(earlier: Study, study: Study) -> tuple[bool, bool, bool, float]:
    return (
        earlier.backbone.digest != study.backbone.digest,
        earlier.task.digest != study.task.digest,
        earlier.task.metric != study.task.metric,
        abs(math.log(earlier.backbone.width / study.backbone.width)),
    )
