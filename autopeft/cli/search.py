"""The commands that search, and that tell beforehand what a search will cost."""

from decimal import Decimal
from typing import Any

import typer

from autopeft.cli import options as opt
from autopeft.cli.console import (
    INTERRUPTED,
    SearchProgress,
    note,
    say,
    show_json,
    show_table,
    show_trials,
    trial_json,
)
from autopeft.files import results_folder, write_json, write_text
from autopeft.records import to_json
from autopeft.study import Limits, Study


def search(
    model: opt.ModelOption = None,
    data: opt.DataOption = None,
    budget: opt.BudgetOption = None,
    space: opt.SpaceOption = None,
    strategy: opt.StrategyOption = None,
    trials: opt.TrialsOption = None,
    time: opt.TimeOption = None,
    seed: opt.SeedOption = None,
    epochs: opt.EpochsOption = None,
    finals: opt.FinalsOption = None,
    validation: opt.ValidationOption = None,
    test: opt.TestOption = None,
    text: opt.TextOption = None,
    text_pair: opt.PairOption = None,
    label: opt.LabelOption = None,
    split: opt.SplitOption = None,
    task: opt.KindOption = None,
    metric: opt.MetricOption = None,
    head: opt.HeadOption = None,
    loss: opt.LossOption = None,
    precision: opt.PrecisionOption = None,
    executor: opt.ExecutorOption = None,
    workers: opt.WorkersOption = None,
    threads: opt.ThreadsOption = None,
    store: opt.StoreOption = None,
    out: opt.OutOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Search for the best configuration under a budget.

    The same command goes on where an earlier run of it ended; more --trials extend the study.
    """
    from autopeft import wiring
    from autopeft.report import report
    from autopeft.settings import settings

    chosen = settings(trials=trials, time=time, executor=executor, workers=workers, store=store)
    limits = Limits(
        trials=opt.count_of("--trials", chosen.trials, 1), seconds=opt.seconds_of(chosen.time)
    )
    wiring.executor_of(chosen.executor, chosen.workers)
    study = wiring.study_of(
        opt.request_of(
            model=model,
            data=opt.data_of(data, validation, test),
            budget=budget,
            space=space,
            strategy=strategy,
            seed=seed,
            epochs=epochs,
            finals=finals,
            text=text,
            pair=text_pair,
            label=label,
            split=split,
            kind=task,
            metric=metric,
            head=head,
            loss=loss,
            precision=precision,
        )
    )
    with results_folder(opt.folder_of(out, study.id)) as folder:
        opened = wiring.store_of(chosen.store_url)  # not before: what is refused makes no store
        note(f"study {study.id}: {_headline(study)}")
        planned = limits.trials + 2 * study.finals
        try:
            with SearchProgress(study, planned) as progress:
                running = wiring.run(
                    study,
                    limits,
                    store=opened,
                    executor=chosen.executor,
                    workers=chosen.workers,
                    threads=threads,
                )
                progress.known(opened.trials(study.id))
                for trial in running:
                    progress.saw(trial)
        except KeyboardInterrupt:
            ended = sum(trial.ended for trial in opened.trials(study.id))
            note(f"interrupted: {ended} trials are kept; the same command goes on from there")
            raise typer.Exit(INTERRUPTED) from None
        answer, plan = wiring.conclude(study, opened)
        known = opened.trials(study.id)
        plan_file = write_json(folder / "plan.json", plan.to_json())
        report_file = write_text(folder / "report.md", report(study, known, answer, plan))
    if as_json:
        show_json(
            {
                "study": study.id,
                "sentence": answer.sentence(),
                "answer": to_json(answer),
                "trials": [trial_json(trial) for trial in known],
                "plan": str(plan_file),
                "report": str(report_file),
            }
        )
        return
    show_trials(study, known)
    say(f"\n{answer.sentence()}\n\nplan    {plan_file}\nreport  {report_file}")


def estimate(
    model: opt.ModelOption = None,
    data: opt.DataOption = None,
    budget: opt.BudgetOption = None,
    space: opt.SpaceOption = None,
    strategy: opt.StrategyOption = None,
    trials: opt.TrialsOption = None,
    time: opt.TimeOption = None,
    seed: opt.SeedOption = None,
    epochs: opt.EpochsOption = None,
    finals: opt.FinalsOption = None,
    validation: opt.ValidationOption = None,
    test: opt.TestOption = None,
    text: opt.TextOption = None,
    text_pair: opt.PairOption = None,
    label: opt.LabelOption = None,
    split: opt.SplitOption = None,
    task: opt.KindOption = None,
    metric: opt.MetricOption = None,
    head: opt.HeadOption = None,
    loss: opt.LossOption = None,
    precision: opt.PrecisionOption = None,
    executor: opt.ExecutorOption = None,
    workers: opt.WorkersOption = None,
    threads: opt.ThreadsOption = None,
    store: opt.StoreOption = None,
    out: opt.OutOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Tell what a search would cost, without training anything.

    It takes all options of search. A trial is measured with the threads that torch takes by
    itself, whatever --threads says.
    """
    from autopeft import wiring
    from autopeft.settings import settings

    del threads, store, out
    chosen = settings(trials=trials, time=time, executor=executor, workers=workers)
    runs, limit = opt.count_of("--trials", chosen.trials, 1), opt.seconds_of(chosen.time)
    wiring.executor_of(chosen.executor, chosen.workers)
    study = wiring.study_of(
        opt.request_of(
            model=model,
            data=opt.data_of(data, validation, test),
            budget=budget,
            space=space,
            strategy=strategy,
            seed=seed,
            epochs=epochs,
            finals=finals,
            text=text,
            pair=text_pair,
            label=label,
            split=split,
            kind=task,
            metric=metric,
            head=head,
            loss=loss,
            precision=precision,
        )
    )
    cost = wiring.estimate_of(study)
    runs += 2 * study.finals
    unlimited = cost.seconds * runs / chosen.workers
    smallest, largest = study.space.smallest(), study.space.largest()
    document = {
        "study": study.id,
        "backbone_parameters": study.backbone.parameters,
        "ceiling": study.ceiling,
        "space": study.space.name,
        "configurations": study.space.size,
        "smallest": smallest.parameters(study.space.slots),
        "largest": largest.parameters(study.space.slots),
        "examples": list(study.task.examples),
        "trainings": runs,
        "workers": chosen.workers,
        "steps_per_trial": cost.steps,
        "seconds_per_trial": round(cost.seconds, 1),
        "seconds": round(unlimited if limit is None else min(limit, unlimited), 1),
        "seconds_without_limit": round(unlimited, 1),
        "limit_seconds": limit,
        "memory_bytes": cost.memory,
    }
    if as_json:
        show_json(document)
        return
    show_table(f"study {study.id}: {_headline(study)}", ("", ""), _estimate_rows(document))


def _estimate_rows(document: dict[str, Any]) -> list[tuple[str, str]]:
    ceiling, backbone = document["ceiling"], document["backbone_parameters"]
    share = f"{ceiling / backbone:.3%}"
    return [
        ("ceiling", f"{ceiling:,} of the backbone's {backbone:,} parameters ({share})"),
        ("space", f"{document['space']}, {Decimal(document['configurations']):.3g} configurations"),
        ("smallest, largest", f"{document['smallest']:,} and {document['largest']:,} parameters"),
        (
            "a trial",
            f"about {document['seconds_per_trial']:.0f} s, {document['steps_per_trial']} steps",
        ),
        ("the search", _duration(document)),
        ("memory", f"about {document['memory_bytes'] / 2**30:.1f} GiB at its peak"),
    ]


def _duration(document: dict[str, Any]) -> str:
    workers, limit = document["workers"], document["limit_seconds"]
    seconds, unlimited = document["seconds"], document["seconds_without_limit"]
    text = f"{document['trainings']} trainings, finals included"
    text += f", {workers} at once" if workers > 1 else ""
    if limit is None:
        return f"about {seconds / 60:.1f} min for {text}"
    if limit < unlimited:
        return (
            f"{seconds / 60:.1f} min, the limit of time: it ends before all {text}, which would "
            f"take about {unlimited / 60:.1f} min"
        )
    return f"about {seconds / 60:.1f} min for {text}; the limit of {limit / 60:.1f} min leaves room"


def _headline(study: Study) -> str:
    task = study.task
    train, validation, test = task.examples
    return (
        f"{task.kind} ({task.metric}) on {train:,} / {validation:,} / {test:,} examples, "
        f"{study.backbone.name} with {study.backbone.parameters:,} parameters, budget "
        f"{study.budget.text} = {study.ceiling:,}, space {study.space.name}, {study.strategy}"
    )
