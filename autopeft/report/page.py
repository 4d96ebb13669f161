"""A study as a page of Markdown: the answer, what it was held against, and every trial."""

from autopeft.answer import Answer, counted
from autopeft.plan import Plan
from autopeft.report import found, measured
from autopeft.report.asked import asked
from autopeft.report.writing import rates
from autopeft.study import Study
from autopeft.trial import Trial


def report(study: Study, trials: tuple[Trial, ...], answer: Answer, plan: Plan) -> str:
    """Write the report of a study that has an answer."""
    sections = {
        "What was asked": asked(study, plan),
        "Finalists": found.finalists(answer),
        "How far the inherited scores can be trusted": found.trusted(study, trials, answer),
        "Pareto front": found.front(study, trials),
        "The configuration of the plan": _configuration(plan),
        "Rungs": measured.rungs(study, trials),
        "Trials": measured.trials_table(study, trials),
        "Cost": measured.cost(trials, answer),
        "How to reproduce": _reproduced(study, plan),
    }
    written = [f"## {heading}\n\n{text}" for heading, text in sections.items() if text]
    head = [f"# Study {study.id}", answer.sentence(), found.verdict(answer)]
    return "\n\n".join([*head, *written]) + "\n"


def _configuration(plan: Plan) -> str:
    recipe = plan.recipe
    return (
        f"{found.sizes(plan.configuration, plan.slots)}\n\n"
        f"Learning rates: {rates(recipe.learning_rates)}; head {recipe.head_learning_rate:g}; "
        f"{counted(recipe.epochs, 'epoch')} of batches of {recipe.batch_size}, {recipe.precision}."
    )


def _reproduced(study: Study, plan: Plan) -> str:
    promised = f"{plan.expected.trial_score:.4f}" if plan.expected else "which was not measured"
    versions = ", ".join(f"{name} {number}" for name, number in plan.provenance.versions.items())
    return (
        f"The same command gives study `{study.id}` again and measures nothing twice. "
        f"`autopeft train plan.json` trains the plan from scratch; with its seed, {plan.seed}, "
        f"it gives the validation score of trial {plan.provenance.trial} again, {promised}, and "
        f"then the test score.\n\nVersions: {versions}."
    )
