"""A store that is waited for when it is away for a while, where that can do no harm."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from autopeft.answer import Answer
from autopeft.errors import StoreError
from autopeft.plan import Plan
from autopeft.ports import Lease, Store
from autopeft.study import Study
from autopeft.trial import Proposal, Trial

logger = logging.getLogger(__name__)

PATIENCE = 100.0
"""Seconds; less than the silence after which another machine may take a study over."""
_AGAIN = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_GLANCE_EVERY = 0.2


class PatientStore:
    """Wraps a store so that an hour of training is not lost because it is away for a minute.

    Only what may be done twice is tried again: the end of a trial, an answer, a sign of life. All
    else raises, which stops a search in an orderly way. ``look`` is asked meanwhile whether there
    is any use in waiting, and ``waited`` is told of the seconds when that is over.
    """

    def __init__(
        self,
        inner: Store,
        look: Callable[[], None],
        *,
        patience: float = PATIENCE,
        again: tuple[float, ...] = _AGAIN,
        waited: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._inner = inner
        self._look = look
        self._patience = patience
        self._again = again
        self._waited = waited

    def add_study(self, study: Study) -> None:
        """Add a study, or only update where its model and data are when it is known."""
        self._patiently(lambda: self._inner.add_study(study))

    def study(self, reference: str) -> Study:
        """Find a study by its id, the start of its id, or ``latest``."""
        return self._inner.study(reference)

    def studies(self) -> tuple[Study, ...]:
        """List all studies, the most recently used first."""
        return self._inner.studies()

    def add_trial(self, study_id: str, proposal: Proposal) -> Trial:
        """Give a proposal the next number; not tried again, or there might be two of it."""
        return self._inner.add_trial(study_id, proposal)

    def promote(self, study_id: str, trial: Trial, share: float) -> Trial:
        """Remember that a paused trial waits to be trained further."""
        return self._inner.promote(study_id, trial, share)

    def start(self, study_id: str, trial: Trial) -> Trial:
        """Remember that a trial is about to run, and return it as started."""
        return self._inner.start(study_id, trial)

    def put_back(self, study_id: str, trial: Trial) -> None:
        """Take back that a trial was started."""
        self._inner.put_back(study_id, trial)

    def finish(self, study_id: str, trial: Trial) -> None:
        """Remember a trial that has ended, as soon as that can be written."""
        self._patiently(lambda: self._inner.finish(study_id, trial))

    def trials(self, study_id: str, *, predictions: bool = True) -> tuple[Trial, ...]:
        """List all trials of a study by number."""
        return self._inner.trials(study_id, predictions=predictions)

    def save_answer(self, study_id: str, answer: Answer, plan: Plan) -> None:
        """Remember what a study has found, as soon as that can be written."""
        self._patiently(lambda: self._inner.save_answer(study_id, answer, plan))

    def answer(self, study_id: str) -> tuple[Answer, Plan] | None:
        """Return what a study has found, or None while it has found nothing."""
        return self._inner.answer(study_id)

    @contextmanager
    def lease(self, study_id: str) -> Iterator[Lease]:
        """Hold a study for the time of a ``with`` block."""
        with self._inner.lease(study_id) as lease:
            yield _PatientLease(lease, self._patience)

    def _patiently(self, act: Callable[[], None]) -> None:
        began, waits = time.monotonic(), iter(self._again)
        wait = 0.0
        while True:
            try:
                act()
            except StoreError as error:
                if time.monotonic() - began > self._patience:
                    raise
                wait = next(waits, wait)
                logger.warning("%s; waiting %.1f s", error, wait)
                rest(wait, self._look)
            else:
                if wait:
                    self._waited(time.monotonic() - began)
                return


class _PatientLease:
    """A lease whose signs of life may fail for a while."""

    def __init__(self, inner: Lease, patience: float) -> None:
        self._inner = inner
        self._patience = patience
        self._since: float | None = None

    def renew(self) -> None:
        """Say that the holder is alive."""
        try:
            self._inner.renew()
        except StoreError:
            now = time.monotonic()
            self._since = self._since or now
            if now - self._since > self._patience:
                raise
        else:
            self._since = None


def rest(seconds: float, look: Callable[[], None]) -> None:
    """Wait, looking often whether to go on waiting."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        look()
        time.sleep(min(left, _GLANCE_EVERY))
