"""What a person sees: progress on standard error, results on standard output."""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from autopeft.answer import perplexity, with_perplexity
from autopeft.records import to_json
from autopeft.search_spaces.configuration import Slot
from autopeft.study import Study
from autopeft.trial import Purpose, Trial

if TYPE_CHECKING:
    from rich.progress import TaskID

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C has ended."""
_WIDEST = 58


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
    if document["measurement"]:
        del document["measurement"]["predictions"]
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
        self._ended = 0
        self._best: Trial | None = None
        self._seconds: list[float] = []
        self._began = time.monotonic()
        self._started: set[int] = set()
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self._live = console.is_terminal
        self._tasks: dict[int, TaskID] = {}

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

    def known(self, trials: Sequence[Trial]) -> None:
        """Take account of what an earlier run has measured."""
        for trial in trials:
            if trial.ended:
                self._count(trial)
        if self._ended:
            self._say(f"{self._ended} trials are known from an earlier run")

    def saw(self, trial: Trial) -> None:
        """Show that a trial has changed."""
        if not trial.ended:
            self._running(trial)
            return
        self._count(trial)
        if trial.number in self._tasks:
            self._bars.remove_task(self._tasks.pop(trial.number))
        self._say(self._line(trial))

    def _running(self, trial: Trial) -> None:
        if trial.number not in self._started:
            self._started.add(trial.number)
            if not self._live:
                self._say(f"trial {trial.number:>3} begins  {self._what(trial)}")
            text = f"trial {trial.number} {what_of(trial, self._slots)}"
            self._tasks[trial.number] = self._bars.add_task(text, total=1.0)
        self._bars.update(self._tasks[trial.number], completed=trial.progress)

    def _count(self, trial: Trial) -> None:
        self._ended += 1
        if trial.measurement:
            self._seconds.append(trial.measurement.seconds)
            if trial.proposal.purpose is not Purpose.FINAL and (
                self._best is None or trial.score > self._best.score
            ):
                self._best = trial

    def _line(self, trial: Trial) -> str:
        measured = trial.measurement
        result = (
            f"{self._metric} {with_perplexity(self._metric, measured.score)}"
            if measured
            else f"{trial.state}: {trial.failure}"
        )
        best = f"best {self._best.score:.4f}" if self._best else "none measured yet"
        seconds = f"{measured.seconds:.1f} s" if measured else ""
        elapsed = time.monotonic() - self._began
        return (
            f"trial {trial.number:>3} {result}  {self._what(trial)}  {seconds}  "
            f"[{self._ended} of at most {self._planned}, {best}, {elapsed:.0f} s]"
        )

    def _what(self, trial: Trial) -> str:
        parameters = trial.proposal.configuration.parameters(self._slots)
        return f"{what_of(trial, self._slots)}, {parameters:,} parameters"

    def _say(self, text: str) -> None:
        if self._live:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


def what_of(trial: Trial, slots: Sequence[Slot]) -> str:
    """Say in a few words what a trial trains."""
    proposal = trial.proposal
    text = proposal.label or proposal.configuration.summary(slots)
    if proposal.of is not None:
        text = f"trial {proposal.of} again, seed {proposal.seed}: {text}"
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def show_trials(study: Study, trials: Sequence[Trial]) -> None:
    """Write the trials of a study as a table."""
    metric = study.task.metric
    also = ("perplexity",) if perplexity(metric, 0) else ()
    show_table(
        f"Study {study.id}: {len(trials)} trials",
        ("trial", "purpose", metric, *also, "parameters", "learning rates", "s", "configuration"),
        [_row(trial, study.space.slots, metric) for trial in trials],
    )


def _row(trial: Trial, slots: Sequence[Slot], metric: str) -> tuple[str, ...]:
    proposal, measured = trial.proposal, trial.measurement
    rates = " ".join(f"{name} {rate:g}" for name, rate in proposal.recipe.learning_rates.items())
    also = perplexity(metric, trial.score)
    return (
        str(trial.number),
        proposal.purpose,
        f"{measured.score:.4f}" if measured else trial.state,
        *([f"{also:.4g}" if measured else ""] if also else []),
        f"{proposal.configuration.parameters(slots):,}",
        rates,
        f"{measured.seconds:.1f}" if measured else "",
        what_of(trial, slots) if not trial.failure else trial.failure,
    )


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").lstrip("-").isdigit() or not text
