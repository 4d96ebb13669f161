"""The commands that look at a service's jobs and steer them."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autopeft.cli import options as opt
from autopeft.cli.console import INTERRUPTED, say, show_json
from autopeft.cli.records import unfolded
from autopeft.cli.remote import (
    JobArgument,
    RemoteOptions,
    connected,
    document,
    event_line,
    group_of,
    search_of,
    show_job,
    show_jobs,
)
from autopeft.errors import OptionError, ServiceError
from autopeft.files import results_folder, write_json, write_text
from autopeft.service.job import JobState

if TYPE_CHECKING:
    from autopeft.client import Client
    from autopeft.resources.answers import JobResource

MaybeArgument = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="A job's id, or 'latest'; none lists searches.")
]
StateOption = Annotated[
    list[JobState] | None, typer.Option("--state", help="Only those in a state, or several.")
]
LimitOption = Annotated[int, typer.Option("--limit", help="How many, the newest first.")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Go on until it has ended.")]
_PAGE = 100


@unfolded
def status(
    job: MaybeArgument = None,
    state: StateOption = None,
    limit: LimitOption = 20,
    *,
    remote: RemoteOptions,
    as_json: opt.JsonOption = False,
) -> None:
    """Show how far a job of the service is, or list the searches."""
    with connected(remote) as client:
        if job is not None:
            group, found = group_of(client, job)
            shown = group.get(found)
            show_json(document(shown)) if as_json else show_job(shown)
            return
        count = opt.count_of("--limit", limit, 1)
        searches = client.searches.list(limit=min(count, _PAGE), state=state or ()).data
        if as_json:
            show_json([document(search) for search in searches])
        elif searches:
            show_jobs(searches)
        else:
            say("there are no searches: autopeft submit makes one")


@unfolded
def logs(
    job: JobArgument,
    follow: FollowOption = False,
    *,
    remote: RemoteOptions,
    as_json: opt.JsonOption = False,
) -> None:
    """Show what happened to a job; with --follow also what happens, until it has ended.

    With --json, an event is one line.
    """
    with connected(remote) as client:
        group, found = group_of(client, job)
        known = group.get(found).events
        try:
            for event in group.events(found):
                say(event.model_dump_json() if as_json else event_line(event))
                if not follow and event.id >= known:
                    return
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


@unfolded
def cancel(job: JobArgument, *, remote: RemoteOptions, as_json: opt.JsonOption = False) -> None:
    """End a job for good; the trials that a search has measured are kept."""
    with connected(remote) as client:
        group, found = group_of(client, job)
        _changed(group.cancel(found), as_json)


@unfolded
def pause(job: JobArgument, *, remote: RemoteOptions, as_json: opt.JsonOption = False) -> None:
    """Let a job rest; it gives its worker to others until it is resumed."""
    with connected(remote) as client:
        group, found = group_of(client, job)
        _changed(group.pause(found), as_json)


@unfolded
def resume(job: JobArgument, *, remote: RemoteOptions, as_json: opt.JsonOption = False) -> None:
    """Let a job go on that rests, has failed or was cancelled."""
    with connected(remote) as client:
        group, found = group_of(client, job)
        _changed(group.resume(found), as_json)


@unfolded
def extend(
    job: JobArgument,
    trials: opt.MoreTrialsOption = None,
    time: opt.TimeOption = None,
    finals: opt.MoreFinalsOption = None,
    *,
    remote: RemoteOptions,
    as_json: opt.JsonOption = False,
) -> None:
    """Give a search other limits; one that has ended goes on with them."""
    from autopeft.resources.requests import ExtendRequest

    if trials is None and time is None and finals is None:
        raise OptionError("name what is to change: --trials, --time or --finals")
    given = {
        "trials": None if trials is None else opt.count_of("--trials", trials, 1),
        "finals": None if finals is None else opt.count_of("--finals", finals, 0),
        "seconds": opt.seconds_of(time),
    }
    limits = ExtendRequest.model_validate(given)
    with connected(remote) as client:
        _changed(client.searches.extend(search_of(client, job), limits), as_json)


@unfolded
def fetch(
    job: JobArgument,
    out: opt.OutOption = None,
    *,
    remote: RemoteOptions,
    as_json: opt.JsonOption = False,
) -> None:
    """Write what a job has made: of a search plan, report and artifacts, of a training its weights.

    `autopeft train plan.json --data FILE` trains the plan here.
    """
    with connected(remote) as client:
        _, found = group_of(client, job)
        with results_folder(opt.folder_of(out, found)) as folder:
            files = fetched(client, found, folder)
    if as_json:
        show_json({"job": found, "files": [str(file) for file in files]})
    else:
        for file in files:
            say(str(file))


def fetched(client: "Client", job: str, folder: Path) -> list[Path]:
    """Write all that a job has made into a folder, and return the files.

    Raises:
        OptionError: It is an estimate, which makes no files.
        ServiceError: It has made nothing yet, or the service cannot be reached.
    """
    from autopeft.client.jobs import Estimates, Searches

    group, _ = group_of(client, job)
    if isinstance(group, Estimates):
        raise OptionError(f"{job} is an estimate and makes no files: autopeft status {job}")
    files = []
    if isinstance(group, Searches):
        files.append(write_json(folder / "plan.json", group.plan(job)))
        files.append(write_text(folder / "report.md", group.report(job)))
        files.append(write_text(folder / "report.html", group.report(job, form="html")))
    for artifact in group.artifacts(job).data:
        into = folder / _file_name(artifact.name)
        if into not in files:
            files.append(group.download(job, artifact.name, into))
    if not files:
        raise ServiceError(f"{job} has made no files yet: autopeft status {job}")
    return files


def _file_name(name: str) -> str:
    """Return the name of an artifact if it is that of a file: folders are the user's to name.

    Raises:
        ServiceError: It is not.
    """
    if Path(name).name != name or not name.strip(".") or not name.isprintable():
        raise ServiceError(f"the service names a file {name!r}, which is no name of one")
    return name


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _changed(job: "JobResource", as_json: bool) -> None:
    """Show the state that a job is in now."""
    if as_json:
        show_json(document(job))
    else:
        say(f"{job.id} is {job.state}")
