"""The command that hands a search to a service."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autopeft.cli import options as opt
from autopeft.cli.console import INTERRUPTED, note, say, show_json
from autopeft.cli.jobs import fetched
from autopeft.cli.records import (
    RecipeOptions,
    RunOptions,
    SearchOptions,
    SourceOptions,
    TaskOptions,
    request_of,
    unfolded,
)
from autopeft.cli.remote import (
    RemoteOptions,
    connected,
    document,
    event_line,
    sentence,
)
from autopeft.errors import OptionError, ServiceError
from autopeft.files import results_folder
from autopeft.service.job import JobState

if TYPE_CHECKING:
    from autopeft.client import Client
    from autopeft.resources.answers import SearchResource
    from autopeft.settings import Settings
    from autopeft.wiring.request import Request

MetadataOption = Annotated[
    list[str] | None,
    typer.Option("--metadata", help="KEY=VALUE to find it by, several times if need be."),
]
PriorityOption = Annotated[
    int, typer.Option("--priority", min=-100, max=100, help="Higher goes first.")
]
OnceOption = Annotated[
    str | None,
    typer.Option("--once", help="A name under which it is submitted once, however often asked."),
]
FollowOption = Annotated[
    bool, typer.Option("--follow", "-f", help="Show what happens, until the search has ended.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOptions:
    """What a search is found by, when its turn is, and whether somebody waits for it."""

    metadata: MetadataOption = None
    priority: PriorityOption = 0
    once: OnceOption = None
    follow: FollowOption = False


@unfolded
def submit(
    source: SourceOptions,
    search: SearchOptions,
    task: TaskOptions,
    recipe: RecipeOptions,
    run: RunOptions,
    remote: RemoteOptions,
    submitted: SubmitOptions,
    as_json: opt.JsonOption = False,
) -> None:
    """Hand a search to a service, and print its id.

    Takes all options of search. Data files that are here are uploaded; other names are those of
    files of the service. With --follow, --out is where the results are written to.
    """
    submit_search(source, search, task, recipe, run, remote, submitted, as_json=as_json)


def submit_search(
    source: SourceOptions,
    search: SearchOptions,
    task: TaskOptions,
    recipe: RecipeOptions,
    run: RunOptions,
    remote: RemoteOptions,
    submitted: SubmitOptions,
    *,
    as_json: bool = False,
) -> None:
    """Hand a search over, show its id or, with ``follow``, what happens and what was found."""
    from autopeft.settings import settings

    if run.store is not None:
        raise OptionError("a service has a store of its own: leave --store out")
    if run.out is not None and not submitted.follow:
        raise OptionError(
            "the results are not there yet: leave --out out, and write them with autopeft fetch, "
            "or add --follow"
        )
    chosen = settings(
        trials=search.trials, time=search.time, executor=run.executor, workers=run.workers
    )
    request = request_of(source, task, recipe, search)
    with connected(remote) as client:
        made = _handed_over(client, request, chosen, run, submitted)
        if submitted.follow:
            _show_end(client, _followed(client, made), run.out, as_json=as_json)
        elif as_json:
            show_json(document(made))
        else:
            say(made.id)


def _handed_over(
    client: "Client",
    request: "Request",
    chosen: "Settings",
    run: RunOptions,
    submitted: SubmitOptions,
) -> "SearchResource":
    from autopeft.cli.submission import model_for, submission, uploaded

    request = replace(request, model=model_for(request, client.url))
    # what is mistyped is refused before anything is uploaded
    metadata, priority = submitted.metadata or (), submitted.priority
    body = submission(request, chosen, run, metadata=metadata, priority=priority)
    body = body.model_copy(update={"data": uploaded(client, request)})
    return client.searches.create(body, once=submitted.once)


def _show_end(client: "Client", ended: "SearchResource", out: str | None, *, as_json: bool) -> None:
    """Show what was found, and write it where that was asked for."""
    files = []
    if out is not None:
        with results_folder(Path(out)) as folder:
            files = fetched(client, ended.id, folder)
    if as_json:
        show_json(document(ended))
        return
    say(sentence(ended))
    for file in files:
        say(str(file))


def _followed(client: "Client", search: "SearchResource") -> "SearchResource":
    """Show what happens until a search has ended.

    Raises:
        ServiceError: It has failed, or was cancelled.
    """
    note(f"{search.id}: Ctrl-C ends this view of it, autopeft cancel {search.id} the search")
    try:
        for event in client.searches.events(search.id):
            note(event_line(event))
    except KeyboardInterrupt:
        note(f"the search goes on: autopeft logs -f {search.id} shows it again")
        raise typer.Exit(INTERRUPTED) from None
    ended = client.searches.get(search.id)
    if ended.state is not JobState.SUCCEEDED:
        why = f": {ended.trouble.detail}" if ended.trouble else ""
        raise ServiceError(f"{ended.id} {_ended(ended.state)}{why}")
    return ended


def _ended(state: JobState) -> str:
    return "was cancelled" if state is JobState.CANCELLED else f"has {state}"
