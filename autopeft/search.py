"""The loop: propose, run, remember, learn. It sees sockets, never machines."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Self

from autopeft.errors import AutopeftError, StoreError
from autopeft.ports import Evaluator, Executor, Store, Strategy
from autopeft.selection import finals
from autopeft.study import Limits, Study
from autopeft.trial import Purpose, Trial

MOST_ATTEMPTS = 3
_LATEST = 3
_ORDERLY = (KeyboardInterrupt, GeneratorExit, AutopeftError)


def search(
    study: Study,
    limits: Limits,
    *,
    strategy: Strategy,
    evaluator: Evaluator,
    executor: Executor,
    store: Store,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Trial]:
    """Run a study, or go on with it, yielding every trial whenever it has changed.

    What an earlier run has measured is told to the strategy and not measured again; what it had
    begun is begun anew. At the end the finalists are trained with fresh seeds.
    """
    clocked = _Clock(limits, clock)
    with store.lease(study.id) as lease, _Running(study, store) as running:
        known = store.trials(study.id)
        for trial in known:
            strategy.tell(trial)
        for trial in _given_up(known):
            store.finish(study.id, trial)
            strategy.tell(trial)
            yield trial

        def searching() -> Iterator[Trial]:
            for trial in known:
                lease.renew()
                if not trial.ended and trial.attempts < MOST_ATTEMPTS:
                    yield running.begin(trial)
            asked = sum(trial.proposal.purpose is not Purpose.FINAL for trial in known)
            while asked < limits.trials and clocked.has_room(1 + 2 * study.finals):
                if (proposal := strategy.ask()) is None:
                    return
                asked += 1
                yield running.begin(store.add_trial(study.id, proposal))

        def confirming() -> Iterator[Trial]:
            needed = finals(study, store.trials(study.id))
            for _, group in itertools.groupby(needed, key=lambda proposal: proposal.seed):
                pair = list(group)  # one seed for all finalists, or they could not be compared
                if not clocked.has_room(len(pair)):
                    return
                for proposal in pair:
                    yield running.begin(store.add_trial(study.id, proposal))

        for stage in (searching, confirming):
            for trial in executor.run(evaluator, stage()):
                lease.renew()
                if trial.ended:
                    running.end(trial)
                    strategy.tell(trial)
                    clocked.saw(trial)
                yield trial


class _Running:
    """The trials that run now. Those that an orderly stop leaves unfinished are put back.

    Anything else that ends the search counts as an attempt: the trial may have been the reason.
    """

    def __init__(self, study: Study, store: Store) -> None:
        self._study_id = study.id
        self._store = store
        self._trials: dict[int, Trial] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        if kind is None or not issubclass(kind, _ORDERLY):
            return
        for trial in self._trials.values():
            with suppress(StoreError):  # what stopped the search may be the store itself
                self._store.put_back(self._study_id, trial)

    def begin(self, trial: Trial) -> Trial:
        started = self._store.start(self._study_id, trial)
        self._trials[trial.number] = started
        return started

    def end(self, trial: Trial) -> None:
        self._store.finish(self._study_id, trial)
        del self._trials[trial.number]


def _given_up(known: tuple[Trial, ...]) -> Iterator[Trial]:
    """Fail the trials that earlier runs began so often that they may be what ended those runs."""
    for trial in known:
        if not trial.ended and trial.attempts >= MOST_ATTEMPTS:
            yield trial.failed(
                f"the process ended {trial.attempts} times while it ran; was memory short?"
            )


class _Clock:
    """Tells whether there is time left, by how long trials have taken so far."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._now = now
        self._end = None if limits.seconds is None else now() + limits.seconds
        self._seconds: list[float] = []

    def saw(self, trial: Trial) -> None:
        if trial.measurement:
            self._seconds.append(trial.measurement.seconds)

    def has_room(self, trials: int) -> bool:
        """Whether so many more trials would end in time; the first is always tried.

        They are taken to last as long as the longest of the latest: costs differ between
        configurations, and a busy machine becomes slower.
        """
        if self._end is None:
            return True
        return self._now() + trials * max(self._seconds[-_LATEST:], default=0.0) < self._end
