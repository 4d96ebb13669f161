"""A study as a page of Markdown: the answer, what it was held against, and every trial."""

from collections.abc import Sequence
from decimal import Decimal

from autopeft.answer import Answer, perplexity
from autopeft.architectures.reading import architecture_of
from autopeft.backbone import Backbone
from autopeft.plan import Plan
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.study import Study
from autopeft.trial import Trial


def report(study: Study, trials: tuple[Trial, ...], answer: Answer, plan: Plan) -> str:
    """Write the report of a study that has an answer."""
    task, backbone = study.task, study.backbone
    sections = [
        f"# Study {study.id}",
        answer.sentence(),
        "## What was asked",
        _table(
            ("", ""),
            [
                (
                    "backbone",
                    (
                        f"{backbone.name} ({backbone.architecture}, {backbone.blocks} blocks "
                        f"of width {backbone.width}, {backbone.parameters:,} parameters)"
                        f"{_unsure(study)}"
                    ),
                ),
                (
                    "data",
                    (
                        f"{study.where.data.train}, {task.kind}, "
                        f"{' / '.join(f'{n:,}' for n in task.examples)} "
                        "for training / validation / test; the search never reads the test part"
                    ),
                ),
                ("metric", f"{task.metric} on the validation part, head `{task.head}`"),
                (
                    "budget",
                    (
                        f"{study.budget.text} = at most {study.ceiling:,} trained parameters, "
                        f"and {plan.head_parameters:,} in the task head{_scaffold(plan)}"
                    ),
                ),
                ("space", f"{study.space.name}, {Decimal(study.space.size):.2e} configurations"),
                ("strategy", f"{study.strategy}, seed {study.seed}"),
            ],
        ),
        "## Finalists",
        _finalists(answer),
        "## The configuration of the plan",
        _sizes(plan.configuration, plan.slots),
        (
            f"Learning rates: {_rates(plan.recipe.learning_rates)}; head "
            f"{plan.recipe.head_learning_rate:g}; {plan.recipe.epochs} epochs of batches of "
            f"{plan.recipe.batch_size}, {plan.recipe.precision}."
        ),
        "## Trials",
        _trials(study, trials),
        "## How to reproduce",
        (
            f"The same command gives study `{study.id}` again and measures nothing twice. "
            f"`autopeft train plan.json` trains the plan from scratch; with its seed, {plan.seed}, "
            f"it gives the validation score of trial {plan.provenance.trial} again, "
            f"{_promised(plan)}, and then the test score."
        ),
        "Versions: " + ", ".join(f"{k} {v}" for k, v in plan.provenance.versions.items()) + ".",
    ]
    return "\n\n".join(sections) + "\n"


def by_structure(backbone: Backbone) -> bool:
    """Tell whether no architecture file says where the sites are, so that they were found."""
    return architecture_of(backbone.architecture) is None


def _unsure(study: Study) -> str:
    if not by_structure(study.backbone):
        return ""
    return (
        "; where its sites are was found by its structure: "
        f"`autopeft backbone {study.where.model}` shows them"
    )


def _scaffold(plan: Plan) -> str:
    if not plan.scaffold_parameters:
        return ""
    return f", {plan.scaffold_parameters:,} beside them fell away when training ended"


def _promised(plan: Plan) -> str:
    return f"{plan.expected.trial_score:.4f}" if plan.expected else "which was not measured"


def _finalists(answer: Answer) -> str:
    rows = [
        (
            *(role, str(f.trial), f.name, f"{f.parameters:,}", str(f.seeds), str(f.score)),
            *_perplexity(answer.metric, f.score.mean),
        )
        for role, f in (("best searched", answer.searched), ("best baseline", answer.baseline))
        if f
    ]
    head = ("", "trial", "configuration", "parameters", "fresh seeds", answer.metric)
    table = _table((*head, *_column(answer.metric)), rows)
    if answer.difference is None:
        return table
    return (
        f"{table}\n\nSearched minus baseline: {answer.difference} ({answer.verdict}). Intervals "
        f"are 95% bootstrap intervals over {answer.validation_examples:,} validation examples and "
        "the fresh seeds that both were trained with; the difference is paired over examples. The "
        "finalists were chosen on these examples, so the scores are a little too high: the test "
        "part decides."
    )


def _sizes(configuration: Configuration, slots: tuple[Slot, ...]) -> str:
    used = [i for i in range(len(slots)) if any(row[i] for row in configuration.sizes)]
    rows = [
        (str(block), *(str(row[i] or "·") for i in used))
        for block, row in enumerate(configuration.sizes)
    ]
    return _table(("block", *(slots[i].name for i in used)), rows)


def _trials(study: Study, trials: tuple[Trial, ...]) -> str:
    rows = []
    for trial in trials:
        proposal, measured = trial.proposal, trial.measurement
        rows.append(
            (
                str(trial.number),
                proposal.purpose if proposal.of is None else f"{proposal.purpose} of {proposal.of}",
                proposal.label or proposal.configuration.summary(study.space.slots),
                _rates(proposal.recipe.learning_rates),
                _trained(study, trial),
                f"{measured.score:.4f}" if measured else trial.failure or trial.state,
                *_perplexity(study.task.metric, measured.score if measured else None),
                f"{measured.seconds:.1f}" if measured else "",
            )
        )
    head = (
        "trial",
        "purpose",
        "configuration",
        "learning rates",
        "parameters",
        study.task.metric,
        *_column(study.task.metric),
        "s",
    )
    return _table(head, rows)


def _trained(study: Study, trial: Trial) -> str:
    counted = f"{trial.proposal.configuration.parameters(study.space.slots):,}"
    beside = trial.measurement.scaffold_parameters if trial.measurement else 0
    return f"{counted} (and {beside:,} that fell away)" if beside else counted


def _column(metric: str) -> tuple[str, ...]:
    return ("perplexity",) if _perplexity(metric, 0.0) else ()


def _perplexity(metric: str, score: float | None) -> tuple[str, ...]:
    """Return the cell of a score in the column of perplexities, where there is such a column."""
    found = perplexity(metric, score or 0.0)
    return () if found is None else ("" if score is None else f"{found:.4g}",)


def _rates(rates: object) -> str:
    pairs = dict(rates).items() if isinstance(rates, dict) else []
    return ", ".join(f"{method} {rate:g}" for method, rate in pairs)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )
