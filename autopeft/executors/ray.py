"""Many devices: Ray Tune drives workers that keep their backbone. The only file that knows Ray.

Tune's loop runs in a thread of its own and meets the study only through a `Handover`.
"""

import logging
import os
import pickle
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

from autopeft.errors import OptionError
from autopeft.executors.attempt import attempt_all
from autopeft.executors.environment import environment
from autopeft.executors.handover import Handover
from autopeft.ports import Evaluator
from autopeft.trial import Trial

try:
    import ray
    from ray import cloudpickle, tune
    from ray.tune.search import Searcher
except ImportError as error:
    raise OptionError(
        "the executor 'ray' needs the package ray[tune]: pip install 'autopeft[ray]'"
    ) from error

MOST_DEATHS = 3

# What Ray and Tune would write, print or change without having been asked.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # the user's data may lie at a relative path
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),  # our store is the only memory of a study
}

logger = logging.getLogger(__name__)


class RayExecutor:
    """Runs up to ``workers`` trials or packs at once, each worker a process with its own backbone.

    Joins the Ray cluster that this process is connected to, or that ``RAY_ADDRESS`` names;
    otherwise one is started on this machine for the time of a run. Each worker reserves
    ``cpus`` and ``gpus`` of the cluster, in Ray's sense: shares are allowed.
    """

    def __init__(self, workers: int, *, cpus: float = 1, gpus: float = 0) -> None:
        self._workers = workers
        self._resources = {"cpu": cpus, "gpu": gpus}

    def run(
        self, evaluator: Evaluator, trials: Iterator[Trial], *, ahead: int = 1
    ) -> Iterator[Trial]:
        """Pull a trial, or a pack of ``ahead``, for every free worker.

        Each is yielded whenever it has changed.

        Raises:
            OptionError: The cluster cannot be reached, or has no room for so many workers.
        """
        with environment(QUIET), _cluster(self._workers):
            self._check_room(ray.cluster_resources())
            with self._tuning(evaluator, ahead) as handover:
                yield from handover.serve(trials)

    def _check_room(self, cluster: Mapping[str, float]) -> None:
        for name, each in self._resources.items():
            if self._workers * each > (have := cluster.get(name.upper(), 0)):
                raise OptionError(
                    f"the Ray cluster has {have:g} {name.upper()}s, too few for {self._workers} "
                    f"workers with {each:g} each: ask for fewer workers, or for less per worker"
                )

    @contextmanager
    def _tuning(self, evaluator: Evaluator, ahead: int) -> Iterator[Handover]:
        """Run Tune in a thread; on any way out its workers are released."""
        handover = Handover()
        pickled = cloudpickle.dumps(evaluator)  # also of a class in the user's __main__
        thread = threading.Thread(target=self._tune, args=(handover, pickled, ahead), daemon=True)
        thread.start()
        try:
            yield handover
        finally:
            handover.close()
            thread.join()

    def _tune(self, handover: Handover, evaluator: bytes, ahead: int) -> None:
        """Run Tune until all is closed, and sweep away what it has written."""
        folder = tempfile.mkdtemp(prefix="autopeft-ray-")
        closer = _Closer(handover)
        try:
            tune.run(
                _Worker,
                config={"evaluator": evaluator},
                num_samples=-1,
                search_alg=_Puller(handover, ahead),
                callbacks=[closer],
                max_concurrent_trials=self._workers,
                resources_per_trial=self._resources,
                reuse_actors=True,
                storage_path=folder,
                trial_name_creator=attrgetter("trial_id"),
                trial_dirname_creator=attrgetter("trial_id"),
                verbose=0,
            )
        except _Closed:
            pass
        except Exception as error:  # raised again in the consumer's thread
            handover.tell(error)
        finally:
            for written in (folder, closer.staging):
                shutil.rmtree(written, ignore_errors=True)
            handover.end()


class _Worker(tune.Trainable):  # type: ignore[misc]  # Ray is untyped to us
    """Lives in a process of its own and keeps the evaluator from trial to trial."""

    def setup(self, config: dict[str, bytes]) -> None:
        self._pickled = config["evaluator"]
        self._evaluator: Evaluator | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, bytes]) -> bool:
        trials: tuple[Trial, ...] = pickle.loads(new_config["trials"])
        self._open = {trial.number for trial in trials}
        self._changes = self._attempt(trials)
        return True

    def step(self) -> dict[str, Any]:
        """Go on to the next change of a trial, or to an error that has to stop the study."""
        change: Trial | Exception
        try:
            change = next(self._changes)
        except Exception as error:
            change = error
        if isinstance(change, Trial) and change.ended:
            self._open.discard(change.number)
        done = isinstance(change, Exception) or not self._open
        if done:
            self._changes.close()  # lets go of the trials' tensors before the next one comes
        return {"change": pickle.dumps(change), "done": done}

    def _attempt(self, trials: Sequence[Trial]) -> Generator[Trial, None, None]:
        if self._evaluator is None:
            self._evaluator = pickle.loads(self._pickled)
        yield from attempt_all(self._evaluator, trials)


class _Puller(Searcher):  # type: ignore[misc]  # Ray is untyped to us
    """Brings Tune the consumer's trials, and the consumer what becomes of them.

    What Tune calls a trial is a pack here, mostly of one. Lost trials are proposed again here and
    not by Tune's ``max_failures``: Tune 2.60 counts the death of an idle worker twice and gives up
    the trial that it was about to get. What was lost in a pack is tried again alone: one of its
    trials may have been the reason.
    """

    def __init__(self, handover: Handover, ahead: int) -> None:
        super().__init__()
        self._handover = handover
        self._ahead = ahead
        self._live: dict[str, dict[int, Trial]] = {}
        self._lost: list[Trial] = []
        self._deaths: Counter[int] = Counter()
        self._exhausted = False

    def suggest(self, trial_id: str) -> dict[str, bytes] | str | None:
        if pack := self._next():
            self._live[trial_id] = {trial.number: trial for trial in pack}
            return {"trials": pickle.dumps(pack)}
        if self._live:  # any of them can still be lost, so this is not the end
            return None
        self._handover.close()
        return str(Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        change: Trial = pickle.loads(result["change"])
        if change.ended:
            del self._live[trial_id][change.number]
        self._handover.tell(change)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        pack = self._live.pop(trial_id)
        if result and not error:
            self._handover.tell(pickle.loads(result["change"]))
            return
        for trial in pack.values():
            self._deaths[trial.number] += 1
            if (deaths := self._deaths[trial.number]) < MOST_DEATHS:
                logger.warning("the worker of trial %d died; the trial starts again", trial.number)
                self._lost.append(trial)
            else:
                reason = f"the worker died {deaths} times while it ran; was memory short?"
                self._handover.tell(trial.failed(reason))

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: our store is the only memory of a study."""

    def _next(self) -> tuple[Trial, ...]:
        if self._lost:
            return (self._lost.pop(),)
        pack: list[Trial] = []
        while len(pack) < self._ahead and not self._exhausted:
            trial = self._handover.pull()
            self._exhausted = trial is None
            pack += [] if trial is None else [trial]
        return tuple(pack)


class _Closer(tune.Callback):  # type: ignore[misc]  # Ray is untyped to us
    """Ends Tune once all is closed, before it writes or prints a summary."""

    def __init__(self, handover: Handover) -> None:
        self._handover = handover
        self.staging = Path(os.devnull)

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:  # noqa: ARG002
        if not self._handover.closed:
            return
        for trial in trials:
            self.staging = Path(trial.local_experiment_path).parent
            if trial.status == "RUNNING":  # in the middle of a step it would not hear a request
                ray.kill(trial.temporary_state.ray_actor)
        raise _Closed


class _Closed(Exception):  # noqa: N818  # nothing went wrong
    """The consumer wants no more, or all trials have ended."""


@contextmanager
def _cluster(workers: int) -> Iterator[None]:
    """Be connected to a Ray cluster; shut down only what was started here."""
    if ray.is_initialized():
        yield
        return
    own = {"address": "local", "num_cpus": max(workers, os.cpu_count() or 1)}
    address = os.environ.get("RAY_ADDRESS")
    where = {} if address else own
    try:
        ray.init(**where, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise OptionError(
            f"cannot connect to the Ray cluster that RAY_ADDRESS={address} names: is it running, "
            "and does it use the same RAY_AUTH_MODE?"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
