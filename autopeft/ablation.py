"""What the parts of a winner are worth: the same training again, without one group of cells.

The trainings are trials of a study of their own, derived from the one that they are about. So they
are kept, leased, resumed and shown like all others, and nothing is measured twice.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autopeft.errors import StudyError
from autopeft.report.mattering import Ablation, Effect
from autopeft.search_spaces.checking import partners
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.selection import Score, paired, predictions_of
from autopeft.study import Study
from autopeft.trial import Fidelity, Proposal, Trial

STRATEGY = "ablation"
"""The name under which studies of ablations are listed; no search can ask for it."""
EVERYTHING = "everything but the head"
_PARTS = 3
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Cells that are left out together, and what remains without them."""

    name: str
    rest: Configuration


def thirds(blocks: int) -> tuple[tuple[int, int], ...]:
    """Cut blocks into thirds, as even as can be; fewer blocks than three are one each.

    Example:
        >>> thirds(6), thirds(2), thirds(7)
        (((0, 2), (2, 4), (4, 6)), ((0, 1), (1, 2)), ((0, 2), (2, 4), (4, 7)))
    """
    parts = min(_PARTS, blocks)
    ends = [part * blocks // parts for part in range(parts + 1)]
    return tuple(itertools.pairwise(ends))


def blocks_named(first: int, after: int) -> str:
    """Name blocks.

    Example:
        >>> blocks_named(0, 2), blocks_named(1, 2)
        ('blocks 0-1', 'block 1')
    """
    return f"block {first}" if after - first == 1 else f"blocks {first}-{after - 1}"


def groups(configuration: Configuration, slots: Sequence[Slot]) -> tuple[Group, ...]:
    """Return what can be left out: each method, each third of the blocks, and everything.

    What is nothing without a cell that is left out, such as its gate, goes with it. A group that
    holds nothing is none, and of groups that leave the same the first counts.
    """
    found: dict[Configuration, Group] = {}
    for name, rows, columns in _cells(configuration, slots):
        rest = _without(configuration, slots, rows, columns)
        if rest != configuration and (not rest.empty or name == EVERYTHING):
            found.setdefault(rest, Group(name=name, rest=rest))
    return tuple(found.values())


def _cells(
    configuration: Configuration, slots: Sequence[Slot]
) -> Iterator[tuple[str, range, Sequence[int]]]:
    """Yield the rows and columns of each group, with its name."""
    rows, columns = range(len(configuration.sizes)), range(len(slots))
    for method in configuration.methods(slots):
        yield method, rows, [c for c in columns if slots[c].method == method]
    for first, after in thirds(len(rows)):
        yield blocks_named(first, after), range(first, after), columns
    yield EVERYTHING, rows, columns


def _without(
    configuration: Configuration, slots: Sequence[Slot], rows: range, columns: Sequence[int]
) -> Configuration:
    needs, left = dict(partners(tuple(slots))), []
    for place, sizes in enumerate(configuration.sizes):
        row = list(sizes)
        for column in columns if place in rows else ():
            row[column] = 0
        for column, others in needs.items():
            if row[column] and not any(row[other] for other in others):
                row[column] = 0
        left.append(tuple(row))
    return Configuration(tuple(left))


def winner(trials: Sequence[Trial], chosen: int) -> tuple[Trial, ...]:
    """Return the runs of the winner that others are held against: its finals, else itself.

    Raises:
        StudyError: The chosen trial was not trained to the end.
    """
    own = [trial for trial in trials if trial.number == chosen and trial.complete]
    finals = [trial for trial in trials if trial.proposal.of == chosen and trial.complete]
    if not (own or finals):
        raise StudyError(f"trial {chosen} was not trained to the end: there is nothing to ablate")
    return tuple(finals or own)


def derived(study: Study, chosen: int) -> Study:
    """Return the study that the trainings without a winner's parts belong to."""
    return replace(
        study,
        strategy=STRATEGY,
        options={"study": study.id, "trial": str(chosen)},
        objectives=("score",),
        rungs=(1.0,),
        earlier=(),
        finals=0,
    )


def proposals(runs: Sequence[Trial], slots: Sequence[Slot]) -> tuple[Proposal, ...]:
    """Return the trainings without each group, with the seeds of the winner's runs."""
    whole = runs[0].proposal
    return tuple(
        Proposal(
            configuration=group.rest,
            recipe=replace(whole.recipe, learning_rates=_rates(whole, group.rest, slots)),
            seed=run.proposal.seed,
            fidelity=Fidelity(),
            label=f"without {group.name}",
        )
        for run in runs
        for group in groups(whole.configuration, slots)
    )


def _rates(whole: Proposal, rest: Configuration, slots: Sequence[Slot]) -> dict[str, float]:
    present = rest.methods(slots)
    return {m: rate for m, rate in whole.recipe.learning_rates.items() if m in present}


class Listed:
    """A strategy that proposes what is on a list, and nothing twice."""

    def __init__(self, listed: Sequence[Proposal]) -> None:
        self._left = list(listed)

    def ask(self) -> Proposal | None:
        """Return the next proposal that no trial was made of."""
        return self._left.pop(0) if self._left else None

    def tell(self, trial: Trial) -> None:
        """Take a trial off the list."""
        told = (trial.proposal.key, trial.proposal.seed)
        self._left = [each for each in self._left if (each.key, each.seed) != told]


def effects(  # noqa: PLR0917  # two studies, and what their predictions are held against
    study: Study,
    trials: Sequence[Trial],
    without: Sequence[Trial],
    chosen: int,
    truth: Values | None,
    score: Score,
) -> Ablation | None:
    """Compare a winner with what was trained without its parts; None while nothing was.

    Without the truth of the examples intervals are of the seeds' scores alone.
    """
    if not any(trial.ended for trial in without):
        return None
    runs = winner(trials, chosen)
    found = []
    for group in groups(runs[0].proposal.configuration, study.space.slots):
        own = [trial for trial in without if trial.proposal.configuration == group.rest]
        found.append(_effect(study, group, runs, own, truth, score))
    return Ablation(
        study=derived(study, chosen).id,
        trial=chosen,
        seeds=tuple(run.proposal.seed for run in runs),
        examples=0 if truth is None else len(truth),
        effects=tuple(found),
    )


def _effect(  # noqa: PLR0917  # as above, of one group
    study: Study,
    group: Group,
    runs: Sequence[Trial],
    without: Sequence[Trial],
    truth: Values | None,
    score: Score,
) -> Effect:
    parameters = group.rest.parameters(study.space.slots)
    own = {t.proposal.seed: t for t in without if t.complete and np.isfinite(t.score)}
    pairs = [(run, own[run.proposal.seed]) for run in runs if run.proposal.seed in own]
    if not pairs:
        failures = [trial.failure for trial in without if trial.failure]
        return Effect(
            group=group.name, parameters=parameters, failure=failures[0] if failures else "no score"
        )
    if truth is None:
        gaps = [[run.score - other.score] for run, other in pairs]
        difference = paired(
            [np.array(gap) for gap in gaps], [np.zeros(1)] * len(gaps), np.zeros(1), _mean, 0
        )
    else:
        first, second = (
            [predictions_of(study.task, t.measurement.predictions) for t in side if t.measurement]
            for side in zip(*pairs, strict=True)
        )
        difference = paired(first, second, truth, score, study.seed)
    mean = float(np.mean([other.score for _, other in pairs]))
    return Effect(group=group.name, parameters=parameters, score=mean, difference=difference)


def _mean(_: Values, values: Values) -> float:
    return float(values.mean())
