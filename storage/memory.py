"""A store that lasts as long as its process, for tests and for users of the library."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import RLock
from uuid import uuid4

from autopeft.answer import Answer
from autopeft.plan import Plan
from autopeft.ports import Lease
from autopeft.storage.leases import HeldLease, Holder, refuse_if_held
from autopeft.storage.lookup import ended_otherwise, find_study, unknown_study, unknown_trial
from autopeft.storage.processes import Process, this_process
from autopeft.study import Study
from autopeft.trial import Proposal, Trial


@dataclass
class _Kept:
    """All that is remembered of one study."""

    study: Study
    trials: list[Trial] = field(default_factory=list)
    answer: tuple[Answer, Plan] | None = None
    holder: Holder | None = None


class MemoryStore:
    """Fills ``Store`` within one process; may be used from several threads."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        process: Callable[[], Process] = this_process,
    ) -> None:
        self._clock = clock
        self._process = process
        self._kept: dict[str, _Kept] = {}  # the most recently used last
        self._lock = RLock()

    def add_study(self, study: Study) -> None:
        """Add a study, or only update where its model and data are when it is known."""
        with self._lock:
            kept = self._kept.pop(study.id, None) or _Kept(study)
            kept.study = replace(kept.study, where=study.where)
            self._kept[study.id] = kept

    def study(self, reference: str) -> Study:
        """Find a study by its id, at least four of its first digits, or ``latest``."""
        with self._lock:
            return self._kept[find_study(reference, tuple(reversed(self._kept)))].study

    def studies(self) -> tuple[Study, ...]:
        """List all studies, the most recently used first."""
        with self._lock:
            return tuple(kept.study for kept in reversed(self._kept.values()))

    def add_trial(self, study_id: str, proposal: Proposal) -> Trial:
        """Give a proposal the next number and remember it as waiting."""
        with self._lock:
            trials = self._of(study_id).trials
            trials.append(Trial(number=len(trials), proposal=proposal))
            return trials[-1]

    def promote(self, study_id: str, trial: Trial, share: float) -> Trial:
        """Remember that a paused trial waits to be trained up to a larger share of its recipe."""
        with self._lock:
            promoted = self._trial(study_id, trial.number).promoted(share)
            self._of(study_id).trials[trial.number] = promoted
            return promoted

    def start(self, study_id: str, trial: Trial) -> Trial:
        """Remember that a trial is about to run, and return it as started."""
        with self._lock:
            self._trial(study_id, trial.number)
            started = trial.started()
            self._of(study_id).trials[trial.number] = started
            return started

    def put_back(self, study_id: str, trial: Trial) -> None:
        """Take back that a trial was started, because its run was stopped in an orderly way."""
        with self._lock:
            if not self._trial(study_id, trial.number).ended:
                self._of(study_id).trials[trial.number] = trial.put_back()

    def finish(self, study_id: str, trial: Trial) -> None:
        """Remember a trial that has ended; doing it again with an equal trial changes nothing."""
        assert trial.ended, "only a trial that has ended can be finished"
        with self._lock:
            known = self._trial(study_id, trial.number)
            if known.ended and repr(known) != repr(trial):  # as text: nan differs from itself
                raise ended_otherwise(study_id, known)
            self._of(study_id).trials[trial.number] = trial

    def trials(self, study_id: str, *, predictions: bool = True) -> tuple[Trial, ...]:
        """List all trials of a study by number; without predictions they have none."""
        with self._lock:
            known = tuple(self._of(study_id).trials)
        return known if predictions else tuple(map(_bare, known))

    def save_answer(self, study_id: str, answer: Answer, plan: Plan) -> None:
        """Remember what a study has found; a later answer replaces an earlier one."""
        with self._lock:
            self._of(study_id).answer = (answer, plan)

    def answer(self, study_id: str) -> tuple[Answer, Plan] | None:
        """Return what a study has found, or None while it has found nothing."""
        with self._lock:
            return self._of(study_id).answer

    @contextmanager
    def lease(self, study_id: str) -> Iterator[Lease]:
        """Hold a study for the time of a ``with`` block."""
        token = uuid4().hex
        with self._lock:
            kept, process, now = self._of(study_id), self._process(), self._clock()
            refuse_if_held(study_id, kept.holder, process, now)
            kept.holder = Holder(token=token, process=process, heartbeat=now)

        def beat(now: float) -> bool:
            with self._lock:
                if kept.holder is None or kept.holder.token != token:
                    return False
                kept.holder = replace(kept.holder, heartbeat=now)
                return True

        try:
            yield HeldLease(study_id, clock=self._clock, beat=beat)
        finally:
            with self._lock:
                if kept.holder and kept.holder.token == token:
                    kept.holder = None

    def _of(self, study_id: str) -> _Kept:
        if study_id not in self._kept:
            raise unknown_study(study_id)
        return self._kept[study_id]

    def _trial(self, study_id: str, number: int) -> Trial:
        trials = self._of(study_id).trials
        if not 0 <= number < len(trials):
            raise unknown_trial(study_id, number)
        return trials[number]


def _bare(trial: Trial) -> Trial:
    measured = trial.measurement
    return replace(trial, measurement=measured and replace(measured, predictions=b""))
