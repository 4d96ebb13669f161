"""All that is known of a study, gathered for its report; what it lacks is measured on demand."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autopeft.ablation import Listed, derived, effects, proposals, winner
from autopeft.answer import Answer
from autopeft.errors import AutopeftError, StudyError
from autopeft.plan import Plan
from autopeft.ports import Store
from autopeft.report import content_of
from autopeft.report.content import Content
from autopeft.report.mattering import Ablation
from autopeft.search import search
from autopeft.study import Limits, Study
from autopeft.trial import Trial

if TYPE_CHECKING:
    from autopeft.evaluators.finetune import FinetuneEvaluator


def concluded(study: Study, store: Store) -> tuple[Answer, Plan]:
    """Return what a study has found.

    Raises:
        StudyError: It has no answer yet.
    """
    found = store.answer(study.id)
    if found is None:
        raise StudyError(f"study {study.id} has no answer yet: run its search again to the end")
    return found


def reported(study: Study, store: Store) -> Content:
    """Gather what the report of a study says.

    Raises:
        StudyError: It has no answer yet.
    """
    from autopeft.strategies.importance import importance_of

    answer, plan = concluded(study, store)
    trials = store.trials(study.id, predictions=False)
    importance = importance_of(study, trials)
    return content_of(study, trials, answer, plan, importance, _ablation(study, answer, store))


def _ablation(study: Study, answer: Answer, store: Store) -> Ablation | None:
    apart = derived(study, answer.chosen)
    if all(known.id != apart.id for known in store.studies()):
        return None
    from autopeft.tasks.metrics import METRICS

    return effects(
        study,
        store.trials(study.id),
        store.trials(apart.id),
        answer.chosen,
        _truth(study),
        METRICS[study.task.metric].score,
    )


def _truth(study: Study) -> NDArray[np.float64] | None:
    """Return what the examples really are; None where the data is not there any more."""
    from autopeft.tasks.reading import load_parts

    try:
        parts = load_parts(study.task, study.where.data, ["validation"])
    except AutopeftError:
        return None
    return parts["validation"].truth.astype(np.float64)


def ablate(
    study: Study,
    store: Store,
    *,
    threads: int | None = None,
    evaluator: "FinetuneEvaluator | None" = None,
) -> Iterator[Trial]:
    """Train a study's winner without its parts, yielding every trial whenever it has changed.

    What was measured before is not measured again. The study stays the latest of its store.

    Raises:
        AutopeftError: It has no answer yet, or its model or data cannot be used.
    """
    from autopeft.executors.inline import InlineExecutor
    from autopeft.wiring.sockets import evaluator_of

    answer, _ = concluded(study, store)
    runs = winner(store.trials(study.id, predictions=False), answer.chosen)
    listed, apart = proposals(runs, study.space.slots), derived(study, answer.chosen)
    known = [each.id for each in store.studies()]
    before = store.trials(apart.id, predictions=False) if apart.id in known else ()
    chosen = evaluator or evaluator_of(apart, 1, threads)
    if not evaluator and any(_new(proposal.key, proposal.seed, before) for proposal in listed):
        chosen.ready()
    try:
        store.add_study(apart)
        yield from search(
            apart,
            Limits(trials=len(before) + len(listed)),
            strategy=Listed(listed),
            evaluator=chosen,
            executor=InlineExecutor(),
            store=store,
        )
    finally:
        store.add_study(study)


def _new(key: object, seed: int, before: tuple[Trial, ...]) -> bool:
    return all((t.proposal.key, t.proposal.seed) != (key, seed) for t in before)
