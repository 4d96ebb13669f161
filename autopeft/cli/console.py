"""What a person sees: progress on standard error, results on standard output."""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from autopeft.answer import counted, percent, perplexity, with_perplexity
from autopeft.objectives import measurements
from autopeft.ranking import PROBE
from autopeft.records import to_json
from autopeft.search_spaces.configuration import Slot
from autopeft.study import Study
from autopeft.trial import Purpose, State, Trial

if TYPE_CHECKING:
    from rich.progress import TaskID

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C has ended."""
_WIDEST = 58
_TOLD = 0.1  # of what is prepared, between two lines
_FIRST_SCORED, _SCORED = 10, {"1", "2", "5"}  # lines after 10, 20, 50, 100 ... scores


def show_json(document: Any) -> None:
    """Write a JSON document to standard output."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table to standard output; numbers stand right."""
    from rich.console import Console
    from rich.table import Table

    rows = [[str(cell) for cell in row] for row in rows]
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for i, column in enumerate(columns):
        numeric = bool(rows) and all(_is_number(row[i]) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    # A pipe has no width: keep rows whole there, so that other programs can read them.
    Console(
        width=console.width if console.is_terminal else 160, markup=False, highlight=False
    ).print(table)


def trial_json(trial: Trial) -> dict[str, Any]:
    """Return a trial as JSON, without its predictions."""
    document = to_json(trial)
    for measured in (document["measurement"], *document["rungs"]):
        if measured:
            del measured["predictions"]
    return document


def say(text: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(text + "\n")


class SearchProgress:
    """Follows a search: a bar on a terminal, a line for every event elsewhere."""

    def __init__(self, study: Study, planned: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._slots = study.space.slots
        self._metric = study.task.metric
        self._planned = planned
        self._ended: dict[int, Trial] = {}
        self._best: Trial | None = None
        self._began = time.monotonic()
        self._started: set[tuple[int, float]] = set()
        self._prepared = 0.0
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self._live = console.is_terminal
        self._tasks: dict[int | str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    @property
    def seconds(self) -> float:
        """How long the search has been followed."""
        return time.monotonic() - self._began

    def known(self, trials: Sequence[Trial]) -> None:
        """Take account of what an earlier run has measured."""
        for trial in trials:
            if trial.ended:
                self._count(trial)
        if self._ended:
            known = counted(len(self._ended), "trial is", "trials are")
            self._say(f"{known} known from an earlier run")

    def preparing(self, fraction: float, what: str) -> None:
        """Show how far something is prepared that the trials need, from 0 to 1."""
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(f"preparing the {what}", total=1.0)
            self._prepared = 0.0
            self._say(f"preparing the {what}")
        self._bars.update(self._tasks[what], completed=fraction)
        if fraction >= 1:
            self._bars.remove_task(self._tasks.pop(what))
            self._say(f"the {what} is prepared after {self.seconds:.0f} s")
        elif fraction - self._prepared >= _TOLD and not self._live:
            self._prepared = fraction
            self._say(f"preparing the {what}: {percent(fraction)}")

    def scoring(self, count: int, what: str) -> None:
        """Show how many configurations were scored so far with what was prepared."""
        key, text = f"scores by the {what}", f"scored {count:,} configurations with the {what}"
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(text, total=None)
        self._bars.update(self._tasks[key], description=text)
        if not self._live and count >= _FIRST_SCORED and str(count).rstrip("0") in _SCORED:
            self._say(text)

    def saw(self, trial: Trial) -> None:
        """Show that a trial has changed."""
        self._forget_preparations()
        if not trial.ended:
            self._running(trial)
            return
        self._count(trial)
        if trial.number in self._tasks:
            self._bars.remove_task(self._tasks.pop(trial.number))
        self._say(self._line(trial))

    def _forget_preparations(self) -> None:
        """Take away the bars of what was given up before it was prepared."""
        for what in [key for key in self._tasks if isinstance(key, str)]:
            self._bars.remove_task(self._tasks.pop(what))

    def _running(self, trial: Trial) -> None:
        share = trial.proposal.fidelity.share
        if (trial.number, share) not in self._started:
            self._started.add((trial.number, share))
            if trial.rungs:
                self._say(f"trial {trial.number:>3} goes on to {percent(share)}")
            elif not self._live:
                self._say(f"trial {trial.number:>3} begins  {self._what(trial)}")
            text = f"trial {trial.number} {what_of(trial, self._slots)}"
            self._tasks[trial.number] = self._bars.add_task(text, total=1.0)
        self._bars.update(self._tasks[trial.number], completed=trial.progress)

    def _count(self, trial: Trial) -> None:
        self._ended[trial.number] = trial
        if trial.measurement and trial.proposal.purpose is not Purpose.FINAL:
            self._best = max(self._best or trial, trial, key=_standing)

    def _line(self, trial: Trial) -> str:
        measured = trial.measurement
        seconds = f"{measured.seconds:.1f} s" if measured else ""
        return (
            f"trial {trial.number:>3} {self._result(trial)}  {self._what(trial)}  {seconds}  "
            f"[{len(self._ended)} of at most {self._planned}, {self._standing()}, "
            f"{self.seconds:.0f} s]"
        )

    def _result(self, trial: Trial) -> str:
        if trial.measurement is None:
            return f"{trial.state}: {trial.failure}"
        score = with_perplexity(self._metric, trial.score)
        if trial.state is State.PAUSED:
            return f"paused at {percent(trial.measurement.share)}: {self._metric} {score}"
        return f"{self._metric} {score}"

    def _standing(self) -> str:
        best = self._best.measurement if self._best else None
        if best is None:
            return "none measured yet"
        return f"best {best.score:.4f}" + ("" if best.share >= 1 else f" at {percent(best.share)}")

    def _what(self, trial: Trial) -> str:
        parameters = trial.proposal.configuration.parameters(self._slots)
        return f"{what_of(trial, self._slots)}, {parameters:,} parameters"

    def _say(self, text: str) -> None:
        if self._live:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


def _standing(trial: Trial) -> tuple[float, float]:
    """Scores are compared among what was trained equally long, the longest first."""
    return (trial.measurement.share, trial.score) if trial.measurement else (0.0, 0.0)


def what_of(trial: Trial, slots: Sequence[Slot]) -> str:
    """Say in a few words what a trial trains."""
    proposal = trial.proposal
    summary = proposal.configuration.summary(slots)
    text = summary if proposal.label == PROBE else proposal.label or summary
    if proposal.of is not None:
        text = f"trial {proposal.of} again, seed {proposal.seed}: {text}"
    elif proposal.label == PROBE:
        text = f"{PROBE}: {text}"
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def show_trials(study: Study, trials: Sequence[Trial]) -> None:
    """Write the trials of a study as a table, with their scores at each rung."""
    metric = study.task.metric
    head = (
        *("trial", "purpose"),
        *(("inherited",) if _guided(trials) else ()),
        *(f"at {percent(share)}" for share in study.rungs[:-1]),
        *(metric, *(("perplexity",) if perplexity(metric, 0) else ())),
        *("parameters", "learning rates", "s", "configuration"),
    )
    rows = [_row(study, trial, guided=_guided(trials)) for trial in trials]
    show_table(f"Study {study.id}: {counted(len(trials), 'trial')}", head, rows)


def _guided(trials: Sequence[Trial]) -> bool:
    return any(trial.proposal.inherited is not None for trial in trials)


def _row(study: Study, trial: Trial, *, guided: bool) -> tuple[str, ...]:
    proposal, slots = trial.proposal, study.space.slots
    rates = " ".join(f"{name} {rate:g}" for name, rate in proposal.recipe.learning_rates.items())
    also = perplexity(study.task.metric, trial.score)
    seconds = [measured.seconds for measured in measurements(trial)]
    at = (trial.at(share) for share in study.rungs[:-1])
    return (
        *(str(trial.number), proposal.purpose),
        *([_score(proposal.inherited)] if guided else []),
        *(_score(found.score if found else None) for found in at),
        _score(trial.score) if trial.complete else trial.state,
        *([f"{also:.4g}" if trial.complete else ""] if also else []),
        f"{proposal.configuration.parameters(slots):,}",
        rates,
        f"{sum(seconds):.1f}" if seconds else "",
        what_of(trial, slots) if not trial.failure else trial.failure,
    )


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.4f}"


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").lstrip("-").isdigit() or not text
