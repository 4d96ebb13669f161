"""Signatures: whose key says that a plan is what it is."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from autopeft.errors import PlanError
from autopeft.signing import check, check_trusted, signed

DIGEST, OTHER = "a" * 64, "b" * 64


def written(folder, name, key=None):
    """Write a private key and its public half, and return both files."""
    key = key or Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def test_a_signature_holds_for_its_digest_and_its_key(tmp_path):
    private, public = written(tmp_path, "mine")

    signature = signed(DIGEST, private)

    check(signature, DIGEST)
    check_trusted(signature, DIGEST, public)


def test_equal_digests_give_equal_signatures(tmp_path):
    private, _ = written(tmp_path, "mine")

    assert signed(DIGEST, private) == signed(DIGEST, private)


def test_a_signature_of_something_else_is_refused(tmp_path):
    private, public = written(tmp_path, "mine")
    signature = signed(DIGEST, private)

    for look in (lambda: check(signature, OTHER), lambda: check_trusted(signature, OTHER, public)):
        with pytest.raises(PlanError, match=r"is not that of what it says: it was edited after it"):
            look()


def test_another_key_than_the_trusted_one_is_refused(tmp_path):
    private, _ = written(tmp_path, "mine")
    _, public = written(tmp_path, "theirs")

    with pytest.raises(PlanError, match=r"is signed with the key .*, and .*theirs\.pub trusts"):
        check_trusted(signed(DIGEST, private), DIGEST, public)


def test_a_plan_without_a_signature_is_not_trusted(tmp_path):
    _, public = written(tmp_path, "mine")

    with pytest.raises(PlanError, match=r"the plan is not signed: have it signed with the key of"):
        check_trusted(None, DIGEST, public)


def test_a_file_without_a_fitting_key_is_refused(tmp_path):
    rsa, rsa_public = written(tmp_path, "rsa", generate_private_key(65537, 2048))
    private, public = written(tmp_path, "mine")

    for file in (rsa, public):
        with pytest.raises(PlanError, match=r"holds no private ed25519 key without a password: ma"):
            signed(DIGEST, file)
    for file in (rsa_public, private):
        with pytest.raises(PlanError, match=r"holds no public ed25519 key: write it with 'openssl"):
            check_trusted(signed(DIGEST, private), DIGEST, file)
    with pytest.raises(PlanError, match=r"cannot read the key .*nowhere\.pem: No such file"):
        signed(DIGEST, tmp_path / "nowhere.pem")


def test_without_its_package_nothing_is_signed(tmp_path, monkeypatch):
    private, _ = written(tmp_path, "mine")
    monkeypatch.setattr("autopeft.signing.find_spec", lambda _: None)

    with pytest.raises(
        PlanError, match=r"need the package cryptography: pip install 'autopeft\[si"
    ):
        signed(DIGEST, private)
