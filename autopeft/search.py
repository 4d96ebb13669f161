"""The loop: propose, run, promote, remember, learn. It sees sockets, never machines."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Self

from autopeft.clock import Clock
from autopeft.errors import AutopeftError, StoreError
from autopeft.halving import promotion
from autopeft.ports import Evaluator, Executor, Store, Strategy
from autopeft.selection import finals
from autopeft.study import Limits, Study
from autopeft.trial import Fidelity, Proposal, Purpose, Trial

Awaited = Callable[[Callable[[], None]], AbstractContextManager[object]]
MOST_ATTEMPTS = 3
ORDERLY = (KeyboardInterrupt, GeneratorExit, AutopeftError)
"""What ends a search without being the fault of what ran."""


def search(
    study: Study,
    limits: Limits,
    *,
    strategy: Strategy,
    evaluator: Evaluator,
    executor: Executor,
    store: Store,
    clock: Callable[[], float] = time.monotonic,
    awaited: Awaited = nullcontext,
    pack: int = 1,
) -> Iterator[Trial]:
    """Run a study, or go on with it, yielding every trial whenever it has changed.

    What an earlier run has measured is told to the strategy and not measured again; what it had
    begun is begun anew. A trial pauses at each of the study's rungs; whether it goes on is decided
    before a new one is asked for. At the end the finalists are trained with fresh seeds.

    ``awaited`` is what the strategy may have to wait for before it proposes, such as a supernet. It
    is given what says that the search is alive, to be called now and again while that takes long.

    Up to ``pack`` trials are begun before any of them has ended, for executors that train them
    together: what the first of them teaches comes too late for the others. The same study with the
    same ``pack`` has the same trials.
    """
    clocked = Clock(limits, clock)
    with (
        store.lease(study.id) as lease,
        awaited(lease.renew),
        _Running(study, store) as running,
    ):
        for trial in running.known:
            strategy.tell(trial)
        for trial in _given_up(running.known):
            running.end(trial)
            strategy.tell(trial)
            yield trial

        def beside() -> int:
            """Count the trials of a pack that have begun, and have taken no time yet."""
            return len(running.now) if pack > 1 else 0

        def searching() -> Iterator[Trial]:
            for trial in running.known:
                lease.renew()
                if not trial.ended:
                    yield running.begin(trial)
            while clocked.has_room(1 + beside(), later=2 * study.finals):
                if better := promotion(study, running.known):
                    yield running.promote(*better)
                elif running.asked < limits.trials and (proposal := strategy.ask()):
                    lowest = Fidelity(share=study.rungs[0])
                    yield running.add(replace(proposal, fidelity=lowest))
                else:
                    return

        def completing() -> Iterator[Trial]:
            while clocked.has_room(1 + beside()) and (better := promotion(study, running.known)):
                yield running.promote(*better)

        def confirming() -> Iterator[Trial]:
            needed = finals(study, running.known)
            for _, group in itertools.groupby(needed, key=lambda proposal: proposal.seed):
                pair = list(group)  # one seed for all finalists, or they could not be compared
                if not clocked.has_room(len(pair)):
                    return
                for proposal in pair:
                    yield running.add(proposal)

        def stages() -> Iterator[Iterator[Trial]]:
            yield searching()
            # with several workers the best of a rung may be known only when the last has ended
            while clocked.has_room(1) and promotion(study, running.known):
                yield completing()
            yield confirming()

        for stage in stages():
            for trial in executor.run(evaluator, stage, ahead=pack):
                lease.renew()
                if trial.ended:
                    running.end(trial)
                    strategy.tell(trial)
                    clocked.saw(trial)
                yield trial


class _Running:
    """The study's trials, and which of them run now.

    Those that an orderly stop leaves unfinished are put back. Anything else that ends the search
    counts as an attempt: the trial may have been the reason.
    """

    def __init__(self, study: Study, store: Store) -> None:
        self._study_id = study.id
        self._store = store
        self._trials: dict[int, Trial] = {}
        self.now: dict[int, Trial] = {}

    def __enter__(self) -> Self:
        self._trials = {trial.number: trial for trial in self._store.trials(self._study_id)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        if kind is None or not issubclass(kind, ORDERLY):
            return
        for trial in self.now.values():
            with suppress(StoreError):  # what stopped the search may be the store itself
                self._store.put_back(self._study_id, trial)

    @property
    def known(self) -> tuple[Trial, ...]:
        """All trials of the study, as they are now."""
        return tuple(self._trials.values())

    @property
    def asked(self) -> int:
        """Count the trials that are no finals."""
        return sum(t.proposal.purpose is not Purpose.FINAL for t in self._trials.values())

    def add(self, proposal: Proposal) -> Trial:
        return self.begin(self._store.add_trial(self._study_id, proposal))

    def promote(self, trial: Trial, share: float) -> Trial:
        return self.begin(self._store.promote(self._study_id, trial, share))

    def begin(self, trial: Trial) -> Trial:
        started = self._store.start(self._study_id, trial)
        self._trials[trial.number] = self.now[trial.number] = started
        return started

    def end(self, trial: Trial) -> None:
        self._store.finish(self._study_id, trial)
        self._trials[trial.number] = trial
        self.now.pop(trial.number, None)


def _given_up(known: tuple[Trial, ...]) -> Iterator[Trial]:
    """Fail the trials that earlier runs began so often that they may be what ended those runs."""
    for trial in known:
        if not trial.ended and trial.attempts >= MOST_ATTEMPTS:
            yield trial.failed(
                f"the process ended {trial.attempts} times while it ran; was memory short?"
            )
