"""The life of a worker process: claim a job, do it, stay warm for the next, end when idle."""

import logging
import time
from collections.abc import Callable, Mapping

from autopeft.errors import AutopeftError, StoreError
from autopeft.service.event import Happening
from autopeft.service.job import JobState, Kind, Lane
from autopeft.service.ports import Claim
from autopeft.worker import checking, estimating, searching, training
from autopeft.worker.ends import failed, is_outage, trouble_for
from autopeft.worker.heartbeat import BEAT_EVERY, Heartbeat
from autopeft.worker.means import Means
from autopeft.worker.patient import rest
from autopeft.worker.stops import ExtendedError, LostError, ShutdownError, StopError
from autopeft.worker.work import Work

logger = logging.getLogger(__name__)

IDLE, LET_GO = 0, 75
"""How a worker process ends: there was nothing to do, or the store was away for too long."""
_LOOK_EVERY = 0.15
_SIGN_EVERY = 5.0
_AGAIN = 1.0
_PATIENCE = 600.0
_MOST_EQUAL = 3
"""How often the work may be begun again because of the same error, without any progress."""

_DOING: Mapping[Kind, Callable[[Means, Work], None]] = {
    Kind.SEARCH: searching.search,
    Kind.ESTIMATE: estimating.estimate,
    Kind.DATASET: checking.read_dataset,
    Kind.TRAINING: training.train,
}


class Worker:
    """Works on the jobs of one lane, until it is told to stop or was idle for long enough.

    ``stopping`` tells whether this process is to end. ``main`` says that it works in the main
    thread, where work that does not look can be interrupted. ``patience`` is how many seconds it
    waits for a store, or for room on a disk, looking ``again`` after some.
    """

    def __init__(
        self,
        means: Means,
        lane: Lane,
        name: str,
        stopping: Callable[[], bool],
        *,
        main: bool = False,
        patience: float = _PATIENCE,
        beat_every: float = BEAT_EVERY,
        again: float = _AGAIN,
    ) -> None:
        self._means = means
        self._jobs = means.service.jobs
        self._lane = lane
        self._name = name
        self._stopping = stopping
        self._main = main
        self._patience = patience
        self._beat_every = beat_every
        self._again = again
        self._signed = 0.0

    def run(self) -> int:
        """Work, and return how it ended; one that is told to stop signs off."""
        try:
            return self._run()
        finally:
            if self._stopping():  # else whoever has started it says who serves the lane
                self._sign_off()

    def _run(self) -> int:
        busy = time.monotonic()
        while not self._stopping():
            try:
                claim = self._next()
            except StoreError as error:
                logger.warning("cannot look for work: %s", error)
                if time.monotonic() - busy > self._patience:
                    return LET_GO
                self._rest(self._again)
                continue
            if claim is not None:
                if not self.do(claim):
                    return LET_GO
                busy = time.monotonic()
            elif time.monotonic() - busy >= self._means.settings.idle:
                return IDLE
            else:
                self._rest(_LOOK_EVERY)
        return IDLE

    def do(self, claim: Claim) -> bool:
        """Work on a job until it has ended, was put back, or is somebody else's.

        Returns False where nothing could be written for so long that it is left as it is.
        """
        job = claim.job
        logger.info("%s begins", job.id)
        heart = Heartbeat(
            claim, self._stopping, every=self._beat_every, main=self._main,
            sign=lambda: self._sign(job.id),
        )  # fmt: skip
        with heart:
            work = Work(claim, heart)
            written = self._through(work)
        logger.info("%s is left, %s", job.id, work.job.state)
        return written

    def _sign(self, doing: str = "") -> None:
        now = time.monotonic()
        if now - self._signed >= _SIGN_EVERY:
            self._jobs.sign(self._lane, self._name, doing)
            self._signed = now

    def _sign_off(self) -> None:
        try:
            self._jobs.sign_off(self._name)
        except StoreError as error:
            logger.warning("cannot sign off: %s", error)

    def _next(self) -> Claim | None:
        self._sign()
        return self._jobs.claim(self._lane, self._name) if self._jobs.waiting(self._lane) else None

    def _through(self, work: Work) -> bool:
        """Do the work, again where that helps, and write down how it ended."""
        equal, before = 0, ("", -1)
        while (ending := self._ending(work)) is not None:
            if isinstance(ending, ExtendedError):
                work.heart.extended()
                work.say("the limits were changed; the search goes on with them")
                continue
            mark = (str(ending), work.progress.trials)
            equal, before = (equal + 1 if mark == before else 1), mark
            if is_outage(ending) and equal <= _MOST_EQUAL and self._recovered(work, ending):
                continue
            return self._written(work, ending)
        return True

    def _ending(self, work: Work) -> BaseException | None:
        """Do the work; return what has ended it before it was done."""
        job = work.job
        doing = checking.validate if job.state is JobState.VALIDATING else _DOING[job.kind]
        try:
            work.heart.look()
            doing(self._means, work)
        except KeyboardInterrupt:
            return work.heart.reason() or ShutdownError("the worker was interrupted")
        except AutopeftError as error:
            return _bare(error)
        except Exception as error:
            logger.exception("%s failed", job.id)
            return _bare(error)
        return None

    def _recovered(self, work: Work, outage: BaseException) -> bool:
        """Wait until store and disk can be written again; False where that takes too long."""
        logger.warning("%s stops for a while: %s", work.job.id, outage)
        began = time.monotonic()
        while time.monotonic() - began < self._patience:
            try:
                rest(self._again, work.heart.look)
                self._means.service.check()
                self._means.folder(work.job.id)
            except StopError:
                return False
            except AutopeftError:
                continue
            work.outages += 1
            seconds = time.monotonic() - began
            work.warn(
                f"the store or the disk could not be written for {seconds:.0f} s; the work goes on "
                "from what is recorded"
            )
            return True
        return False

    def _written(self, work: Work, ending: BaseException) -> bool:
        """Write down how the work has ended, for as long as there is any use in trying."""
        began = time.monotonic()
        while True:
            try:
                self._write(work, ending)
            except LostError as error:
                logger.warning("%s is lost: %s", work.job.id, error)
            except StoreError as error:
                logger.warning("%s: cannot write how it ended: %s", work.job.id, error)
                if self._stopping() or time.monotonic() - began > self._patience:
                    return False
                self._rest(self._again)
                continue
            return True

    def _write(self, work: Work, ending: BaseException) -> None:
        if isinstance(reason := work.heart.reason(), StopError) and is_outage(ending):
            ending = reason
        if isinstance(ending, LostError):
            raise ending
        if isinstance(ending, ShutdownError):
            leaving = "the worker is shutting down; this goes on from what is recorded"
            work.release(Happening(kind="message", message=leaving))
        elif isinstance(ending, StopError):
            work.release()
        else:
            trouble = trouble_for(ending, work.job, self._means.settings)
            if work.job.kind is Kind.DATASET:
                checking.give_up(self._means, work.job, trouble)
            work.end(lambda job: failed(job, trouble))

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopping() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_EVERY))


def _bare(error: Exception) -> Exception:
    """Return an error without its traceback, which keeps a trial's tensors alive."""
    return error.with_traceback(None)
