"""Who asks: bearer keys, or on this machine alone nobody in particular."""

import asyncio
import hmac
import ipaddress
import secrets
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import SplitResult, urlsplit

from anyio import to_thread
from starlette.requests import HTTPConnection

from autopeft.api.limits import Buckets
from autopeft.api.lookups import Lookups
from autopeft.api.problems import ProblemError
from autopeft.service.key import Key, Quota, Scope, new_key, parts_of
from autopeft.service.ports import Keys

REMEMBERED = 300.0
"""Seconds for which a secret that was found right need not be hashed again."""
LOCAL = "local"
"""The owner of everything where there are no keys."""
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, and what is allowed. ``key`` is the id of the API key, empty without keys."""

    owner: str
    scope: Scope
    key: str = ""
    quota: Quota = field(default_factory=Quota)

    @property
    def sees(self) -> str | None:
        """Whose jobs and data can be seen: the owner's, or None for everybody's."""
        return None if self.scope is Scope.ADMIN else self.owner

    def may_see(self, owner: str) -> bool:
        """Whether what belongs to an owner can be seen."""
        return self.sees in {None, owner}

    @property
    def who(self) -> str:
        """What the audit log calls the caller."""
        return f"{self.owner}/{self.key}" if self.key else self.owner


_OPEN = Caller(owner=LOCAL, scope=Scope.ADMIN)


class Access:
    """Tells who asks. A secret is hashed once and then remembered for a while by its digest.

    The key itself is read for every request, so that a revoked or expired one ends at once. All
    that is wrong with a token gives the same answer after the same work.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        host: str,
        origins: Collection[str] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        tick: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._lookups = Lookups(keys)
        self._local_only = is_loopback(host)
        self._origins = frozenset(origins)
        self._now = now
        self._tick = tick
        self._pepper = secrets.token_bytes(32)
        self._remembered: dict[str, tuple[bytes, str, float]] = {}
        # One thread: each that hashes would keep 16 MiB of its own.
        self._hashing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hashing")
        self._running: dict[bytes, asyncio.Future[bool]] = {}
        self._decoy, _ = new_key("nobody", "decoy", Scope.READ, created=now())
        self._keyed = False
        self._guesses = Buckets(rate=0.5, burst=20, tick=tick)

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Tell who sent a request.

        Raises:
            ProblemError: Nobody whom we know; or, without keys, from elsewhere.
        """
        given = connection.headers.get("authorization")
        if given is None:
            return await self._without_key(connection)
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise _unknown()
        key = await self._verified(token.strip(), address_of(connection))
        return Caller(owner=key.owner, scope=key.scope, key=key.id, quota=key.quota)

    async def stands(self, caller: Caller) -> bool:
        """Whether a caller who was let in would still be: for answers that last."""
        if not caller.key:
            return not await self._has_keys()
        key = await self._lookups.key(caller.key)
        return key is not None and key.valid_at(self._now())

    async def _without_key(self, connection: HTTPConnection) -> Caller:
        if await self._has_keys():
            raise _unknown()
        if not self._local_only or not is_loopback(address_of(connection)):
            raise ProblemError(
                "unauthenticated",
                "without any API key the service answers only to this machine",
            )
        if connection.headers.get("origin") not in self._origins:
            refuse_foreign(connection)
        return _OPEN

    async def _has_keys(self) -> bool:
        """Whether there is any key, valid or not: keys are never removed, so that yes stays yes."""
        self._keyed = self._keyed or bool(await to_thread.run_sync(self._keys.keys))
        return self._keyed

    async def _verified(self, token: str, address: str) -> Key:
        parts = parts_of(token)
        key = await self._lookups.key(parts[0]) if parts else None
        digest = hmac.digest(self._pepper, token.encode(), "sha256")
        if not (key and self._is_remembered(key, digest)):
            secret = parts[1] if parts else token
            # Behind a proxy all have one address: who guesses must not shut out the others' keys.
            guessing = f"{address} {key.id}" if key else address
            if not await self._hashed(key, secret, digest, guessing):
                raise _unknown()
        if not (key and key.valid_at(self._now())):
            raise _unknown()
        return key

    async def _hashed(self, key: Key | None, secret: str, digest: bytes, guessing: str) -> bool:
        """Whether a secret is a key's own; of many equal requests at once one does the work."""
        running = self._running.get(digest)
        if running is None:
            self._guesses.take(guessing)
            hashing = self._hashing.submit((key or self._decoy).fits, secret)
            running = self._running[digest] = asyncio.wrap_future(hashing)
            running.add_done_callback(lambda _: self._running.pop(digest, None))
        fits = await asyncio.shield(running) and key is not None
        if fits and key and not self._is_remembered(key, digest):
            self._guesses.give_back(guessing)
            self._remember(key, digest)
        return fits

    def _is_remembered(self, key: Key, digest: bytes) -> bool:
        known = self._remembered.get(key.id)
        return (
            known is not None
            and self._tick() < known[2]
            and known[1] == key.hashed
            and hmac.compare_digest(known[0], digest)
        )

    def _remember(self, key: Key, digest: bytes) -> None:
        now = self._tick()
        for old in [name for name, (_, _, until) in self._remembered.items() if until <= now]:
            self._remembered.pop(old, None)
        self._remembered[key.id] = (digest, key.hashed, now + REMEMBERED)


def _unknown() -> ProblemError:
    return ProblemError(
        "unauthenticated",
        "the request came without a valid API key",
        headers={"WWW-Authenticate": 'Bearer realm="autopeft"'},
    )


def address_of(connection: HTTPConnection) -> str:
    """Return the address that a request came from; empty where there is none."""
    return connection.client.host if connection.client else ""


def is_loopback(host: str) -> bool:
    """Whether a name or an address is that of this machine alone."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def refuse_foreign(connection: HTTPConnection) -> None:
    """Refuse what a browser sends for another site, and what comes through a proxy.

    Without keys nothing else keeps a page of another site from talking to this service, by a name
    of its own that it lets point here, or by posting across sites.

    Raises:
        ProblemError: The Host is not this machine, the Origin not this service, or a proxy
            has forwarded the request.
    """
    headers = connection.headers
    host = headers.get("host", "")
    if not is_loopback(_split(f"//{host}").hostname or ""):
        raise _foreign(f"the Host {host!r} is not this machine")
    if any(name in headers for name in _FORWARDED):
        raise _foreign("the request came through a proxy")
    origin = headers.get("origin")
    if origin is not None and _split(origin).netloc != host:
        raise _foreign(f"the Origin {origin!r} is another site")
    if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        raise _foreign("the request was made by another site")


def _split(address: str) -> SplitResult:
    """Take an address apart; one that is malformed has no parts, and so no host that we know."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _foreign(why: str) -> ProblemError:
    return ProblemError(
        "forbidden",
        f"without any API key the service answers only to this machine, and {why}",
        remedy="Make a key with `autopeft keys create` and send it as a bearer token.",
    )
