"""The commands around API keys; they work on the store itself, where no key is needed."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopeft.cli import options as opt
from autopeft.cli.console import note, say, show_json, show_table
from autopeft.service.key import Key, Quota, Scope, new_key

if TYPE_CHECKING:
    from autopeft.service.ports import Service

app = typer.Typer(
    help="Make, list and revoke API keys, and see what was done, directly in the service's store.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_WHO = "cli"
_USUAL = Quota()
_QUOTA = ("running", "waiting", "trials", "upload_bytes")

OwnerOption = Annotated[str, typer.Option("--owner", help="Whose jobs and data it opens.")]
NameOption = Annotated[str, typer.Option("--name", help="What it is for, such as laptop.")]
ScopeOption = Annotated[
    Scope, typer.Option("--scope", help="read looks, submit works, admin sees everybody's.")
]
ExpiresOption = Annotated[
    str | None, typer.Option("--expires", help="When it ends: 90d, 12h. [default: never]")
]
RunningOption = Annotated[
    int | None, typer.Option("--running", help="Jobs of the owner at once. [default: any number]")
]
WaitingOption = Annotated[
    int | None, typer.Option("--waiting", help="Jobs of the owner that wait. [default: 1,000]")
]
TrialsOption = Annotated[
    int | None, typer.Option("--trials", help="Of one search. [default: 10,000]")
]
BytesOption = Annotated[
    int | None, typer.Option("--upload-bytes", help="Of data kept. [default: 10 GiB]")
]
OwnersOption = Annotated[str | None, typer.Option("--owner", help="Only those of one owner.")]
MostOption = Annotated[int, typer.Option("--most", help="How many to show.")]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="The id of a key.")]


@app.command("create")
def create(
    owner: OwnerOption,
    scope: ScopeOption = Scope.SUBMIT,
    name: NameOption = "",
    expires: ExpiresOption = None,
    running: RunningOption = None,
    waiting: WaitingOption = None,
    trials: TrialsOption = None,
    upload_bytes: BytesOption = None,
    store: opt.StoreOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Make a key and show its token, once: the store keeps only what scrypt makes of it.

    With the first key, the service answers to nobody without one.
    """
    now = datetime.now(UTC)
    seconds = opt.seconds_of(expires)
    quota = Quota(
        running=_least("--running", running, _USUAL.running),
        waiting=_least("--waiting", waiting, _USUAL.waiting),
        trials=_least("--trials", trials, _USUAL.trials),
        bytes=_least("--upload-bytes", upload_bytes, _USUAL.bytes),
    )
    key, token = new_key(
        opt.named("--owner", owner), name, scope, created=now, quota=quota,
        expires=None if seconds is None else now + timedelta(seconds=seconds),
    )  # fmt: skip
    with _opened(store) as service:
        service.keys.add(key)
        service.keys.note(_WHO, "key.create", key.id, now)
    if as_json:
        show_json({**_document(key, now), "token": token})
    else:
        note(f"key {key.id} of {owner}, scope {scope}; its token is shown this once:")
        say(token)


@app.command("list")
def list_keys(
    owner: OwnersOption = None, store: opt.StoreOption = None, as_json: opt.JsonOption = False
) -> None:
    """List the keys, without their secrets."""
    now = datetime.now(UTC)
    with _opened(store) as service:
        documents = [_document(key, now) for key in service.keys.keys(owner)]
    if as_json:
        show_json(documents)
    elif not documents:
        say("there are no keys: the service answers to everybody on this machine, and nobody else")
    else:
        shown = ("key", "owner", "name", "scope", "state", "created", "expires", *_QUOTA)
        show_table("", shown, [[_cell(d[column]) for column in shown] for d in documents])


@app.command("revoke")
def revoke(
    key: KeyArgument, store: opt.StoreOption = None, as_json: opt.JsonOption = False
) -> None:
    """Make a key useless from now on."""
    now = datetime.now(UTC)
    with _opened(store) as service:
        revoked = service.keys.revoke(key, now)
        service.keys.note(_WHO, "key.revoke", key, now)
    if as_json:
        show_json(_document(revoked, now))
    else:
        say(f"key {key} of {revoked.owner} is revoked")


@app.command("log")
def log(
    most: MostOption = 100, store: opt.StoreOption = None, as_json: opt.JsonOption = False
) -> None:
    """Tell who did what, the latest first: jobs, uploads and keys, here and over the service."""
    with _opened(store) as service:
        found = service.keys.audit(opt.count_of("--most", most, 1))
    rows = [(at.isoformat(timespec="seconds"), who, what, about) for at, who, what, about in found]
    shown = ("when", "who", "what", "about")
    if as_json:
        show_json([dict(zip(shown, row, strict=True)) for row in rows])
    elif not rows:
        say("nothing has been done yet")
    else:
        show_table("", shown, rows)


def _opened(store: str | None) -> "Any":
    """Open the service's side of a store until the end of a ``with`` block."""
    from autopeft.settings import settings
    from autopeft.wiring.sockets import service_of

    service: Service = service_of(settings(store=store).store_url)
    return service.closing()


def _least(name: str, value: int | None, usual: int | None) -> int | None:
    return usual if value is None else opt.count_of(name, value, 1)


def _document(key: Key, now: datetime) -> dict[str, Any]:
    ended = "revoked" if key.revoked else "expired"
    return {
        "key": key.id,
        "owner": key.owner,
        "name": key.name,
        "scope": str(key.scope),
        "state": "valid" if key.valid_at(now) else ended,
        "created": key.created.isoformat(),
        "expires": key.expires.isoformat() if key.expires else None,
        "running": key.quota.running,
        "waiting": key.quota.waiting,
        "trials": key.quota.trials,
        "upload_bytes": key.quota.bytes,
    }


def _cell(value: object) -> str:
    return "" if value is None else str(value)
