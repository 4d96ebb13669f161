"""A study as a file that Optuna and optuna-dashboard read: a copy to look at, and nothing more.

The dimensions are the genes of the space, with their sizes, and a learning rate for every method. A
trial has the rates of the methods that are in it. A baseline whose sizes are no choices of the
space has no others; what it is stands in its attributes, as with every trial.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from autopeft.answer import Answer
from autopeft.errors import OutputError
from autopeft.objectives import values
from autopeft.search_spaces.catalog import METHODS
from autopeft.study import Study
from autopeft.trial import State, Trial

_STATES = {
    State.COMPLETE: TrialState.COMPLETE,
    State.PAUSED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
    State.OOM: TrialState.FAIL,
}
_RATE = "learning rate of "
_STEPS = 10_000


def write_optuna(study: Study, trials: Sequence[Trial], answer: Answer | None, file: Path) -> Path:
    """Write the trials that have ended into an Optuna storage on SQLite, under the study's id.

    A file that is there is replaced. The step of a value in between is ten-thousandths of the
    recipe.

    Raises:
        OutputError: The file cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ended = [trial for trial in trials if trial.state in _STATES]
    try:
        file.unlink(missing_ok=True)
        storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
        written = optuna.create_study(
            storage=storage,
            study_name=study.id,
            directions=[
                "maximize" if objective == "score" else "minimize" for objective in study.objectives
            ],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            written.set_metric_names(
                [study.task.metric if o == "score" else o for o in study.objectives]
            )
        for name, value in _said_of(study, answer).items():
            written.set_user_attr(name, value)
        written.add_trials([_translated(study, trial) for trial in ended])
        storage.engine.dispose()
    except Exception as error:
        of_database = type(error).__module__.partition(".")[0] == "sqlalchemy"
        if not (of_database or isinstance(error, OSError)):
            raise
        said = str(error).partition("\n")[0]
        raise OutputError(f"cannot write {file}: {said}; give another --out") from None
    return file


def _said_of(study: Study, answer: Answer | None) -> Mapping[str, Any]:
    found = {
        "backbone": study.backbone.name, "task": study.task.kind, "space": study.space.name,
        "strategy": study.strategy, "budget": study.budget.text, "ceiling": study.ceiling,
        "seed": study.seed,
    }  # fmt: skip
    return found | ({"answer": answer.sentence()} if answer else {})


def _translated(study: Study, trial: Trial) -> FrozenTrial:
    distributions = _distributions(study, trial)
    found = values(study, trial)
    complete = trial.state is State.COMPLETE
    natural = [
        value if objective == "score" else -value
        for objective, value in zip(study.objectives, found or (), strict=False)
    ]
    measured = (*trial.rungs, *([trial.measurement] if trial.measurement else []))
    between = {int(m.share * _STEPS): m.score for m in measured}
    return create_trial(
        state=_STATES[trial.state],
        values=natural if complete else None,
        intermediate_values=between if len(study.objectives) == 1 else {},
        params={name: value for name, (_, value) in distributions.items()},
        distributions={name: distribution for name, (distribution, _) in distributions.items()},
        user_attrs=_attributes(study, trial),
    )


def _distributions(study: Study, trial: Trial) -> dict[str, tuple[BaseDistribution, Any]]:
    """Return each dimension that a trial has, with its value."""
    proposal, space = trial.proposal, study.space
    found: dict[str, tuple[BaseDistribution, Any]] = {}
    genome = space.encode(proposal.configuration)
    for gene, choice in zip(space.genes, genome or (), strict=False):
        if len(gene.choices) > 1:
            found[gene.name] = CategoricalDistribution(gene.choices), gene.choices[choice]
    present = proposal.configuration.methods(space.slots)
    for method, rate in proposal.recipe.learning_rates.items():
        rates = METHODS[method].rates
        if method in present and rates.low <= rate <= rates.high:
            found[_RATE + method] = FloatDistribution(rates.low, rates.high, log=True), rate
    return found


def _attributes(study: Study, trial: Trial) -> dict[str, Any]:
    proposal, measured = trial.proposal, trial.measurement
    slots = study.space.slots
    found = {
        "trial": trial.number,
        "purpose": proposal.purpose.value,
        "label": proposal.label,
        "of": proposal.of,
        "seed": proposal.seed,
        "trains": proposal.configuration.summary(slots),
        "parameters": proposal.configuration.parameters(slots),
        "inherited": proposal.inherited,
        "seconds": measured.seconds if measured else None,
        "failure": trial.failure or None,
    }
    return {name: value for name, value in found.items() if value not in {None, ""}}
