"""API keys: who may do what, and how much of it."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

PREFIX = "apk"
_COST = {"n": 2**14, "r": 8, "p": 1}  # 16 MiB and some 50 ms


class Scope(StrEnum):
    """What a key allows; each includes those before it."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"
    """Everybody's jobs, and metrics."""

    def includes(self, other: "Scope") -> bool:
        """Whether who may do this may do the other too."""
        order = list(Scope)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How much an owner may use at once; None is without a limit.

    ``running`` counts jobs, ``waiting`` those that are queued, ``bytes`` are of uploads that are
    kept, ``trials`` those that one search may ask for.
    """

    running: int | None = None
    waiting: int | None = 1_000
    bytes: int | None = 10 * 2**30
    trials: int | None = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key without its secret: ``salt`` and ``hashed`` are what scrypt makes of that (hex)."""

    id: str
    owner: str
    name: str
    scope: Scope
    salt: str
    hashed: str
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None
    quota: Quota = Quota()

    def valid_at(self, now: datetime) -> bool:
        """Whether the key is neither revoked nor expired."""
        return self.revoked is None and (self.expires is None or now < self.expires)

    def fits(self, secret: str) -> bool:
        """Whether a secret is the key's own; takes the same time for every wrong one."""
        return hmac.compare_digest(_hash(secret, bytes.fromhex(self.salt)), self.hashed)


def new_key(
    owner: str,
    name: str,
    scope: Scope,
    *,
    created: datetime,
    expires: datetime | None = None,
    quota: Quota = Quota(),
) -> tuple[Key, str]:
    """Make a key, and the token that is shown once: ``apk_<id>_<secret>``."""
    name_of, secret, salt = secrets.token_hex(6), secrets.token_urlsafe(32), secrets.token_bytes(16)
    key = Key(
        id=name_of, owner=owner, name=name, scope=scope, salt=salt.hex(),
        hashed=_hash(secret, salt), created=created, expires=expires, quota=quota,
    )  # fmt: skip
    return key, f"{PREFIX}_{name_of}_{secret}"


def parts_of(token: str) -> tuple[str, str] | None:
    """Split a token into the key's id and the secret; None where it is no token of ours."""
    prefix, _, rest = token.partition("_")
    name, _, secret = rest.partition("_")
    return (name, secret) if prefix == PREFIX and name and secret else None


def _hash(secret: str, salt: bytes) -> str:
    return hashlib.scrypt(secret.encode(), salt=salt, **_COST).hex()
