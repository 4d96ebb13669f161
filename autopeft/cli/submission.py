"""A search of the command line as a request to a service, with its data uploaded."""

import tempfile
import time
import zipfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import ValidationError

from autopeft.cli import options as opt
from autopeft.cli.console import note
from autopeft.cli.jobs import digest_of
from autopeft.cli.records import RunOptions
from autopeft.errors import OptionError, ServiceError, SpaceError
from autopeft.resources.requests import (
    DataSource,
    LimitsOf,
    RecipeOf,
    RunOf,
    SearchRequest,
    TaskOf,
)
from autopeft.service.dataset import DatasetState
from autopeft.settings import bytes_of

if TYPE_CHECKING:
    from autopeft.client import Client
    from autopeft.resources.answers import DatasetResource
    from autopeft.settings import Settings
    from autopeft.wiring.request import Request

_LATER = DataSource(path="later")
_LOOK = 0.3
_PAGE = 100
_DIGITS = 6


def submission(
    request: "Request",
    chosen: "Settings",
    run: RunOptions,
    *,
    metadata: Iterable[str] = (),
    priority: int = 0,
) -> SearchRequest:
    """Say what a search of the command line is in the words of the service; its data come later.

    Raises:
        AutopeftError: An option cannot be read, or has a value that no service takes.
    """
    from autopeft.budget import Budget
    from autopeft.wiring.aims import check_rungs, objectives_of

    Budget.parse(request.budget)
    check_rungs(request.rungs)
    space = _own_space(request.space)
    trials = opt.count_of("--trials", chosen.trials, 1)
    try:
        return SearchRequest(
            model=request.model,
            data=_LATER,
            budget=request.budget,
            space="unified" if space else request.space,
            space_yaml=space,
            strategy=request.strategy,
            options=pairs_of("--option", request.options),
            objectives=list(objectives_of(request.objective)),
            rungs=_rungs(request.rungs),
            warm_start=request.warm_start,
            seed=request.seed,
            task=_task(request),
            recipe=_recipe(request),
            limits=LimitsOf(
                trials=trials, seconds=opt.seconds_of(chosen.time), finals=request.finals
            ),
            run=RunOf(
                executor=chosen.executor,  # type: ignore[arg-type]  # pydantic refuses others
                workers=chosen.workers,
                threads=run.threads,
                memory=None if run.memory is None else bytes_of(run.memory),
                pack=run.pack or 1,
            ),
            metadata=pairs_of("--metadata", metadata),
            priority=priority,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise OptionError(
            f"no service takes {first['input']!r} for {where}: {first['msg']}"
        ) from None


def uploaded(client: "Client", request: "Request") -> DataSource:
    """Upload the data files that are here; others are named as files of the service.

    Raises:
        AutopeftError: A file cannot be read, or the service finds it of no use.
    """
    named: dict[str, str] = {}
    parts = (("", request.data.train), ("validation_", request.data.validation),
             ("test_", request.data.test))  # fmt: skip
    for part, file in parts:
        if not file:
            continue
        here = Path(file)
        if here.exists():
            named[part + "dataset"] = _ready(client, _sent(client, here)).id
        else:
            note(f"there is no {file} here: the service will look for it in its own folders")
            named[part + "path"] = file
    return DataSource.model_validate(named)


def model_for(request: "Request", url: str) -> str:
    """Name the model so that the service finds it: a folder by its whole path, if it is here too.

    A service on another machine knows other folders, and gets the name as it was written.
    """
    folder = Path(request.model)
    here = urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}
    return str(folder.resolve()) if here and folder.is_dir() else request.model


def pairs_of(name: str, texts: Iterable[str]) -> dict[str, str]:
    """Read options that are written as KEY=VALUE.

    Raises:
        OptionError: One is not.
    """
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (equals and key.strip() and value.strip()):
            raise OptionError(f"cannot read {name} {text!r}: write it as KEY=VALUE")
        pairs[key.strip()] = value.strip()
    return pairs


def _sent(client: "Client", file: Path) -> "DatasetResource":
    """Upload a file, or find the data set that it is already."""
    if file.is_dir():
        with tempfile.TemporaryDirectory() as folder:
            return _sent(client, _packed(file, Path(folder) / f"{file.resolve().name}.zip"))
    digest = digest_of(file)
    if known := _known(client, file.name, digest):
        note(f"the service has {file.name} already: {known.id}")
        return known
    sent = client.datasets.upload(file, sha256=digest)
    note(f"uploaded {file.name}: {sent.id}")
    return sent


def _known(client: "Client", name: str, digest: str) -> "DatasetResource | None":
    after: str | None = None
    while True:
        page = client.datasets.list(limit=_PAGE, after=after)
        for dataset in page.data:
            same = (dataset.sha256, dataset.name) == (digest, name)
            if same and dataset.state is not DatasetState.INVALID:
                return dataset
        if not page.has_more or page.next is None:
            return None
        after = page.next


def _packed(folder: Path, into: Path) -> Path:
    """Pack a folder of images, always into the same bytes: so it is known when it comes again."""
    with zipfile.ZipFile(into, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(str(file.relative_to(folder)))
            with file.open("rb") as stream, archive.open(entry, "w") as packed:
                while chunk := stream.read(2**20):
                    packed.write(chunk)
    return into


def _ready(client: "Client", dataset: "DatasetResource") -> "DatasetResource":
    """Wait until the service has read a data set."""
    while dataset.state is DatasetState.VALIDATING:
        time.sleep(_LOOK)
        dataset = client.datasets.get(dataset.id)
    if dataset.state is DatasetState.INVALID:
        why = dataset.trouble.detail if dataset.trouble else "it cannot be read"
        raise ServiceError(f"the service cannot use {dataset.name}: {why}")
    return dataset


def _own_space(name: str) -> str | None:
    """Return the text of a YAML file that is named; the service reads it as its own."""
    from autopeft.search_spaces.written.reading import read_space

    file = Path(name)
    if file.suffix not in {".yaml", ".yml"}:
        return None
    read_space(name)
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"cannot read the space file {name!r}: {error}") from None


def _rungs(text: str | None) -> list[float] | None:
    if text is None:
        return None
    return [round(float(Fraction(part.strip())), _DIGITS) for part in text.split(",")]


def _task(request: "Request") -> TaskOf:
    return TaskOf(
        kind=request.kind, metric=request.metric, head=request.head, loss=request.loss,
        text=request.text, text_pair=request.pair, label=request.label, split=request.split,
        max_length=request.max_length,
    )  # fmt: skip


def _recipe(request: "Request") -> RecipeOf:
    return RecipeOf(
        epochs=request.epochs, batch_size=request.batch_size, precision=request.precision,
        rank_scaling=request.rank_scaling, gate_mean=request.gate_mean,
    )  # fmt: skip
