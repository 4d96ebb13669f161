"""The service that commands talk to, and what they show of its jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopeft.cli import options as opt
from autopeft.cli.console import show_table
from autopeft.errors import OptionError, ServiceError
from autopeft.resources.answers import (
    EstimateResource,
    EventResource,
    JobResource,
    SearchResource,
    TrainingResource,
)

if TYPE_CHECKING:
    from autopeft.client import Client
    from autopeft.client.jobs import Estimates, Searches, Trainings
    from autopeft.client.transports import Sender

JobArgument = Annotated[
    str,
    typer.Argument(metavar="ID", help="A job's id as submit prints it, or 'latest' for a search."),
]
_LATEST = "latest"
_RETRIES = 3  # someone waits at the terminal: a little more than a second


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOptions:
    """Which service."""

    url: opt.UrlOption = None
    key: opt.KeyOption = None


@contextmanager
def connected(remote: RemoteOptions) -> Iterator["Client"]:
    """Open a client of the service that options or settings name; by default, of this machine's."""
    from autopeft.client import Client
    from autopeft.client.exchange import Patience
    from autopeft.settings import settings

    chosen = settings(url=remote.url, key=remote.key)
    url = chosen.url or f"http://127.0.0.1:{chosen.service.port}"
    with Client(url, chosen.key, patience=Patience(retries=_RETRIES)) as client:
        yield client


def group_of(
    client: "Client", job: str
) -> "tuple[Searches[Sender] | Estimates[Sender] | Trainings[Sender], str]":
    """Return the calls for a job and its id; ``latest`` is the search that was submitted last.

    Raises:
        OptionError: It is no id of a job.
        ServiceError: There is no search yet.
    """
    if job == _LATEST:
        return client.searches, _latest(client)
    match job.partition("_")[0]:
        case "search":
            return client.searches, job
        case "estimate":
            return client.estimates, job
        case "training":
            return client.trainings, job
    raise OptionError(
        f"{job!r} is no id of a job: it looks like search_2f1c8a90d3b4, and autopeft status lists "
        "searches"
    )


def search_of(client: "Client", job: str) -> str:
    """Return the id of a search; ``latest`` is the one that was submitted last.

    Raises:
        OptionError: The id is that of another kind of job.
        ServiceError: There is no search yet.
    """
    group, found = group_of(client, job)
    if group is not client.searches:
        raise OptionError(f"this needs a search, whose id begins with search_, and not {job!r}")
    return found


def document(job: JobResource) -> dict[str, Any]:
    """Return a job as JSON."""
    return job.model_dump(mode="json")


def show_job(job: JobResource) -> None:
    """Write what is known of a job."""
    facts = [
        ("state", job.state),
        *_asked(job),
        ("progress", progress(job)),
        ("best", "" if job.progress.best is None else f"{job.progress.best:.4f}"),
        ("spent", f"{job.progress.seconds:.0f} s" if job.progress.seconds else ""),
        ("to come", _left(job)),
        ("submitted", f"{job.created:%Y-%m-%d %H:%M:%S %Z}"),
        ("metadata", " ".join(f"{name}={value}" for name, value in job.metadata.items())),
        ("trouble", job.trouble.detail if job.trouble else ""),
        ("found", sentence(job)),
    ]
    show_table(job.id, ("", ""), [(what, str(value)) for what, value in facts if value])


def show_jobs(jobs: list[SearchResource]) -> None:
    """Write a table of searches."""
    rows = [
        (job.id, job.state, progress(job), _best(job), job.request.model,
         job.request.budget, f"{job.created:%Y-%m-%d %H:%M}")
        for job in jobs
    ]  # fmt: skip
    head = ("search", "state", "progress", "best", "model", "budget", "submitted")
    show_table("", head, rows)


def progress(job: JobResource) -> str:
    """Say how far a job is."""
    told = job.progress
    phase = "" if job.state.ended else told.phase
    if told.of:
        return f"{told.trials} of {told.of} trials" + (f", {phase}" if phase else "")
    return f"{phase} {told.share:.0%}" if phase else ""


def sentence(job: JobResource) -> str:
    """Return what a job has found, in one sentence; empty where there is none."""
    found = job.answer if isinstance(job, SearchResource) else None
    if isinstance(job, EstimateResource | TrainingResource):
        found = job.result
    return str(found.get("sentence", "")) if found else ""


def event_line(event: EventResource) -> str:
    """Write an event as a line of a log."""
    mark = "" if event.level == "info" else f"{event.level}: "
    return f"{event.at:%H:%M:%S}  {mark}{event.message}"


def _asked(job: JobResource) -> list[tuple[str, str]]:
    if not isinstance(job, SearchResource | EstimateResource):
        return [("search", job.search)] if isinstance(job, TrainingResource) else []
    request = job.request
    data = request.data.dataset or request.data.path or ""
    asked = [("model", request.model), ("data", data), ("budget", request.budget)]
    return [*asked, ("space", request.space), ("strategy", request.strategy)]


def _best(job: SearchResource) -> str:
    return "" if job.progress.best is None else f"{job.progress.best:.4f}"


def _left(job: JobResource) -> str:
    left = job.progress.remaining
    return "" if left is None or job.ended else f"about {left / 60:.0f} min"


def _latest(client: "Client") -> str:
    found = client.searches.list(limit=1).data
    if not found:
        raise ServiceError("there is no search yet: autopeft submit makes one")
    return found[0].id
