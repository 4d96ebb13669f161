"""What a study has found: its finalists, its front, and how far its guide could be trusted."""

from collections.abc import Sequence

from autopeft.answer import Answer, Ranking, percent
from autopeft.objectives import MARGIN, axes, best, figures, hypervolumes, reference
from autopeft.ranking import FEWEST_PAIRS, MOST_CHANCE, chance, trust
from autopeft.report.content import Part, Table, Text, Warned
from autopeft.report.drawn import front_drawn, trust_drawn, volumes_drawn
from autopeft.report.writing import (
    axis_name,
    figure,
    perplexity_cell,
    perplexity_head,
    short,
    what,
)
from autopeft.study import Study
from autopeft.trial import Purpose, Trial

_AGAINST = {"score": "their real scores", "loss": "the losses that were measured"}
_FRONT = ("trial", "purpose", "configuration")
ADAPTS = "autopeft"
"""The strategy that asks how far inherited scores can be trusted, and goes by the answer."""


def verdict(answer: Answer) -> Text:
    """Tell the verdict with its size."""
    size = "" if answer.difference is None else f", searched minus baseline {answer.difference}"
    return Text(f"Verdict: **{answer.verdict}**{size}.")


def warnings(answer: Answer) -> tuple[Warned, ...]:
    """Tell what went wrong on the way."""
    return tuple(map(Warned, answer.warnings))


def finalists(answer: Answer) -> tuple[Part, ...]:
    """Show the finalists side by side, and what lies between them."""
    metric = answer.metric
    rows = tuple(
        (
            *(role, str(f.trial), f.name, f"{f.parameters:,}", str(f.seeds), str(f.score)),
            *perplexity_cell(metric, f.score.mean),
        )
        for role, f in (("best searched", answer.searched), ("best baseline", answer.baseline))
        if f
    )
    head = ("", "trial", "configuration", "parameters", "fresh seeds", metric)
    table = Table(caption="The finalists", head=(*head, *perplexity_head(metric)), rows=rows)
    if answer.difference is None:
        return (table,)
    told = Text(
        f"Searched minus baseline: {answer.difference} ({answer.verdict}). Intervals "
        f"are 95% bootstrap intervals over {answer.validation_examples:,} validation examples and "
        "the fresh seeds that both were trained with; the difference is paired over examples. The "
        "finalists were chosen on these examples, so the scores are a little too high: the test "
        f"part decides. The plan is made of trial {answer.chosen}."
    )
    return table, told


def trusted(study: Study, trials: Sequence[Trial], answer: Answer) -> tuple[Part, ...]:
    """Tell how far inherited scores can be trusted; nothing where there was no talk of any."""
    if answer.ranking:
        followed = Text(_followed(study, answer.ranking))
        drawn = trust_drawn(study, trials, answer.ranking)
        return (*_correlations(answer.ranking), *drawn, followed)
    if any(trial.proposal.inherited is not None for trial in trials):
        return (Text("No configuration was trained to find out, so nothing is known."),)
    if answer.warnings and study.strategy == ADAPTS:
        told = "There were none, for the reason above: the search went by real trainings alone."
        return (Text(told),)
    return ()


def _correlations(ranking: Ranking) -> tuple[Part, ...]:
    rows = (("Kendall's tau-b", str(ranking.tau)), ("Spearman's rho", str(ranking.rho)))
    told = Text(
        f"{ranking.pairs} configurations, drawn across the range of inherited scores, were trained "
        f"by themselves, for {percent(ranking.share)} of a training. How far their inherited "
        f"scores and {_AGAINST[ranking.against]} put them in the same order, from -1 to 1 with 0 "
        "for chance, with 95% bootstrap intervals:"
    )
    head = ("", f"inherited score against {ranking.against}")
    return told, Table(caption="Rank correlations of the probes", head=head, rows=rows)


def _followed(study: Study, ranking: Ranking) -> str:
    if trust(ranking) == "guides":
        return f"{_by_chance(ranking)} Inherited scores guided the search."
    why = (
        f"Fewer than {FEWEST_PAIRS} are too few to tell how far inherited scores are right."
        if ranking.pairs < FEWEST_PAIRS
        else f"{_by_chance(ranking)} Above {percent(MOST_CHANCE)} that counts as chance."
    )
    if study.strategy == ADAPTS and ranking.pairs < FEWEST_PAIRS:
        return why
    if study.strategy == ADAPTS:
        return f"{why} The search leaned on real trainings."
    return f"{why} The strategy `{study.strategy}` goes by inherited scores all the same."


def _by_chance(ranking: Ranking) -> str:
    return (
        f"Of all orders of {ranking.pairs} a share of {percent(chance(ranking))} agrees as well "
        "or better by chance."
    )


def front(study: Study, trials: Sequence[Trial]) -> tuple[Part, ...]:
    """Show the Pareto front, and what it covers."""
    numbers, head = best(study, trials), [axis_name(study, axis) for axis in axes(study)]
    rows = tuple(
        (
            str(trial.number),
            trial.proposal.purpose.value,
            short(what(study, trial)),
            *(figure(axis, value) for axis, value in figures(study, trial.measurement).items()),
        )
        for trial in trials
        if trial.number in numbers and trial.measurement
    )
    told = Text(
        "Of what was trained to the end, nothing is better than one of these in some column and "
        "at least as good in all others."
    )
    table = Table(caption="The trials of the front", head=(*_FRONT, *head), rows=rows)
    drawn = (*front_drawn(study, trials, numbers), *volumes_drawn(study, trials))
    return told, *drawn, table, Text(_covered(study, trials))


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
        f"{axis_name(study, axis)} {figure(axis, value if axis == 'score' else -value)}"
        for axis, value in zip(axes(study), least, strict=True)
    )
    since = f", {baselines[0]:.4g} after the first baseline" if baselines else ""
    return (
        f"Its hypervolume is {max(volumes):.4g}{since}; the table of trials has it after each. It "
        f"is measured from {corner}: the lowest score that one of the baselines began with, and "
        f"{MARGIN:g} times the budget or their largest cost; costs count as shares of that."
    )
