"""What is told of a search while it runs: its trials, how far it is, and what is still to come."""

import math
from collections.abc import Iterable
from typing import Any

from autopeft.answer import percent
from autopeft.service.event import Event, Happening, Level
from autopeft.study import Limits, Study
from autopeft.trial import Purpose, State, Trial
from autopeft.wiring.estimating import trainings_of
from autopeft.worker.work import Work

_TENTHS = 10
_FEWEST = 2
"""Trials to have ended before what is to come is estimated from them."""
_WIDEST = 80
_FIRST_SCORED, _SCORED = 10, {"1", "2", "5"}  # told after 10, 20, 50, 100 ... scores


class Following:
    """Follows the trials of a search, for whoever waits for it.

    What is still to come is estimated from the time that went by while
    the trials of this run were measured; it is None until a few of them have ended.
    """

    def __init__(self, work: Work, study: Study, limits: Limits) -> None:
        self._work = work
        self._study = study
        self._limits = limits
        self._trials: dict[int, Trial] = {}
        self._begun: set[tuple[int, float]] = set()
        self._prepared = -1
        self._furthest: dict[str, float] = {}
        self._from = work.run_seconds
        self._since: float | None = None
        self._trained = 0.0
        self._ended = 0

    def known(self, trials: Iterable[Trial], told: Iterable[Event]) -> None:
        """Take account of earlier runs; what they had no time to tell is told now."""
        told = tuple(told)
        before = {_mark(event) for event in told if event.happening.kind == "trial"}
        self._furthest = furthest(told)
        self._trials = {trial.number: trial for trial in trials}
        ended = [trial for trial in self._trials.values() if trial.ended]
        if before:
            untold = [trial for trial in ended if _state(trial) not in before]
            self._work.tell(*map(self._ended_happening, untold))
        elif ended:
            self._work.say(
                f"{len(ended)} trials are known from an earlier search; they are not run again",
                known=len(ended),
            )
        self._advance()

    def preparing(self, what: str, share: float) -> None:
        """Note how far something is that the trials need; every tenth of it is told."""
        tenth = int(share * _TENTHS)
        self._work.now_at(what, share)
        if tenth != self._prepared:
            if tenth > 0:
                data = {"phase": what, "share": share}
                happening = Happening(
                    kind="progress", message=f"{what}: {percent(share)}", data=data
                )
                self._work.tell(happening, advanced=share > self._furthest.get(what, 0.0))
            self._prepared = tenth
        self._work.look()

    def scoring(self, what: str, count: int) -> None:
        """Note how many configurations were scored with what was prepared; now and then tell it."""
        if not self._begun:  # later on some are scored for each trial
            self._work.now_at("scores")
        if count >= _FIRST_SCORED and str(count).rstrip("0") in _SCORED:
            message = f"scored {count:,} configurations with the {what}"
            data = {"phase": "scores", "scored": count}
            self._work.tell(Happening(kind="progress", message=message, data=data))
        self._work.look()

    def saw(self, trial: Trial) -> None:
        """Take account of a trial that has changed."""
        seconds = self._work.seconds
        self._since = seconds if self._since is None else self._since
        before = self._trials.get(trial.number)
        self._trials[trial.number] = trial
        if trial.ended:
            self._count(trial)
        self._advance()
        if trial.ended:
            gets_on = trial.state is not State.FAILED  # it may be what ends worker after worker
            self._work.tell(self._ended_happening(trial), advanced=gets_on)
        elif (mark := (trial.number, trial.proposal.fidelity.share)) not in self._begun:
            self._begun.add(mark)
            on = before is not None and bool(trial.rungs)
            self._work.tell(self._begun_happening(trial, on=on))

    def _count(self, trial: Trial) -> None:
        self._ended += 1
        if measured := trial.measurement:
            earlier = trial.rungs[-1].share if trial.rungs else 0.0
            self._trained += measured.share - earlier

    def _advance(self) -> None:
        trials = [*self._trials.values()]
        finals = [t for t in trials if t.proposal.purpose is Purpose.FINAL]
        others = [t for t in trials if t.proposal.purpose is not Purpose.FINAL]
        phase, now, of = "trials", others, self._limits.trials
        if finals:
            phase, now, of = "finals", finals, 2 * self._study.finals
        done = sum(1.0 if t.ended else t.progress for t in now)
        self._work.now_at(
            phase,
            min(1.0, done / of) if of else 1.0,
            trials=sum(t.ended for t in trials),
            of=max(self._limits.trials + 2 * self._study.finals, len(trials)),
            best=_best(others),
            remaining=self._remaining(others, finals),
        )

    def _remaining(self, others: list[Trial], finals: list[Trial]) -> float | None:
        """Estimate the seconds to come: trainings that are left, at the pace of this run."""
        if self._since is None or self._ended < _FEWEST or not self._trained:
            return None
        pace = (self._work.seconds - self._since) / self._trained
        one, none = (trainings_of(self._study, Limits(trials=n)) for n in (1, 0))
        each = one - none
        left = max(0, self._limits.trials - sum(t.ended for t in others)) * each
        left += max(0, 2 * self._study.finals - sum(t.ended for t in finals))
        running = (t for t in (*others, *finals) if t.state is State.RUNNING)
        left = max(0.0, left - sum(t.progress * t.proposal.fidelity.share for t in running))
        seconds = pace * left
        if self._limits.seconds is not None:
            spent = self._work.run_seconds - self._from
            seconds = min(seconds, max(0.0, self._limits.seconds - spent))
        return round(seconds, 1)

    def _begun_happening(self, trial: Trial, *, on: bool) -> Happening:
        what = f"goes on to {percent(trial.proposal.fidelity.share)}" if on else "begins"
        return self._happening(trial, f"trial {trial.number} {what}: {self._what(trial)}")

    def _ended_happening(self, trial: Trial) -> Happening:
        return self._happening(trial, f"trial {trial.number} {self._result(trial)}")

    def _result(self, trial: Trial) -> str:
        measured = trial.measurement
        if measured is None:
            return f"{trial.state}: {trial.failure}"
        score = f"{self._study.task.metric} {trial.score:.4f}, {measured.seconds:.1f} s"
        if trial.state is State.PAUSED:
            return f"paused at {percent(measured.share)}: {score}"
        return f"complete: {score}"

    def _happening(self, trial: Trial, message: str) -> Happening:
        level: Level = "warning" if trial.state in {State.FAILED, State.OOM} else "info"
        return Happening(kind="trial", message=message, level=level, data=self._data(trial))

    def _data(self, trial: Trial) -> dict[str, Any]:
        proposal, measured = trial.proposal, trial.measurement
        return {
            "number": trial.number,
            "state": trial.state.value,
            "purpose": proposal.purpose.value,
            "label": proposal.label,
            "of": proposal.of,
            "share": proposal.fidelity.share,
            "promoted": bool(trial.rungs),
            "score": finite(measured.score) if measured else None,
            "parameters": proposal.configuration.parameters(self._study.space.slots),
            "seconds": round(measured.seconds, 3) if measured else None,
            "failure": trial.failure,
        }

    def _what(self, trial: Trial) -> str:
        proposal, slots = trial.proposal, self._study.space.slots
        if proposal.of is not None:
            text = f"trial {proposal.of} again, seed {proposal.seed}"
        else:
            text = proposal.label or proposal.configuration.summary(slots)
        text = text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
        return f"{text}, {proposal.configuration.parameters(slots):,} parameters"


def furthest(told: Iterable[Event]) -> dict[str, float]:
    """Return the largest share of each phase that a job has told of."""
    found: dict[str, float] = {}
    for event in told:
        data = event.happening.data
        if event.happening.kind == "progress" and "share" in data:
            found[data["phase"]] = max(found.get(data["phase"], 0.0), data["share"])
    return found


def finite(number: float) -> float | None:
    """Return a number that JSON can hold, or None."""
    return number if math.isfinite(number) else None


def _mark(event: Event) -> tuple[Any, ...]:
    data = event.happening.data
    return data.get("number"), data.get("state"), data.get("share")


def _state(trial: Trial) -> tuple[Any, ...]:
    return trial.number, trial.state.value, trial.proposal.fidelity.share


def _best(trials: Iterable[Trial]) -> float | None:
    """Return the best score among those that were trained the longest."""
    measured = [t.measurement for t in trials if t.measurement and math.isfinite(t.score)]
    best = max(measured, key=lambda m: (m.share, m.score), default=None)
    return best.score if best else None
