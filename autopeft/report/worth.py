"""What mattered: which choices the scores vary with, and what the parts of the winner are worth."""

from collections.abc import Sequence

from autopeft.answer import Interval, counted, percent
from autopeft.report.content import Axis, Bar, Bars, Part, Table, Text, Warned
from autopeft.report.mattering import Ablation, Effect, Importance, Share
from autopeft.report.writing import brief
from autopeft.study import Study

_DRAWN = 12
_KINDS = {"slot": "slot", "blocks": "place", "recipe": "recipe"}


def mattered(importance: Importance | None) -> tuple[Part, ...]:
    """Tell what the scores vary with; nothing where it was not asked."""
    if importance is None:
        return ()
    if importance.problem:
        return (Text(importance.problem),)
    above = [share for share in importance.shares if share.share.low > importance.chance.high]
    head = ("", "what", "share of the variation", "beyond chance")
    rows = tuple(
        (share.name, _KINDS[share.kind], str(share.share), "yes" if share in above else "no")
        for share in importance.shares
    )
    table = Table(caption="Shares of the variation of scores", head=head, rows=rows, folded=True)
    return (
        Text(_found(above)),
        *_shares_drawn(importance),
        table,
        Text(
            f"From {counted(importance.trials, 'trial')} measured at {percent(importance.at)} of a "
            "training, by functional ANOVA over a random forest (Hutter et al. 2014). What is "
            "varied is how many parameters each slot and each third of the blocks trains, and the "
            "learning rates. Intervals reach from the lowest to the highest of resamples of the "
            "trials; chance is what a number drawn at random for every trial gets. Slots, blocks "
            "and rates were not varied independently of one another, and a search looks mostly "
            "where scores are high: this tells what went with the scores, and not why."
        ),
    )


def _found(above: Sequence[Share]) -> str:
    if not above:
        return (
            "Nothing that was varied stands out from a number drawn at random: these trials do not "
            "tell what matters."
        )
    names = ", ".join(f"{share.name} ({share.share.mean:.0%})" for share in above[:5])
    return f"Scores vary most with {names}."


def _shares_drawn(importance: Importance) -> tuple[Bars, ...]:
    shown = importance.shares[:_DRAWN]
    bars = tuple(_bar(share.name, share.share) for share in shown)
    return (
        Bars(
            name="importance",
            title="What the scores vary with",
            text=f"The {len(shown)} largest shares of {len(importance.shares)}, with intervals. "
            f"What is no larger than {importance.chance.high:.2f} may be chance.",
            axis=Axis(label="share of the variation", write=brief, least=0.0),
            bars=bars,
            line=(importance.chance.high, "chance"),
        ),
    )


def _bar(label: str, interval: Interval) -> Bar:
    return Bar(label=label, value=interval.mean, low=interval.low, high=interval.high)


def ablated(study: Study, ablation: Ablation | None) -> tuple[Part, ...]:
    """Tell what the winner loses without each group of its cells; nothing where not measured."""
    if ablation is None:
        return ()
    metric = study.task.metric
    rows = tuple(
        (
            f"without {effect.group}",
            f"{effect.parameters:,}",
            "" if effect.score is None else f"{effect.score:.4f}",
            str(effect.difference) if effect.difference else effect.failure,
            _said(effect),
        )
        for effect in ablation.effects
    )
    head = ("", "parameters", metric, "lost by leaving it out", "")
    table = Table(caption=f"Trial {ablation.trial} without parts of it", head=head, rows=rows)
    over = (
        f"over {ablation.examples:,} validation examples and the seeds, paired over both"
        if ablation.examples
        else "over the seeds alone, since the data could not be read again"
    )
    few = () if len(ablation.seeds) > 1 else (Warned(_ONE),)
    return (
        Text(
            f"Trial {ablation.trial} was trained again without each group of its cells, the rest "
            f"as it was, with {counted(len(ablation.seeds), 'seed')} each. What is lost is the "
            f"{metric} with everything minus that without the group, {_INTERVALS} {over}. Groups "
            "overlap, so what they are worth does not add up."
        ),
        *few,
        *_effects_drawn(ablation, metric),
        table,
        Text(f"The trainings are study `{ablation.study}` of the same store."),
    )


_INTERVALS = "with 95% bootstrap intervals"
_ONE = "with a single seed the intervals know no noise between seeds, and are too narrow"


def _said(effect: Effect) -> str:
    if effect.difference is None:
        return "not measured"
    if effect.difference.low > 0:
        return "needed"
    return "better without" if effect.difference.high < 0 else "no difference beyond noise"


def _effects_drawn(ablation: Ablation, metric: str) -> tuple[Bars, ...]:
    bars = tuple(
        _bar(effect.group, effect.difference) for effect in ablation.effects if effect.difference
    )
    if not bars:
        return ()
    return (
        Bars(
            name="ablation",
            title=f"What trial {ablation.trial} loses without a part of it",
            text=f"{len(bars)} groups with intervals; right of the line, the part is worth having.",
            axis=Axis(label=f"{metric} lost", write=brief),
            bars=bars,
            line=(0.0, "nothing lost"),
        ),
    )
