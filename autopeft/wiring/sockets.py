"""Which class fills which socket. Rooms are imported only when they are needed."""

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from autopeft.errors import OptionError
from autopeft.ports import Evaluator, Executor, Store, Strategy
from autopeft.search import search
from autopeft.study import Limits, Study
from autopeft.trial import Trial

if TYPE_CHECKING:
    from autopeft.training.estimate import Estimate

STRATEGIES = {
    "tpe": "tree-structured Parzen estimators over sizes and learning rates (Optuna)",
    "random": "uniform draws within the budget",
}
EXECUTORS = {
    "inline": "one trial after another in this process",
    "ray": "several at once in Ray Tune actors, on this machine or a cluster",
}


def estimate_of(study: Study) -> "Estimate":
    """Measure on this machine what a trial of a study will cost."""
    from autopeft.training.estimate import estimate

    return estimate(study.task, study.backbone, study.where, study.recipe)


def strategy_of(study: Study) -> Strategy:
    """Build the strategy of a study, with the baselines before and between its proposals."""
    from autopeft.strategies.baselines import BaselinesFirst

    inner: Strategy
    if study.strategy == "random":
        from autopeft.strategies.random import RandomStrategy

        inner = RandomStrategy(study)
    elif study.strategy == "tpe":
        from autopeft.strategies.tpe import TpeStrategy

        inner = TpeStrategy(study)
    else:
        raise _unknown("strategy", study.strategy, STRATEGIES)
    return BaselinesFirst(study, inner)


def executor_of(name: str, workers: int) -> Executor:
    """Build an executor.

    Raises:
        OptionError: There is none of this name, or it cannot take so many workers.
    """
    _known("executor", name, EXECUTORS)
    if workers < 1:
        raise OptionError(f"--workers must be at least 1, not {workers}")
    if name == "ray":
        from autopeft.executors.ray import RayExecutor

        return RayExecutor(workers=workers)
    if workers > 1:
        raise OptionError(
            f"the executor 'inline' has one worker, not {workers}: add --executor ray"
        )
    from autopeft.executors.inline import InlineExecutor

    return InlineExecutor()


def evaluator_of(study: Study, workers: int, threads: int | None) -> Evaluator:
    """Build the evaluator; the cores are shared out among the workers."""
    from autopeft.evaluators.finetune import FinetuneEvaluator

    return FinetuneEvaluator(study, threads or max(1, (os.cpu_count() or 1) // workers))


def ready_evaluator(study: Study, executor: str, threads: int | None) -> Evaluator | None:
    """Build the evaluator with model and data loaded; None where workers load their own.

    Raises:
        AutopeftError: Model or data cannot be used.
    """
    from autopeft.evaluators.finetune import FinetuneEvaluator

    if executor != "inline":
        return None
    return FinetuneEvaluator(study, threads or max(1, os.cpu_count() or 1)).ready()


def store_of(url: str) -> Store:
    """Open the store at a URL."""
    from autopeft.storage.sql import SqlStore

    return SqlStore(url)


def run(
    study: Study,
    limits: Limits,
    *,
    store: Store,
    executor: str = "inline",
    workers: int = 1,
    threads: int | None = None,
    evaluator: Evaluator | None = None,
) -> Iterator[Trial]:
    """Run a study or go on with it, yielding every trial whenever it has changed.

    An ``evaluator`` that is ready need not load model and data again.
    """
    chosen = executor_of(executor, workers)
    store.add_study(study)
    return search(
        study,
        limits,
        strategy=strategy_of(study),
        evaluator=evaluator or evaluator_of(study, workers, threads),
        executor=chosen,
        store=store,
        clock=time.monotonic,
    )


def check_strategy(name: str) -> None:
    """Refuse a strategy that there is none of.

    Raises:
        OptionError: Those that there are are named.
    """
    _known("strategy", name, STRATEGIES)


def _known(what: str, name: str, known: dict[str, str]) -> None:
    if name not in known:
        raise _unknown(what, name, known)


def _unknown(what: str, name: str, known: dict[str, str]) -> OptionError:
    return OptionError(f"there is no {what} {name!r}: there are {', '.join(known)}")
