"""What a report draws of the trials: the front, its growth, the score against time, and trust.

Numbers that are none, such as the score of a training that went wrong, are left out of pictures.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

from autopeft.answer import Ranking, percent
from autopeft.objectives import hypervolumes, measurements
from autopeft.plan import Plan
from autopeft.report.content import Axis, Line, Point, Scatter
from autopeft.report.writing import brief, what
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.study import Study
from autopeft.trial import Purpose, Trial

_TIP = 90


def front_drawn(
    study: Study, trials: Sequence[Trial], numbers: Sequence[int]
) -> tuple[Scatter, ...]:
    """Draw scores against trained parameters, with the front and the budget."""
    metric, points, steps = study.task.metric, [], []
    for trial in trials:
        found = trial.latest
        if found is None or not math.isfinite(found.score):
            continue
        on_front = trial.number in numbers
        points.append(
            Point(
                x=found.parameters,
                y=found.score,
                kind=trial.proposal.purpose,
                tip=f"{_named(study, trial)}: {found.score:.4f}, {found.parameters:,} parameters",
                marked=on_front,
                whole=trial.complete,
            )
        )
        if on_front:
            steps.append((float(found.parameters), found.score))
    if not points:
        return ()
    line = _rising(steps)
    text = (
        f"{len(points)} trials. The front has {len(steps)} of them; the budget allows "
        f"{study.ceiling:,} parameters."
    )
    return (
        Scatter(
            name="front",
            title=f"{metric} against trained parameters",
            text=text,
            x=Axis(label="trained parameters", write=brief, least=0.0),
            y=Axis(label=metric, write=brief),
            points=tuple(points),
            lines=(Line(kind="front", name="front", points=line),) if line else (),
            limit=(float(study.ceiling), "budget"),
        ),
    )


def evidence_drawn(plan: Plan) -> tuple[Scatter, ...]:
    """Draw the front of what a plan's own evidence names: baselines, finalists, repetitions."""
    if plan.evidence is None:
        return ()
    metric = plan.expected.metric if plan.expected else plan.task.metric
    scores = [known for known in plan.evidence.scores if math.isfinite(known.score.mean)]
    steps = [
        (float(known.parameters), known.score.mean)
        for known in scores
        if known.purpose is not Purpose.FINAL
    ]
    line = _rising(steps)
    if not line:
        return ()
    points = tuple(
        Point(
            x=known.parameters,
            y=known.score.mean,
            kind=known.purpose,
            tip=f"trial {known.trial}, {known.name or 'searched'}: {known.score}, "
            f"{known.parameters:,} parameters",
            marked=(known.parameters, known.score.mean) in line,
        )
        for known in scores
    )
    return (
        Scatter(
            name="front",
            title=f"{metric} against trained parameters",
            text=f"{len(points)} trainings to the end, those of baselines and finalists with fresh "
            f"seeds among them; the budget allows {plan.provenance.ceiling:,} parameters.",
            x=Axis(label="trained parameters", write=brief, least=0.0),
            y=Axis(label=metric, write=brief),
            points=points,
            lines=(Line(kind="front", name="front", points=line),),
            limit=(float(plan.provenance.ceiling), "budget"),
        ),
    )


def _rising(steps: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return what is reached with at most so many parameters, where that rises."""
    found: list[tuple[float, float]] = []
    for x, y in sorted(steps, key=lambda step: (step[0], -step[1])):
        if not found or y > found[-1][1]:
            found.append((x, y))
    return tuple(found)


def volumes_drawn(study: Study, trials: Sequence[Trial]) -> tuple[Scatter, ...]:
    """Draw the hypervolume of the front after each trial."""
    volumes = hypervolumes(study, trials)
    if not any(volumes) or not all(map(math.isfinite, volumes)):
        return ()
    steps = tuple((float(t.number), v) for t, v in zip(trials, volumes, strict=True))
    last = next(t.number for t, v in zip(trials, volumes, strict=True) if v == volumes[-1])
    return (
        Scatter(
            name="hypervolume",
            title="Hypervolume of the front after each trial",
            text=f"It ends at {volumes[-1]:.4g}, and grew for the last time with trial {last} of "
            f"{len(trials)}.",
            x=Axis(label="trial", write=brief, least=0.0),
            y=Axis(label="hypervolume", write=brief, least=0.0),
            lines=(Line(kind="best", name="hypervolume", points=_corners(steps)),),
        ),
    )


def _corners(steps: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Leave out what lies on a level part of a line of steps."""
    kept = [
        step
        for place, step in enumerate(steps)
        if place in {0, len(steps) - 1} or step[1] != steps[place - 1][1]
    ]
    return tuple(kept)


def course(trials: Sequence[Trial], prepared: float) -> Iterator[tuple[float, Trial]]:
    """Yield the trials with a score, each with the seconds of all work up to its end."""
    seconds = prepared
    for trial in trials:
        seconds += sum(measured.seconds for measured in measurements(trial))
        if trial.latest and math.isfinite(trial.latest.score):
            yield seconds, trial


def course_drawn(study: Study, trials: Sequence[Trial], prepared: float) -> tuple[Scatter, ...]:
    """Draw the score of each trial against the work that was done when it ended."""
    metric = study.task.metric
    points: list[Point] = []
    best: list[tuple[float, float]] = []
    for seconds, trial in course(trials, prepared):
        if trial.latest is None:
            continue
        score = trial.latest.score
        points.append(
            Point(
                x=seconds,
                y=score,
                kind=trial.proposal.purpose,
                tip=f"{_named(study, trial)}: {score:.4f} after {seconds:.1f} s",
                whole=trial.complete,
            )
        )
        compared = trial.complete and trial.proposal.purpose is not Purpose.FINAL
        if compared and (not best or score > best[-1][1]):
            best.append((seconds, score))
    if not best:
        return ()
    end = max(point.x for point in points)
    return (
        Scatter(
            name="course",
            title=f"{metric} against seconds of work",
            text=f"{len(points)} trials in {end:,.1f} s of work; the best of those trained to the "
            f"end came after {best[-1][0]:,.1f} s.",
            x=Axis(label="seconds of work", write=brief, least=0.0),
            y=Axis(label=metric, write=brief),
            points=tuple(points),
            lines=(Line(kind="best", name="best so far", points=(*best, (end, best[-1][1]))),),
        ),
    )


def trust_drawn(study: Study, trials: Sequence[Trial], ranking: Ranking) -> tuple[Scatter, ...]:
    """Draw what was measured of trials against what they had inherited, the probes marked."""
    by_loss = ranking.against == "loss"
    measured = "negative loss" if by_loss else study.task.metric
    points = [
        Point(
            x=inherited,
            y=value,
            kind=trial.proposal.purpose,
            tip=f"{_named(study, trial)}: inherited {inherited:.4f}, measured {value:.4f}",
            marked=bool(trial.proposal.label),
        )
        for trial in trials
        if (inherited := trial.proposal.inherited) is not None
        and trial.proposal.purpose is Purpose.SEARCH
        and (found := trial.at(ranking.share))
        and math.isfinite(value := -found.loss if by_loss else found.score)
        and math.isfinite(inherited)
    ]
    if not points:
        return ()
    probes = sum(point.marked for point in points)
    return (
        Scatter(
            name="trust",
            title=f"Inherited score against measured {measured}",
            text=f"{len(points)} trials measured at {percent(ranking.share)} of a training, "
            f"{probes} of them probes, which are marked. Kendall's tau of the probes is "
            f"{ranking.tau}. The table of trials has the numbers.",
            x=Axis(label="inherited score", write=brief),
            y=Axis(label=f"measured {measured}", write=brief),
            points=tuple(points),
        ),
    )


def _named(study: Study, trial: Trial) -> str:
    text = what(study, trial)
    return f"trial {trial.number}, {text if len(text) <= _TIP else f'{text[: _TIP - 1]}…'}"


def columns_of(configuration: Configuration, slots: Sequence[Slot]) -> tuple[int, ...]:
    """Return the places of the slots in use."""
    rows = configuration.sizes
    return tuple(place for place, _ in enumerate(slots) if any(row[place] for row in rows))


def largest_of(
    configuration: Configuration, slots: Sequence[Slot], used: Sequence[int]
) -> tuple[int, ...]:
    """Return for each column in use the largest size of its method."""
    largest: dict[str, int] = {}
    for row, place in itertools.product(configuration.sizes, used):
        method = slots[place].method
        largest[method] = max(largest.get(method, 0), row[place])
    return tuple(largest[slots[place].method] for place in used)
