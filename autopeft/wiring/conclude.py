"""The end of a study: its answer, and the plan of what is recommended."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata

import numpy as np

from autopeft.answer import Answer
from autopeft.evidence import Evidence, Expected, Provenance
from autopeft.plan import VERSION, Plan
from autopeft.ports import Store
from autopeft.selection import answer as answer_of
from autopeft.study import Study
from autopeft.trial import Trial
from autopeft.wiring.evidenced import evidence_of


def conclude(
    study: Study, store: Store, warnings: Sequence[str] = (), prepared: float = 0.0
) -> tuple[Answer, Plan]:
    """Compare the finalists, make the plan of the one that is recommended, and remember both.

    ``warnings`` say what went wrong on the way, a sentence each. Those of earlier runs of the study
    stay: their trials are part of the answer. ``prepared`` is how many seconds all runs have spent
    beside the trials; of this and what was known before the larger counts.

    Raises:
        StudyError: No trial was trained to the end.
    """
    from autopeft.tasks.metrics import METRICS as TASK_METRICS
    from autopeft.tasks.reading import load_parts

    trials, before = store.trials(study.id), store.answer(study.id)
    score = TASK_METRICS[study.task.metric].score
    validation = load_parts(study.task, study.where.data, ["validation"])["validation"]
    truth = validation.truth.astype(np.float64)
    answer = answer_of(
        study,
        trials,
        truth,
        score,
        tuple(dict.fromkeys((*(before[0].warnings if before else ()), *warnings))),
        max(prepared, before[0].prepared if before else 0.0),
    )
    plan = _plan(study, trials, answer, evidence_of(study, trials, answer, truth, score))
    store.save_answer(study.id, answer, plan)
    return answer, plan


def _plan(study: Study, trials: tuple[Trial, ...], answer: Answer, evidence: Evidence) -> Plan:
    chosen = next(trial for trial in trials if trial.number == answer.chosen)
    proposal, measured, finalist = chosen.proposal, chosen.measurement, answer.finalist
    if measured is None:
        raise ValueError("the chosen trial has no measurement")
    return Plan(
        version=VERSION,
        backbone=study.backbone,
        task=study.task,
        where=study.where,
        slots=study.space.slots,
        configuration=proposal.configuration,
        recipe=proposal.recipe,
        seed=proposal.seed,
        parameters=proposal.configuration.parameters(study.space.slots),
        head_parameters=measured.head_parameters,
        scaffold_parameters=measured.scaffold_parameters,
        expected=Expected(
            metric=study.task.metric,
            trial_score=measured.score,
            interval=finalist.score,
            seeds=finalist.seeds,
        ),
        provenance=Provenance(
            study=study.id,
            trial=chosen.number,
            strategy=study.strategy,
            space=study.space.name,
            budget=study.budget.text,
            ceiling=study.ceiling,
            trials=answer.trials,
            verdict=answer.verdict,
            versions=versions(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
        evidence=evidence,
    )


def versions() -> dict[str, str]:
    """Name the versions of what a measurement depends on."""
    import platform

    names = (
        "autopeft", "torch", "transformers", "peft", "tokenizers", "datasets", "optuna", "numpy",
        "scipy",
    )  # fmt: skip
    return {"python": platform.python_version()} | {n: metadata.version(n) for n in names}
