"""What a race between searches comes to: who reached which score when, and the figure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

SLACKS = (0.0, 0.5, 1.0)
"""By how many standard errors of the score a threshold lies below the best that was found."""

_EXPLAINED = (
    "Times of the other, divided by those of {ours}, to the same score: the other's best, or the "
    "best of {ours}, or so many standard errors below it."
)

Unit = Literal["seconds", "cpu"]
Bound = Literal["", "at least", "at most"]
_COLOURS = {"autopeft": "#d55e00", "tpe": "#0072b2", "plain": "#000000", "random": "#999999"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A training that was brought to its end: when, and its score on the validation part.

    ``seconds`` are of the clock since the process was started, ``cpu`` those of the processor.
    """

    seconds: float
    cpu: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One search from its start to its end.

    ``points`` are in order of time. ``stopped`` counts trials that were stopped early or failed;
    ``seconds`` and ``cpu`` go to the end of the search. ``test`` and ``again`` are the winner's
    scores on the test and the validation part once it was trained anew. ``load`` is what else
    wanted the processors when it began and when it ended.
    """

    contestant: str
    task: str
    seed: int
    points: tuple[Point, ...]
    stopped: int
    seconds: float
    cpu: float
    test: float | None = None
    again: float | None = None
    load: tuple[float, float] = (0.0, 0.0)

    @property
    def best(self) -> float:
        """The best score that was found."""
        return max(point.score for point in self.points)

    def reached(self, score: float, unit: Unit = "seconds") -> float | None:
        """Return when a score was first reached, or None where it never was."""
        return next((getattr(p, unit) for p in self.points if p.score >= score - 1e-9), None)

    def spent(self, unit: Unit) -> float:
        """Return how long the whole search took."""
        return self.seconds if unit == "seconds" else self.cpu

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Run":
        """Read what ``dataclasses.asdict`` has written."""
        points = tuple(Point(**point) for point in document["points"])
        return cls(**{**document, "points": points, "load": tuple(document["load"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times the other's time ours is shorter.

    ``bound`` says what is known where one of the two never got there: the other would have needed
    longer (at least), or we would (at most).
    """

    value: float
    bound: Bound = ""

    def __str__(self) -> str:
        return f"{self.bound} {self.value:.1f}".strip()


def ratio(ours: Run, other: Run, score: float, unit: Unit = "seconds") -> Ratio | None:
    """Compare the times to a score; None where neither reached it."""
    mine, theirs = ours.reached(score, unit), other.reached(score, unit)
    if mine is None and theirs is None:
        return None
    if mine is None:
        assert theirs is not None
        return Ratio(value=theirs / ours.spent(unit), bound="at most")
    if theirs is None:
        return Ratio(value=other.spent(unit) / mine, bound="at least")
    return Ratio(value=theirs / mine)


def standard_error(score: float, examples: int) -> float:
    """Return that of a share of right answers."""
    return math.sqrt(score * (1 - score) / examples)


def middle(ratios: Sequence[Ratio]) -> Ratio:
    """Return the median, and never a better one than is known.

    Where we never got there the ratio counts as zero, and "at most" is said of the median only
    where it falls on such a one; where the other never did, its bound counts.
    """
    ordered = sorted(ratios, key=lambda r: 0.0 if r.bound == "at most" else r.value)
    lower, upper = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    if "at most" in (lower.bound, upper.bound):
        return Ratio(value=max(lower.value, upper.value), bound="at most")
    return Ratio(value=median((lower.value, upper.value)), bound=lower.bound or upper.bound)


def paired(runs: Sequence[Run], task: str, ours: str, other: str) -> list[tuple[Run, Run]]:
    """Pair the runs of two contestants by seed."""
    known = {(run.contestant, run.seed): run for run in runs if run.task == task and run.points}
    seeds = sorted({seed for _, seed in known})
    return [
        (known[ours, seed], known[other, seed])
        for seed in seeds
        if (ours, seed) in known and (other, seed) in known
    ]


def tables(runs: Sequence[Run], ours: str, examples: int) -> str:
    """Write what was found, and how much sooner, as Markdown; scores are of ``examples``."""
    lines = _head(
        "task", "search", "seeds", "best validation", "reached after", "test of the winner",
        "trained, stopped", "whole search", "processor",
    )  # fmt: skip
    groups = sorted({(run.task, run.contestant) for run in runs})
    lines += [_found([r for r in runs if (r.task, r.contestant) == group]) for group in groups]
    lines += ["", _EXPLAINED.format(ours=ours), ""]
    lines += _head(
        "task", "against", "whose best", "below by", "clock: median", "each seed",
        "processor: median",
    )  # fmt: skip
    for task, contestant in groups:
        if pairs := paired(runs, task, ours, contestant) if contestant != ours else []:
            lines += _ratios(task, contestant, pairs, examples)
    return "\n".join(lines)


def _head(*cells: str) -> list[str]:
    return [f"| {' | '.join(cells)} |", "| --- " * len(cells) + "|"]


def _found(runs: Sequence[Run]) -> str:
    first, ended = runs[0], [run for run in runs if run.points]
    tests = [run.test for run in runs if run.test is not None]
    cells = [
        first.task,
        first.contestant,
        str(len(runs)),
        _spread([run.best for run in ended], ".4f"),
        _spread([run.reached(run.best) or 0.0 for run in ended], ".0f", " s"),
        _spread(tests, ".4f"),
        f"{median(len(r.points) for r in runs):.0f}, {median(r.stopped for r in runs):.0f}",
        _spread([run.seconds for run in runs], ".0f", " s"),
        _spread([run.cpu for run in runs], ".0f", " s"),
    ]
    return f"| {' | '.join(cells)} |"


def _spread(values: Sequence[float], form: str, unit: str = "") -> str:
    if not values:
        return ""
    usual = f"{median(values):{form}}{unit}"
    if len(values) == 1:
        return usual
    return f"{usual} ({min(values):{form}} to {max(values):{form}})"


def _ratios(
    task: str, contestant: str, pairs: Sequence[tuple[Run, Run]], examples: int
) -> list[str]:
    lines = []
    for whose in ("other", "ours"):
        for slack in SLACKS:
            scores = [_threshold(pair[whose == "other"].best, slack, examples) for pair in pairs]
            clock = _compared(pairs, scores, "seconds")
            cpu = _compared(pairs, scores, "cpu")
            each = ", ".join(map(str, clock))
            lines.append(
                f"| {task} | {contestant} | {whose} | {slack:g} | {middle(clock)} | {each} | "
                f"{middle(cpu)} |"
            )
    return lines


def _threshold(best: float, slack: float, examples: int) -> float:
    return best - slack * standard_error(best, examples)


def _compared(pairs: Sequence[tuple[Run, Run]], scores: Sequence[float], unit: Unit) -> list[Ratio]:
    # one of the two always got there: the score is that of its best, or below
    found = [ratio(*pair, score, unit) for pair, score in zip(pairs, scores, strict=True)]
    return [one for one in found if one is not None]


def stepped(run: Run, unit: Unit = "seconds") -> tuple[list[float], list[float]]:
    """Return the corners of the best score so far, from the first point to the search's end."""
    times: list[float] = []
    best: list[float] = []
    for point in run.points:
        if not best or point.score > best[-1]:
            times.append(getattr(point, unit))
            best.append(point.score)
    if best:
        times.append(max(run.spent(unit), times[-1]))
        best.append(best[-1])
    return times, best


def draw(runs: Sequence[Run], file: Path) -> None:
    """Draw the best score so far against the clock, a panel a task, a line a seed."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "autopeft", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot as plt

    tasks = sorted({run.task for run in runs})
    figure, panels = plt.subplots(1, len(tasks), figsize=(6 * len(tasks), 4), squeeze=False)
    for panel, task in zip(panels[0], tasks, strict=True):
        labelled = set()
        for run in runs:
            if run.task == task and run.points:
                label = None if run.contestant in labelled else run.contestant
                labelled.add(run.contestant)
                panel.step(*stepped(run), where="post", label=label, linewidth=1.3,
                           color=_COLOURS.get(run.contestant))  # fmt: skip
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:.0f}")
        panel.set_xlabel("seconds since the command was started")
        panel.set_title(task)
        panel.grid(alpha=0.25, which="both")
        panel.legend(frameon=False, loc="lower right")
    panels[0][0].set_ylabel("best validation accuracy so far")
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
