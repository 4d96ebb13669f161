"""The commands that search, and that tell beforehand what a search will cost."""

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopeft.answer import counted
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
from autopeft.cli.notes import note_surprises
from autopeft.cli.records import (
    RecipeOptions,
    RunOptions,
    SearchOptions,
    SourceOptions,
    TaskOptions,
    request_of,
    unfolded,
)
from autopeft.cli.remote import RemoteOptions
from autopeft.cli.submit import SubmitOptions, submit_search
from autopeft.errors import OptionError
from autopeft.files import results_folder, write_json, write_text
from autopeft.records import to_json
from autopeft.study import Limits, Study

if TYPE_CHECKING:
    from autopeft.ports import Store
    from autopeft.settings import Settings
    from autopeft.trial import Trial

DetachOption = Annotated[
    bool,
    typer.Option("--detach", help="Hand it to a service, as submit does."),
]
_MINUTE = 60
_PREPARED = {"autopeft": "supernet", "evolution": "supernet", "s3pet": "gates", "bipeft": "gates"}


@unfolded
def search(
    source: SourceOptions,
    search: SearchOptions,
    task: TaskOptions,
    recipe: RecipeOptions,
    run: RunOptions,
    remote: RemoteOptions,
    submitted: SubmitOptions,
    detach: DetachOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Search for the best configuration under a budget.

    The same command goes on where an earlier run of it ended; more --trials extend the study.
    """
    if detach:
        submit_search(source, search, task, recipe, run, remote, submitted, as_json=as_json)
        return
    if (remote, submitted) != (RemoteOptions(), SubmitOptions()):
        raise OptionError(
            "--metadata, --priority, --once, --follow, --url and --key are about a search of a "
            "service: add --detach, or leave them out"
        )
    from autopeft.report import report
    from autopeft.wiring import sockets
    from autopeft.wiring.conclude import conclude
    from autopeft.wiring.request import study_of
    from autopeft.wiring.unmet import unmet
    from autopeft.wiring.warm import with_earlier

    chosen, limits = _chosen(search, run)
    request = request_of(source, task, recipe, search)
    study = with_earlier(study_of(request), request.warm_start, _opened(chosen.store_url))
    with results_folder(opt.folder_of(run.out, study.id)) as folder:
        inline = chosen.executor == "inline"
        evaluator = sockets.evaluator_of(
            study, chosen.workers, run.threads, folder / "paused",
            cache=chosen.cache_folder, block_cache=chosen.block_cache,
            memory=chosen.memory_bytes,
        )  # fmt: skip
        # a store is not made before: what is refused leaves nothing behind
        if inline and not _begun(study, chosen.store_url):
            evaluator.ready()
        opened = sockets.store_of(chosen.store_url)
        note(f"study {study.id}: {_headline(study)}")
        note_surprises(request, study.backbone, study.task)
        for said in unmet(study, request.warm_start, request.rungs, limits.trials):
            note(said)
        planned = limits.trials + 2 * study.finals
        try:
            with SearchProgress(study, planned) as progress:
                progress.known(_trials_of(study, opened))
                what = _PREPARED.get(study.strategy, "")
                shared = sockets.shared_of(
                    study, chosen.cache_folder, run.threads, evaluator if inline else None,
                    partial(progress.preparing, what=what),
                    scored=partial(progress.scoring, what=what),
                )  # fmt: skip
                for trial in sockets.run(
                    study,
                    limits,
                    store=opened,
                    executor=chosen.executor,
                    workers=chosen.workers,
                    evaluator=evaluator,
                    shared=shared,
                    pack=chosen.pack,
                ):
                    progress.saw(trial)
        except KeyboardInterrupt:
            ended = sum(trial.ended for trial in _trials_of(study, opened))
            kept = counted(ended, "trial is", "trials are")
            note(f"interrupted: {kept} kept; the same command goes on from there")
            raise typer.Exit(INTERRUPTED) from None
        for told in evaluator.told:
            note(told)
        warnings = (*((shared.problem,) if shared and shared.problem else ()), *evaluator.narrowed)
        answer, plan = conclude(study, opened, warnings, shared.seconds if shared else 0.0)
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


def _opened(url: str) -> "Store | None":
    """Open a store if it is there already, without making one."""
    from autopeft.wiring import sockets

    return None if opt.missing_file(url) is not None else sockets.store_of(url)


def _begun(study: Study, url: str) -> bool:
    """Tell whether a store knows a study, without making one."""
    store = _opened(url)
    return store is not None and any(known.id == study.id for known in store.studies())


def _trials_of(study: Study, store: "Store") -> "tuple[Trial, ...]":
    known = any(found.id == study.id for found in store.studies())
    return store.trials(study.id) if known else ()


@unfolded
def estimate(
    source: SourceOptions,
    search: SearchOptions,
    task: TaskOptions,
    recipe: RecipeOptions,
    run: RunOptions,
    as_json: opt.JsonOption = False,
) -> None:
    """Tell what a search would cost, without training anything.

    It takes all options of search. A trial is measured with the threads that torch takes by
    itself, whatever --threads says.
    """
    from autopeft.wiring.estimating import document_of
    from autopeft.wiring.request import study_of
    from autopeft.wiring.sockets import estimate_of

    chosen, limits = _chosen(search, run)
    request = request_of(source, task, recipe, search)
    study = study_of(request)
    note_surprises(request, study.backbone, study.task)
    document = document_of(study, limits, chosen.workers, estimate_of(study, chosen.memory_bytes))
    if as_json:
        show_json(document)
        return
    show_table(f"study {study.id}: {_headline(study)}", ("", ""), _estimate_rows(document))


def _chosen(search: SearchOptions, run: RunOptions) -> tuple["Settings", Limits]:
    """Read what says how a search runs, and refuse what cannot run."""
    from autopeft.settings import settings
    from autopeft.wiring.sockets import executor_of

    chosen = settings(
        trials=search.trials,
        time=search.time,
        executor=run.executor,
        workers=run.workers,
        pack=run.pack,
        memory=run.memory,
        store=run.store,
    )
    limits = Limits(
        trials=opt.count_of("--trials", chosen.trials, 1), seconds=opt.seconds_of(chosen.time)
    )
    _ = chosen.memory_bytes  # refused here, with the user still watching
    executor_of(chosen.executor, chosen.workers, chosen.pack)
    return chosen, limits


def _estimate_rows(document: dict[str, Any]) -> list[tuple[str, str]]:
    ceiling, backbone = document["ceiling"], document["backbone_parameters"]
    share = f"{ceiling / backbone:.3%}"
    least = "at least " if document["largest_is"] == "at least" else ""
    steps = counted(document["steps_per_trial"], "step")
    return [
        ("ceiling", f"{ceiling:,} of the backbone's {backbone:,} parameters ({share})"),
        ("space", f"{document['space']}, {Decimal(document['configurations']):.3g} configurations"),
        ("smallest", f"{document['smallest']:,} parameters"),
        ("largest", f"{least}{document['largest']:,} parameters"),
        ("a trial", f"about {lasting(document['seconds_per_trial'])}, {steps}"),
        ("the search", _duration(document)),
        ("memory", f"about {document['memory_bytes'] / 2**30:.1f} GiB at its peak"),
        ("at once", _at_once(document)),
    ]


def _at_once(document: dict[str, Any]) -> str:
    if not document["examples_at_once"]:
        return "not one example: allow more memory, or cut texts with --max-length"
    twice = ", activations computed twice" if document["activations_twice"] else ""
    return f"{counted(document['examples_at_once'], 'example')} of a batch{twice}"


def _duration(document: dict[str, Any]) -> str:
    workers, limit = document["workers"], document["limit_seconds"]
    seconds, unlimited = document["seconds"], document["seconds_without_limit"]
    text = f"{counted(document['trainings'], 'training')}, finals included"
    if document["whole_trainings"] != document["trainings"]:
        text += f" (as much work as {document['whole_trainings']:.0f} whole ones)"
    text += f", {workers} at once" if workers > 1 else ""
    if limit is None:
        return f"about {lasting(seconds)} for {text}"
    if limit < unlimited:
        return (
            f"{lasting(seconds)}, the limit of time: it ends before all {text}, which would take "
            f"about {lasting(unlimited)}"
        )
    return f"about {lasting(seconds)} for {text}; the limit of {lasting(limit)} leaves room"


def lasting(seconds: float) -> str:
    """Write how long something lasts, with two digits that say something below a minute.

    Example:
        >>> lasting(0.0523), lasting(7.46), lasting(53.4), lasting(90.0)
        ('0.052 s', '7.5 s', '53 s', '1.5 min')
    """
    return f"{seconds / 60:.1f} min" if seconds >= _MINUTE else f"{seconds:.2g} s"


def _headline(study: Study) -> str:
    task = study.task
    train, validation, test = task.examples
    return (
        f"{task.kind} ({task.metric}) on {train:,} / {validation:,} / {test:,} examples, "
        f"{study.backbone.name} with {study.backbone.parameters:,} parameters, budget "
        f"{study.budget.text} = {study.ceiling:,}, space {study.space.name}, {study.strategy}"
    )
