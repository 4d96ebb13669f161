"""Signatures of plans: whose key says that a plan is what it is.

Signed is the digest of the plan's canonical form, behind a line that keeps the signature from
meaning anything elsewhere. Keys are ed25519, in the PEM files that openssl and ssh-keygen write:

    openssl genpkey -algorithm ed25519 -out key.pem
    openssl pkey -in key.pem -pubout -out key.pub
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from autopeft.errors import PlanError

_MEANING = b"autopeft plan, version 1, by its digest\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Who has signed a plan: the public ``key`` and the signature's ``value``, hexadecimal."""

    algorithm: Literal["ed25519"] = "ed25519"
    key: str
    value: str


def available() -> bool:
    """Tell whether signatures can be made and checked here."""
    return find_spec("cryptography") is not None


def signed(digest: str, file: Path) -> Signature:
    """Sign a plan's digest with the private key in a PEM file.

    Raises:
        PlanError: The file holds no private ed25519 key, or cryptography is not installed.
    """
    key = _private(file)
    value = key.sign(_MEANING + digest.encode())
    return Signature(key=key.public_key().public_bytes_raw().hex(), value=value.hex())


def check(signature: Signature, digest: str) -> None:
    """Check that a signature is that of a plan's digest.

    Raises:
        PlanError: It is not, or cryptography is not installed.
    """
    _need()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.key))
        key.verify(bytes.fromhex(signature.value), _MEANING + digest.encode())
    except (InvalidSignature, ValueError):
        raise PlanError(
            f"the plan's signature (key {signature.key[:12]}) is not that of what it says: it was "
            "edited after it was signed; get it again from whoever signed it, or remove its "
            "signature if you trust it without"
        ) from None


def check_trusted(signature: Signature | None, digest: str, file: Path) -> None:
    """Check that a plan is signed with the key whose public half lies in a PEM file.

    Raises:
        PlanError: It is not signed, with another key, or wrongly; or the file holds no public key.
    """
    trusted = _public(file).public_bytes_raw().hex()
    if signature is None:
        raise PlanError(
            f"the plan is not signed: have it signed with the key of {file} "
            "(autopeft plan sign PLAN --key FILE)"
        )
    check(signature, digest)
    if signature.key != trusted:
        raise PlanError(
            f"the plan is signed with the key {signature.key[:12]}, and {file} trusts "
            f"{trusted[:12]}: get it from whom you trust, or name the key that signed it"
        )


def _private(file: Path) -> Any:
    _need()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        load_pem_private_key,
        load_ssh_private_key,
    )

    found = _loaded(file, (load_pem_private_key, load_ssh_private_key), password=None)
    if not isinstance(found, Ed25519PrivateKey):
        raise PlanError(
            f"{file} holds no private ed25519 key without a password: make one with "
            "'openssl genpkey -algorithm ed25519 -out key.pem'"
        )
    return found


def _public(file: Path) -> Any:
    _need()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import (
        load_pem_public_key,
        load_ssh_public_key,
    )

    found = _loaded(file, (load_pem_public_key, load_ssh_public_key))
    if not isinstance(found, Ed25519PublicKey):
        raise PlanError(
            f"{file} holds no public ed25519 key: write it with "
            "'openssl pkey -in key.pem -pubout -out key.pub'"
        )
    return found


def _loaded(file: Path, readers: tuple[Any, ...], **options: Any) -> Any:
    """Return what the first reader that can makes of a file, None where none can."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        content = file.read_bytes()
    except OSError as error:
        raise PlanError(f"cannot read the key {file}: {error.strerror or error}") from None
    for read in readers:
        try:
            return read(content, **options)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
    return None


def _need() -> None:
    if not available():
        raise PlanError("signatures need the package cryptography: pip install 'autopeft[signing]'")
