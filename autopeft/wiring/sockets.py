"""Which class fills which socket. Rooms are imported only when they are needed."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from autopeft.errors import OptionError
from autopeft.ports import Evaluator, Executor, Store
from autopeft.search import search
from autopeft.service.ports import Service
from autopeft.study import Limits, Study
from autopeft.trial import Trial
from autopeft.wiring.earlier import earlier_points
from autopeft.wiring.strategies import entry_of, strategy_of
from autopeft.wiring.watched import Watch, WatchedInheritance, WatchedStructures

if TYPE_CHECKING:
    from autopeft.evaluators.finetune import FinetuneEvaluator
    from autopeft.training.estimate import Estimate

Shared = WatchedInheritance | WatchedStructures

EXECUTORS = {
    "inline": "one trial after another in this process",
    "ray": "several at once in Ray Tune actors, on this machine or a cluster",
}


def estimate_of(study: Study, memory: int | None = None) -> "Estimate":
    """Measure on this machine what a trial of a study will cost; ``memory`` bounds a process."""
    from autopeft.training.estimate import estimate

    return estimate(study.task, study.backbone, study.where, study.recipe, memory)


def executor_of(name: str, workers: int, pack: int = 1) -> Executor:
    """Build an executor.

    Raises:
        OptionError: There is none of this name, or it cannot take so many workers, or trials at a
            time.
    """
    _known("executor", name, EXECUTORS)
    if workers < 1:
        raise OptionError(f"--workers must be at least 1, not {workers}")
    if pack < 1:
        raise OptionError(f"--pack must be at least 1, not {pack}")
    if name == "ray":
        from autopeft.executors.ray import RayExecutor

        return RayExecutor(workers=workers)
    if workers > 1:
        raise OptionError(
            f"the executor 'inline' has one worker, not {workers}: add --executor ray"
        )
    from autopeft.executors.inline import InlineExecutor

    return InlineExecutor()


def evaluator_of(
    study: Study,
    workers: int,
    threads: int | None,
    pausing: Path | None = None,
    *,
    cache: Path | None = None,
    block_cache: float = 4.0,
    memory: int | None = None,
) -> "FinetuneEvaluator":
    """Build the evaluator; cores and free memory are shared out among the workers.

    ``pausing`` is the folder in which trials that pause are kept. In ``cache``, where it is given,
    the outputs of frozen blocks are kept, at most ``block_cache`` GiB of them; 0 for none.
    ``memory`` are the bytes that each worker may use.
    """
    from autopeft.evaluators.finetune import FinetuneEvaluator

    cores = threads or max(1, (os.cpu_count() or 1) // workers)
    trunks = cache / "trunks" if cache and block_cache else None
    most = int(block_cache * 2**30)
    return FinetuneEvaluator(
        study, cores, pausing, trunks=trunks, trunk_bytes=most, memory=memory, share=1 / workers
    )


def shared_of(
    study: Study,
    cache: Path,
    threads: int | None,
    evaluator: "FinetuneEvaluator | None",
    told: Callable[[float], None] = lambda _: None,
    *,
    scored: Callable[[int], None] = lambda _: None,
) -> Shared | None:
    """Build what the study's strategy goes by beside measured trials; None where that is nothing.

    It lives in this process, with the model and the data of an evaluator that does so too, and is
    prepared when the strategy first needs it: ``told`` hears how far that is, and ``scored`` how
    many configurations have a score so far. What it takes is kept in the cache with the rest.
    """
    cores = threads or max(1, os.cpu_count() or 1)
    resident = evaluator.resident if evaluator else None
    watch = Watch(told, scored, cache / "seconds" / f"{study.id}.txt")
    match entry_of(study.strategy).needs:
        case "inheritance":
            from autopeft.evaluators.inherited import InheritedScores

            scores = InheritedScores(study, cache, threads=cores, trainer=resident)
            return WatchedInheritance(scores, watch)
        case "structures":
            from autopeft.evaluators.gated import GatedStructures

            gates = GatedStructures(study, cache, threads=cores, trainer=resident)
            return WatchedStructures(gates, watch)
    return None


def store_of(url: str) -> Store:
    """Open the store at a URL."""
    from autopeft.storage.sql import SqlStore

    return SqlStore(url)


def service_of(url: str) -> Service:
    """Open what the service remembers, in the store at a URL."""
    from autopeft.storage.service.sql import SqlService

    return SqlService(url)


def run(
    study: Study,
    limits: Limits,
    *,
    store: Store,
    executor: str = "inline",
    workers: int = 1,
    evaluator: Evaluator | None = None,
    shared: Shared | None = None,
    pack: int = 1,
) -> Iterator[Trial]:
    """Run a study or go on with it, yielding every trial whenever it has changed.

    ``evaluator`` is what `evaluator_of` gives, and made here where it is left out. ``shared`` is
    what `shared_of` gives; a strategy that needs it cannot do without. Up to ``pack`` trials train
    together, see `search`.
    """
    chosen = executor_of(executor, workers, pack)
    store.add_study(study)
    return search(
        study,
        limits,
        strategy=strategy_of(study, shared, earlier_points(study, store)),
        evaluator=evaluator or evaluator_of(study, workers, None),
        executor=chosen,
        store=store,
        clock=time.monotonic,
        awaited=shared.watch.signing if shared else nullcontext,
        pack=pack,
    )


def _known(what: str, name: str, known: dict[str, str]) -> None:
    if name not in known:
        raise _unknown(what, name, known)


def _unknown(what: str, name: str, known: dict[str, str]) -> OptionError:
    return OptionError(f"there is no {what} {name!r}: there are {', '.join(known)}")
