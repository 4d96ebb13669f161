"""Small evaluators, importable by workers; each behaves in one way."""

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autopeft.trial import Measurement, Trial


def measured(trial: Trial) -> Trial:
    """Complete a trial; its score tells the process that measured it."""
    return trial.done(
        Measurement(
            score=float(os.getpid()),
            loss=0.1,
            parameters=8,
            head_parameters=2,
            steps=1,
            seconds=0.0,
        )
    )


@dataclass(frozen=True)
class Steady:
    """Reports progress half way, and then a measurement."""

    def evaluate(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        for trial in trials:
            yield trial.running(0.5)
            yield measured(trial)


@dataclass(frozen=True)
class InStep:
    """Completes the trials of a pack after one another, if they are as many as it is for."""

    number: int

    def evaluate(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        if len(trials) != self.number:
            raise RuntimeError(f"a pack of {len(trials)}")
        for trial in trials:
            yield trial.running(0.5)
        for trial in trials:
            yield measured(trial)


@dataclass(frozen=True)
class Raising:
    """Raises the error of a trial's number half way; other trials are completed."""

    errors: Mapping[int, Exception] = field(default_factory=dict)

    def evaluate(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        for trial in trials:
            yield trial.running(0.5)
            if trial.number in self.errors:
                raise self.errors[trial.number]
            yield measured(trial)


@dataclass(frozen=True)
class Silent:
    """Stops half way without a word."""

    def evaluate(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        for trial in trials:
            yield trial.running(0.5)


@dataclass(frozen=True)
class Endless:
    """Leaves its process id in a folder, reports progress once and is then busy for ever."""

    folder: Path

    def evaluate(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        for trial in trials:
            (self.folder / str(os.getpid())).touch()
            yield trial.running(0.5)
            time.sleep(3600)


@dataclass(frozen=True)
class Dying:
    """Kills its own process half way through one trial, until that has happened often enough."""

    number: int
    folder: Path
    times: int

    def evaluate(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        for trial in trials:
            yield trial.running(0.5)
            if trial.number == self.number and len(list(self.folder.iterdir())) < self.times:
                (self.folder / str(os.getpid())).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield measured(trial)


@dataclass(frozen=True)
class Together:
    """Completes a trial only when a number of trials are being measured at the same time."""

    number: int
    folder: Path

    def evaluate(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        for trial in trials:
            (self.folder / str(trial.number)).touch()
            while len(list(self.folder.iterdir())) < self.number:
                time.sleep(0.01)
            yield measured(trial)


class Unloadable:
    """Can be sent to a worker but not be loaded there."""

    def __setstate__(self, state: object) -> None:
        raise ImportError("no module named 'left_at_home'")

    def __getstate__(self) -> object:
        return "something"

    def evaluate(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        yield from trials
