"""The loop: propose, run, remember, learn. It sees sockets, never machines."""

import time
from collections.abc import Callable, Iterator

from autopeft.ports import Evaluator, Executor, Lease, Store, Strategy
from autopeft.selection import finals
from autopeft.study import Limits, Study
from autopeft.trial import Purpose, Trial

MOST_ATTEMPTS = 3


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
    with store.lease(study.id) as lease:
        known = store.trials(study.id)
        for trial in known:
            strategy.tell(trial)
        for trial in _given_up(known):
            store.finish(study.id, trial)
            strategy.tell(trial)
            yield trial

        def searching() -> Iterator[Trial]:
            yield from _begun(study, known, store, lease)
            asked = sum(trial.proposal.purpose is not Purpose.FINAL for trial in known)
            while asked < limits.trials and clocked.has_room(1 + 2 * study.finals):
                if (proposal := strategy.ask()) is None:
                    return
                asked += 1
                yield store.start(study.id, store.add_trial(study.id, proposal))

        def confirming() -> Iterator[Trial]:
            for proposal in finals(study, store.trials(study.id)):
                if not clocked.has_room(1):
                    return
                yield store.start(study.id, store.add_trial(study.id, proposal))

        for stage in (searching, confirming):
            for trial in executor.run(evaluator, stage()):
                lease.renew()
                if trial.ended:
                    store.finish(study.id, trial)
                    strategy.tell(trial)
                    clocked.saw(trial)
                yield trial


def _given_up(known: tuple[Trial, ...]) -> Iterator[Trial]:
    """Fail the trials that earlier runs began so often that they may be what ended those runs."""
    for trial in known:
        if not trial.ended and trial.attempts >= MOST_ATTEMPTS:
            yield trial.failed(
                f"the process ended {trial.attempts} times while it ran; was memory short?"
            )


def _begun(study: Study, known: tuple[Trial, ...], store: Store, lease: Lease) -> Iterator[Trial]:
    """Yield the trials that an earlier run left unfinished, started anew."""
    for trial in known:
        lease.renew()
        if not trial.ended and trial.attempts < MOST_ATTEMPTS:
            yield store.start(study.id, trial)


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
        """Whether so many more trials would end in time; the first is always tried."""
        if self._end is None:
            return True
        mean = sum(self._seconds) / len(self._seconds) if self._seconds else 0.0
        return self._now() + trials * mean < self._end
