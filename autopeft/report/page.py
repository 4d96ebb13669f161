"""A study as a report: the answer, what it was held against, and every trial."""

from collections.abc import Sequence

from autopeft.answer import Answer, counted
from autopeft.plan import Plan
from autopeft.report import found, measured, worth
from autopeft.report.asked import asked
from autopeft.report.content import Content, HeatMap, Part, Section, Table, Text
from autopeft.report.drawn import columns_of, course_drawn, largest_of
from autopeft.report.markdown import markdown
from autopeft.report.mattering import Ablation, Importance
from autopeft.report.writing import rates
from autopeft.study import Study
from autopeft.trial import Trial


def report(study: Study, trials: tuple[Trial, ...], answer: Answer, plan: Plan) -> str:
    """Write the report of a study that has an answer, as Markdown."""
    return markdown(content_of(study, trials, answer, plan))


def content_of(  # noqa: PLR0917  # a study with all that is known of it
    study: Study,
    trials: Sequence[Trial],
    answer: Answer,
    plan: Plan,
    importance: Importance | None = None,
    ablation: Ablation | None = None,
) -> Content:
    """Gather all that a report says of a study that has an answer."""
    sections = {
        "What was asked": asked(study, plan),
        "Finalists": found.finalists(answer),
        "How far the inherited scores can be trusted": found.trusted(study, trials, answer),
        "Pareto front": found.front(study, trials),
        "The configuration of the plan": _configuration(plan),
        "What mattered": worth.mattered(importance),
        "What the parts of the plan are worth": worth.ablated(study, ablation),
        "Score against time": _course(study, trials, answer),
        "Rungs": measured.rungs(study, trials),
        "Trials": measured.trials_table(study, trials),
        "Cost": measured.cost(trials, answer),
        "How to reproduce": _reproduced(study, plan),
    }
    return Content(
        title=f"Study {study.id}",
        sentence=answer.sentence(),
        verdict=found.verdict(answer),
        warnings=found.warnings(answer),
        sections=tuple(
            Section(heading=heading, parts=tuple(parts))
            for heading, parts in sections.items()
            if parts
        ),
    )


def _configuration(plan: Plan) -> tuple[Part, ...]:
    recipe, rows = plan.recipe, plan.configuration.sizes
    told = Text(
        f"Learning rates: {rates(recipe.learning_rates)}; head {recipe.head_learning_rate:g}; "
        f"{counted(recipe.epochs, 'epoch')} of batches of {recipe.batch_size}, {recipe.precision}."
    )
    used = columns_of(plan.configuration, plan.slots)
    if not used:
        return Text("Nothing is put into the backbone: the task head alone is trained."), told
    names = tuple(plan.slots[place].name for place in used)
    blocks = sum(any(row) for row in rows)
    drawn = HeatMap(
        name="configuration",
        title=f"Sizes of trial {plan.provenance.trial}, blocks by slots",
        text=f"{counted(len(used), 'slot')} in use, in {blocks} of {counted(len(rows), 'block')}. "
        "The darker, the larger, by the largest size of each method; an empty cell has nothing.",
        columns=names,
        largest=largest_of(plan.configuration, plan.slots, used),
        sizes=tuple(tuple(row[place] for place in used) for row in rows),
    )
    table = Table(
        caption="Sizes, blocks by slots",
        head=("block", *names),
        rows=tuple(
            (str(block), *(str(row[place] or "·") for place in used))
            for block, row in enumerate(rows)
        ),
        folded=True,
    )
    return drawn, table, told


def _course(study: Study, trials: Sequence[Trial], answer: Answer) -> tuple[Part, ...]:
    drawn = course_drawn(study, trials, answer.prepared)
    before = (
        f" The first {answer.prepared:,.1f} s went into what the trials need."
        if answer.prepared
        else ""
    )
    return tuple(part for each in drawn for part in (Text(f"{each.text}{before}"), each))


def _reproduced(study: Study, plan: Plan) -> tuple[Part, ...]:
    promised = f"{plan.expected.trial_score:.4f}" if plan.expected else "which was not measured"
    versions = ", ".join(f"{name} {number}" for name, number in plan.provenance.versions.items())
    told = (
        f"The same command gives study `{study.id}` again and measures nothing twice. "
        f"`autopeft train plan.json` trains the plan from scratch; with its seed, {plan.seed}, "
        f"it gives the validation score of trial {plan.provenance.trial} again, {promised}, and "
        "then the test score."
    )
    return Text(told), Text(f"Versions: {versions}.")
