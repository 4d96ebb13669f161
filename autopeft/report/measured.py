"""What a study has measured: its rungs, every trial, and what it took."""

from collections import Counter
from collections.abc import Iterator, Sequence

from autopeft.answer import Answer, counted, percent
from autopeft.objectives import hypervolumes, measurements
from autopeft.report.content import Details, Part, Table, Text
from autopeft.report.writing import perplexity_cell, perplexity_head, rates, short, what
from autopeft.study import Study
from autopeft.trial import Purpose, State, Trial

_PARTS = {
    Purpose.BASELINE: "baselines",
    Purpose.SEARCH: "search",
    Purpose.FINAL: "finals",
}


def rungs(study: Study, trials: Sequence[Trial]) -> tuple[Part, ...]:
    """Tell how many trials were measured at each rung, and went on; nothing where there is one."""
    if len(study.rungs) == 1:
        return ()
    halved = [trial for trial in trials if trial.proposal.purpose is not Purpose.FINAL]
    rows = []
    for place, share in enumerate(study.rungs):
        here = [found.score for trial in halved if (found := trial.at(share))]
        further = [trial for trial in halved if _went_on(trial, study.rungs[: place + 1])]
        rows.append(
            (
                percent(share),
                str(len(here)),
                str(len(further)) if share < study.rungs[-1] else "",
                f"{max(here):.4f}" if here else "",
            )
        )
    head = ("share of a training", "measured", "went on", f"best {study.task.metric}")
    return (Table(caption="Trials at each rung", head=head, rows=tuple(rows)),)


def _went_on(trial: Trial, below: Sequence[float]) -> bool:
    """Tell whether a trial was measured at the last of these rungs, and trained further."""
    return trial.at(below[-1]) is not None and trial.proposal.fidelity.share > below[-1]


def trials_table(study: Study, trials: Sequence[Trial]) -> tuple[Part, ...]:
    """Show every trial with what became of it."""
    metric, pauses = study.task.metric, study.rungs[:-1]
    guided = any(trial.proposal.inherited is not None for trial in trials)
    head = (
        *("trial", "purpose", "configuration", "learning rates", "parameters"),
        *(("inherited",) if guided else ()),
        *(f"at {percent(share)}" for share in pauses),
        *(metric, *perplexity_head(metric), "hypervolume", "s"),
    )
    volumes = hypervolumes(study, trials)
    rows = []
    for trial, volume in zip(trials, volumes, strict=True):
        proposal = trial.proposal
        complete = trial.measurement if trial.complete else None
        rows.append(
            (
                str(trial.number),
                proposal.purpose if proposal.of is None else f"{proposal.purpose} of {proposal.of}",
                short(what(study, trial)),
                short(rates(proposal.recipe.learning_rates)),
                _trained(study, trial),
                *([_score(proposal.inherited)] if guided else []),
                *(_score(found.score if (found := trial.at(s)) else None) for s in pauses),
                _score(complete.score) if complete else short(_became(trial)),
                *perplexity_cell(metric, complete.score if complete else None),
                f"{volume:.4g}",
                _seconds(trial),
            )
        )
    table = Table(caption="All trials of the study", head=head, rows=tuple(rows))
    return table, *_in_full(study, trials)


def _in_full(study: Study, trials: Sequence[Trial]) -> Iterator[Details]:
    """Yield a list of what was cut in the table, if anything was; finals repeat what is there."""
    lines = []
    for trial in trials:
        if trial.proposal.of is not None and trial.complete:
            continue
        told = (
            what(study, trial),
            rates(trial.proposal.recipe.learning_rates),
            "" if trial.complete else _became(trial),
        )
        lines += [f"trial {trial.number}: {text}" for text in told if text != short(text)]
    if lines:
        yield Details(title="In full", lines=tuple(dict.fromkeys(lines)))


def _trained(study: Study, trial: Trial) -> str:
    counted = f"{trial.proposal.configuration.parameters(study.space.slots):,}"
    beside = trial.latest.scaffold_parameters if trial.latest else 0
    return f"{counted} (and {beside:,} that fell away)" if beside else counted


def _became(trial: Trial) -> str:
    if trial.state is State.PAUSED:
        return f"paused at {percent(trial.proposal.fidelity.share)}"
    return trial.failure or trial.state


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.4f}"


def _seconds(trial: Trial) -> str:
    found = measurements(trial)
    return f"{sum(m.seconds for m in found):.1f}" if found else ""


def cost(trials: Sequence[Trial], answer: Answer) -> tuple[Part, ...]:
    """Tell how many seconds each part of the study has taken."""
    took = [("before the trials", "", answer.prepared)] if answer.prepared else []
    for purpose, name in _PARTS.items():
        own = [trial for trial in trials if trial.proposal.purpose is purpose]
        seconds = sum(m.seconds for trial in own for m in measurements(trial))
        took.append((name, str(len(own)), seconds))
    whole = sum(seconds for *_, seconds in took)
    written = [(name, count, f"{seconds:.1f}") for name, count, seconds in took]
    rows = (*written, ("together", str(len(trials)), f"{whole:.1f}"))
    told = Text(
        "Of trials, these are the seconds of training and scoring of what was measured; with "
        "several workers they overlap."
    )
    table = Table(caption="Seconds by part", head=("", "trials", "s"), rows=rows)
    return table, told, *_operators(trials)


def _operators(trials: Sequence[Trial]) -> Iterator[Text]:
    """Tell which operators the trials ran, and in which form; nothing of older records."""
    ran = Counter(name for trial in trials if trial.latest for name in trial.latest.operators)
    if ran:
        named = ", ".join(
            f"`{name}` in {counted(count, 'trial')}" for name, count in sorted(ran.items())
        )
        yield Text(
            f"Operators that ran, each with its form: {named}. Naive is an operator's definition "
            "in plain PyTorch, eager the fast form on processors, triton that on GPUs; "
            "`autopeft doctor` lists what can run here. All else are operators of torch."
        )
