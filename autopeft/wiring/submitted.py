"""What was submitted over the wire, as what the command line would have made of it.

A request names nothing of the machine that is not allowed, and nothing that is somebody else's;
what goes back names no place of the machine.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from autopeft.budget import Budget
from autopeft.errors import (
    AutopeftError,
    BackboneError,
    BudgetError,
    DataError,
    SpaceError,
    StoreError,
)
from autopeft.ports import Store
from autopeft.resources.requests import DataSource, SearchRequest, TaskOf
from autopeft.search_spaces.written.reading import known_spaces
from autopeft.service.dataset import Dataset, DatasetState
from autopeft.service.job import Trouble
from autopeft.service.ports import Datasets
from autopeft.settings import ServiceSettings
from autopeft.study import DataFiles, Limits, Study
from autopeft.wiring.aims import check_rungs, objectives_of
from autopeft.wiring.allowed import (
    check_download,
    check_file,
    check_model,
    file_allowed,
    model_allowed,
)
from autopeft.wiring.capacity import beyond
from autopeft.wiring.hidden import Hidden
from autopeft.wiring.refusals import RefusedError, about, trouble_of
from autopeft.wiring.request import Request, space_of, study_of
from autopeft.wiring.sockets import executor_of
from autopeft.wiring.strategies import options_of
from autopeft.wiring.uploaded import must_come_along, place_of
from autopeft.wiring.warm import with_earlier

DATASETS, JOBS = "datasets", "jobs"
"""The folders, in that of the service, of what was uploaded and of what jobs have made."""


def study_submitted(
    body: SearchRequest, owner: str, datasets: Datasets, service: ServiceSettings, store: Store
) -> Study:
    """Make the study that an owner asks for, and refuse what cannot be searched.

    Cheap checks come first, and each says which field it is about.

    Raises:
        RefusedError: Any of it cannot be used, or is not there for this owner.
    """
    request = _checked(body, request_submitted(body, owner, datasets, service), service)
    try:
        study = study_of(request)
    except AutopeftError as error:
        raise RefusedError(trouble_of(error, service, _param(body, error))) from error
    backbone = replace(study.backbone, name=Hidden(service).text(study.backbone.name))
    study = replace(study, owner=owner, backbone=backbone)
    with about("warm_start", service):
        return with_earlier(study, request.warm_start, store)


def request_submitted(
    body: SearchRequest, owner: str, datasets: Datasets, service: ServiceSettings
) -> Request:
    """Find the model and the data that a request names, for its owner.

    Raises:
        RefusedError: They are not there, or not allowed.
    """
    with about("model", service):
        model = model_allowed(body.model, service)
        check_download(model)
    data = data_submitted(body.data, body.task, owner, datasets, service)
    task, recipe, limits = body.task, body.recipe, body.limits
    return Request(
        model=model,
        data=data,
        budget=body.budget,
        space=body.space,
        space_text=body.space_yaml,
        strategy=body.strategy,
        options=_options(body),
        objective=",".join(body.objectives),
        rungs=_rungs(body),
        warm_start=body.warm_start,
        seed=body.seed,
        finals=limits.finals,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        precision=recipe.precision,
        rank_scaling=recipe.rank_scaling,
        gate_mean=recipe.gate_mean,
        max_length=task.max_length,
        text=task.text,
        pair=task.text_pair,
        label=task.label,
        split=task.split,
        kind=task.kind,
        metric=task.metric,
        head=task.head,
        loss=task.loss,
    )


def data_submitted(
    data: DataSource,
    task: TaskOf,
    owner: str,
    datasets: Datasets,
    service: ServiceSettings,
) -> DataFiles:
    """Find the files of a request's data sets and paths.

    Raises:
        RefusedError: A data set is not the owner's or not ready, or a path is not allowed.
    """

    def found(dataset: str | None, path: str | None, part: str) -> str | None:
        if dataset is not None and path is not None:
            detail = f"name either a {part}dataset or a {part}path, and not both"
            raise RefusedError(Trouble(code="invalid_data", detail=detail, param="data"))
        if path is not None:
            with about(f"data.{part}path", service):
                return str(file_allowed(path, service))
        if dataset is None:
            return None
        with about(f"data.{part}dataset", service):
            known = _ready(dataset, owner, datasets)
            must_come_along(dict(known.found), task.kind, task.text)
            return str(place_of(file_of(known, service)))

    train = found(data.dataset, data.path, "")
    return DataFiles(
        train=train or "",
        validation=found(data.validation_dataset, data.validation_path, "validation_"),
        test=found(data.test_dataset, data.test_path, "test_"),
    )


def limits_submitted(body: SearchRequest, spent: float) -> Limits:
    """Return when a search stops, of which some seconds are spent already."""
    seconds = body.limits.seconds
    left = None if seconds is None else max(0.0, seconds - spent)
    return Limits(trials=body.limits.trials, seconds=left)


def file_of(dataset: Dataset, service: ServiceSettings) -> Path:
    """Return where a data set lies as it was uploaded."""
    return service.folder.resolve() / DATASETS / dataset.id / dataset.file


def folder_of(job_id: str, service: ServiceSettings) -> Path:
    """Return the folder of what a job makes."""
    return service.folder.resolve() / JOBS / job_id


def seen_in(body: SearchRequest, service: ServiceSettings) -> Iterator[Trouble]:
    """Yield all that can be seen to be wrong without opening the model or the data.

    Each field is looked at by itself, so that what is said of it can name it.
    """
    yield from _wrong("model", service, lambda: check_model(body.model, service))
    yield from seen_in_data(body.data, service)
    yield from _wrong("budget", service, lambda: Budget.parse(body.budget))
    if body.space_yaml is None:
        yield from _wrong("space", service, lambda: _must_be_known(body.space))
    unknown = tuple(_wrong("strategy", service, lambda: options_of(body.strategy, ())))
    yield from unknown or _wrong(
        "options", service, lambda: options_of(body.strategy, _options(body))
    )
    yield from _wrong("objectives", service, lambda: objectives_of(",".join(body.objectives)))
    yield from _wrong("rungs", service, lambda: check_rungs(_rungs(body)))
    if trouble := beyond(body.run, service):
        yield trouble
    else:
        run = body.run
        yield from _wrong("run", service, lambda: executor_of(run.executor, run.workers, run.pack))


def seen_in_data(data: DataSource | None, service: ServiceSettings) -> Iterator[Trouble]:
    """Yield of each path that may not be named that it is not."""
    for part in ("path", "validation_path", "test_path"):
        if (path := getattr(data, part, None)) is not None:
            yield from _wrong(f"data.{part}", service, partial(check_file, path, service))


def _wrong(param: str, service: ServiceSettings, check: Callable[[], object]) -> Iterator[Trouble]:
    try:
        check()
    except StoreError:
        raise
    except AutopeftError as error:
        yield trouble_of(error, service, param)


def _options(body: SearchRequest) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in body.options.items())


def _rungs(body: SearchRequest) -> str | None:
    return None if body.rungs is None else ",".join(map(repr, body.rungs)) or " "


def _checked(body: SearchRequest, request: Request, service: ServiceSettings) -> Request:
    for trouble in seen_in(body, service):
        raise RefusedError(trouble)
    with about("space" if body.space_yaml is None else "space_yaml", service):
        space_of(request)
    return request


def _must_be_known(name: str) -> None:
    """Refuse a space that is no name: the command line would take it for a file to read."""
    names = [space.name for space in known_spaces()]
    if name not in names:
        raise SpaceError(
            f"there is no search space {name!r}: there are {', '.join(names)}, or send one of your "
            "own as space_yaml"
        )


def _ready(dataset_id: str, owner: str, datasets: Datasets) -> Dataset:
    unknown = f"there is no data set {dataset_id!r}: GET /v1/datasets lists yours"
    try:
        dataset = datasets.dataset(dataset_id)
    except AutopeftError as error:
        if isinstance(error, StoreError):
            raise
        raise DataError(unknown) from None
    if dataset.owner != owner:
        raise DataError(unknown)
    if dataset.state is DatasetState.VALIDATING:
        raise DataError(f"the data set {dataset_id} is still being read: wait until it is ready")
    if dataset.state is DatasetState.INVALID:
        why = f": {dataset.trouble.detail}" if dataset.trouble else ""
        raise DataError(f"the data set {dataset_id} cannot be used{why}")
    return dataset


def _param(body: SearchRequest, error: AutopeftError) -> str:
    """Guess which field is to be changed, where only the whole could be checked."""
    match error:
        case BackboneError():
            return "model"
        case DataError():
            return "data.path" if body.data.dataset is None else "data.dataset"
        case SpaceError():
            return "space" if body.space_yaml is None else "space_yaml"
        case BudgetError():
            return "budget"
    return "task" if body.task != TaskOf() else ""
