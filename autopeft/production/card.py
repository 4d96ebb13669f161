"""A model card: what was trained on what, how well it does, and what is not known."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autopeft import __version__
from autopeft.answer import counted
from autopeft.plan import Plan

_TAGS = {
    "classification": "text-classification", "regression": "text-classification",
    "tokens": "token-classification", "causal_lm": "text-generation",
    "seq2seq": "text2text-generation", "image": "image-classification",
}  # fmt: skip
UNKNOWN = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A picture that lies beside the card: its file's name, its title, and what is to be seen."""

    file: str
    title: str
    text: str


def card(
    plan: Plan,
    *,
    outcome: dict[str, Any] | None = None,
    licence: str | None = None,
    data_licence: str | None = None,
    library: str = "transformers",
    drawn: Drawn | None = None,
) -> str:
    """Write a card for trained weights in Markdown, with the front matter that hubs read.

    ``outcome`` is what `autopeft train` wrote, ``drawn`` a picture of the front beside the card.
    Licences are nobody's to guess: without one the card says so.
    """
    front = yaml.safe_dump(
        _front(plan, outcome, licence, library), sort_keys=False, allow_unicode=True
    )
    parts = [
        f"---\n{front}---",
        f"# {plan.backbone.name}, tuned with {plan.parameters:,} parameters",
        _what(plan),
        _scores(plan, outcome),
        *([f"![{drawn.title}]({drawn.file})\n\n{drawn.text}"] if drawn else []),
        _data(plan, data_licence),
        _how(plan),
        _licences(plan, licence, data_licence),
    ]
    return "\n\n".join(parts) + "\n"


def _front(
    plan: Plan, outcome: dict[str, Any] | None, licence: str | None, library: str
) -> dict[str, Any]:
    front: dict[str, Any] = {
        "base_model": plan.backbone.name,
        "library_name": library,
        "pipeline_tag": _TAGS[plan.task.kind],
        "license": licence or UNKNOWN,
        "tags": ["autopeft", "peft", *plan.configuration.methods(plan.slots)],
    }
    if outcome:
        score = {"type": outcome["metric"], "value": round(outcome["test"]["mean"], 4)}
        task = {"type": _TAGS[plan.task.kind]}
        data = {"name": _data_name(plan), "type": plan.task.digest[:12], "split": "test"}
        result = {"task": task, "dataset": data, "metrics": [score]}
        front["model-index"] = [{"name": plan.backbone.name, "results": [result]}]
    return front


def _what(plan: Plan) -> str:
    share = plan.parameters / plan.backbone.parameters
    return (
        f"{plan.parameters:,} trained parameters ({share:.2%} of {plan.backbone.parameters:,}), "
        f"and {plan.head_parameters:,} of the task's head. What is trained where:\n\n"
        f"    {plan.configuration.summary(plan.slots)}\n\n"
        f"Plan {plan.digest[:12]}, backbone {plan.backbone.digest[:12]}, made with autopeft "
        f"{__version__}."
    )


def _scores(plan: Plan, outcome: dict[str, Any] | None) -> str:
    rows = [
        "## Scores",
        "",
        "| split | metric | score | 95% interval | seeds |",
        "|---|---|---|---|---|",
    ]
    if expected := plan.expected:
        found = expected.interval
        rows.append(
            f"| validation, in the search | {expected.metric} | {found.mean:.4f} | {found.low:.4f} "
            f"to {found.high:.4f} | {expected.seeds} |"
        )
    if outcome:
        test = outcome["test"]
        rows.append(
            f"| test ({outcome['test_examples']:,} examples) | {outcome['metric']} | "
            f"{test['mean']:.4f} | {test['low']:.4f} to {test['high']:.4f} | 1 |"
        )
    if len(rows) == 4:
        rows = ["## Scores", "", "Nothing was measured: the plan is a published configuration."]
    verdict = plan.provenance.verdict
    rows += ["", f"Against the best baseline at the same budget: {verdict}.", *_held(plan)]
    return "\n".join(rows)


def _held(plan: Plan) -> Iterator[str]:
    """Say by how much the plan is ahead of each baseline, with the interval."""
    known = plan.evidence.baselines if plan.evidence else ()
    if known:
        yield ""
    for held in known:
        yield (
            f"- minus {held.name} ({held.parameters:,} parameters): {held.difference}, over "
            f"{counted(held.seeds, 'seed')}: {held.verdict}"
        )


def _data(plan: Plan, licence: str | None) -> str:
    task = plan.task
    train, validation, test = task.examples
    labels = f" Labels: {', '.join(task.labels)}." if task.labels else ""
    return (
        f"## Data\n\n`{_data_name(plan)}`, content {task.digest[:12]}: {train:,} examples to "
        f"train on, {validation:,} for validation, {test:,} for the test (split seed "
        f"{task.split_seed}).{labels} Licence of the data: {licence or 'not stated'}."
    )


def _data_name(plan: Plan) -> str:
    """Name the data without the place where it lay on somebody's machine."""
    name = plan.where.data.train
    return Path(name).name if Path(name).is_absolute() else name


def _how(plan: Plan) -> str:
    recipe = plan.recipe
    rates = ", ".join(
        f"{method} {recipe.learning_rates[method]:g}"
        for method in plan.configuration.methods(plan.slots)
    )
    origin = plan.provenance
    versions = ", ".join(f"{name} {version}" for name, version in origin.versions.items())
    return (
        f"## How it was trained\n\nAdamW, {counted(recipe.epochs, 'epoch')}, "
        f"batches of {recipe.batch_size}, "
        f"learning rates: {rates}, head {recipe.head_learning_rate:g}; seed {plan.seed}. "
        f"Found by {origin.strategy} in {origin.trials} trials within {origin.budget}."
        + (f" Measured with {versions}." if versions else "")
        + "\n\n    autopeft train plan.json\n    autopeft verify plan.json trained"
    )


def _licences(plan: Plan, licence: str | None, data_licence: str | None) -> str:
    open_ends = [
        f"the licence of {name} is not stated: look it up before you publish"
        for name, known in (("these weights", licence), ("the data", data_licence))
        if known is None
    ]
    text = f"## Licence\n\nWeights: {licence or 'not stated'}. Backbone: that of "
    text += f"{plan.backbone.name}. Data: {data_licence or 'not stated'}."
    return text + "".join(f"\n\n- {line}" for line in open_ends)
