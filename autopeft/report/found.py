"""What a study has found: its finalists, its front, and how far its guide could be trusted."""

from collections.abc import Sequence

from autopeft.answer import Answer, Ranking, percent
from autopeft.objectives import MARGIN, axes, best, figures, hypervolumes, reference
from autopeft.ranking import FEWEST_PAIRS, LEAST_TAU, trust
from autopeft.report.writing import (
    AXES,
    figure,
    perplexity_cell,
    perplexity_head,
    short,
    table,
    what,
)
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.study import Objective, Study
from autopeft.trial import Purpose, Trial

_FRONT = ("trial", "purpose", "configuration")
ADAPTS = "autopeft"
"""The strategy that asks how far inherited scores can be trusted, and goes by the answer."""


def verdict(answer: Answer) -> str:
    """Write the verdict with its size, and what went wrong on the way."""
    size = "" if answer.difference is None else f", searched minus baseline {answer.difference}"
    lines = [f"Verdict: **{answer.verdict}**{size}."]
    return "\n\n".join([*lines, *(f"**Warning:** {text}" for text in answer.warnings)])


def finalists(answer: Answer) -> str:
    """Write the finalists side by side, and what lies between them."""
    metric = answer.metric
    rows = [
        (
            *(role, str(f.trial), f.name, f"{f.parameters:,}", str(f.seeds), str(f.score)),
            *perplexity_cell(metric, f.score.mean),
        )
        for role, f in (("best searched", answer.searched), ("best baseline", answer.baseline))
        if f
    ]
    head = ("", "trial", "configuration", "parameters", "fresh seeds", metric)
    text = table((*head, *perplexity_head(metric)), rows)
    if answer.difference is None:
        return text
    return (
        f"{text}\n\nSearched minus baseline: {answer.difference} ({answer.verdict}). Intervals "
        f"are 95% bootstrap intervals over {answer.validation_examples:,} validation examples and "
        "the fresh seeds that both were trained with; the difference is paired over examples. The "
        "finalists were chosen on these examples, so the scores are a little too high: the test "
        f"part decides. The plan is made of trial {answer.chosen}."
    )


def trusted(study: Study, trials: Sequence[Trial], answer: Answer) -> str | None:
    """Write how far inherited scores can be trusted; None where there was no talk of any."""
    if answer.ranking:
        return f"{_correlations(answer.ranking)}\n\n{_followed(study, answer.ranking)}"
    if any(trial.proposal.inherited is not None for trial in trials):
        return "No configuration was trained to find out, so nothing is known."
    if answer.warnings and study.strategy == ADAPTS:
        return "There were none, for the reason above: the search went by real trainings alone."
    return None


def _correlations(ranking: Ranking) -> str:
    rows = [("Kendall's tau-b", str(ranking.tau)), ("Spearman's rho", str(ranking.rho))]
    return (
        f"{ranking.pairs} configurations, drawn across the range of inherited scores, were trained "
        f"by themselves, for {percent(ranking.share)} of a training. How far the two scores put "
        "them in the same order, from -1 to 1 with 0 for chance, with 95% bootstrap intervals:\n\n"
        f"{table(('', 'inherited against real'), rows)}"
    )


def _followed(study: Study, ranking: Ranking) -> str:
    if trust(ranking) == "guides":
        return (
            f"The interval of tau lies above {LEAST_TAU:g}: the order is better than chance, "
            "beyond noise. Inherited scores guided the search."
        )
    why = (
        f"Fewer than {FEWEST_PAIRS} are too few to tell how far inherited scores are right."
        if ranking.pairs < FEWEST_PAIRS
        else f"The interval of tau does not lie above {LEAST_TAU:g}: this may be chance."
    )
    if study.strategy == ADAPTS and ranking.pairs < FEWEST_PAIRS:
        return why
    if study.strategy == ADAPTS:
        return f"{why} The search leaned on real trainings."
    return f"{why} The strategy `{study.strategy}` goes by inherited scores all the same."


def front(study: Study, trials: Sequence[Trial]) -> str:
    """Write the Pareto front, and what it covers."""
    numbers, head = best(study, trials), [_head(study, axis) for axis in axes(study)]
    rows = [
        (
            str(trial.number),
            trial.proposal.purpose,
            short(what(study, trial)),
            *(figure(axis, value) for axis, value in figures(study, trial.measurement).items()),
        )
        for trial in trials
        if trial.number in numbers and trial.measurement
    ]
    return (
        "Of what was trained to the end, nothing is better than one of these in some column and "
        f"at least as good in all others.\n\n{table((*_FRONT, *head), rows)}"
        f"\n\n{_covered(study, trials)}"
    )


def _head(study: Study, axis: Objective) -> str:
    return study.task.metric if axis == "score" else AXES[axis]


def _covered(study: Study, trials: Sequence[Trial]) -> str:
    least = reference(study, trials)
    if least is None:
        return "Nothing was measured."
    volumes = hypervolumes(study, trials)
    baselines = [
        volume
        for volume, trial in zip(volumes, trials, strict=True)
        if trial.proposal.purpose is Purpose.BASELINE
    ]
    corner = ", ".join(
        f"{_head(study, axis)} {figure(axis, value if axis == 'score' else -value)}"
        for axis, value in zip(axes(study), least, strict=True)
    )
    since = f", {baselines[0]:.4g} after the first baseline" if baselines else ""
    return (
        f"Its hypervolume is {max(volumes):.4g}{since}; the table of trials has it after each. It "
        f"is measured from {corner}: the lowest score that one of the baselines began with, and "
        f"{MARGIN:g} times the budget or their largest cost; costs count as shares of that."
    )


def sizes(configuration: Configuration, slots: tuple[Slot, ...]) -> str:
    """Write a configuration as a table of blocks by the slots in use."""
    used = [i for i in range(len(slots)) if any(row[i] for row in configuration.sizes)]
    rows = [
        (str(block), *(str(row[i] or "·") for i in used))
        for block, row in enumerate(configuration.sizes)
    ]
    return table(("block", *(slots[i].name for i in used)), rows)
