"""Keys are made, listed and revoked in the store itself."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autopeft.cli.app import app
from autopeft.errors import OptionError, UnknownError
from autopeft.service.key import Quota, Scope, parts_of
from autopeft.wiring.sockets import service_of

STORE = "sqlite:///store.db"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*words):
    done = CliRunner().invoke(
        app, ["keys", *map(str, words), "--store", STORE], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return done


def known():
    with service_of(STORE).closing() as service:
        every = service.keys.keys()
    return {key.id: key for key in every}


def test_a_key_is_made_and_its_token_shown_once():
    done = run("create", "--owner", "ada", "--name", "laptop")
    name, secret = parts_of(done.stdout.strip())
    key = known()[name]

    assert (key.owner, key.name, key.scope, key.expires) == ("ada", "laptop", Scope.SUBMIT, None)
    assert key.fits(secret)
    assert key.quota == Quota()
    assert "its token is shown this once" in done.stderr
    assert secret not in run("list", "--json").stdout
    assert secret.encode() not in Path("store.db").read_bytes()


def test_a_key_has_a_scope_an_end_and_limits():
    made = json.loads(
        run("create", "--owner", "ada", "--scope", "admin", "--expires", "90d", "--running", 2,
            "--waiting", 5, "--trials", 50, "--upload-bytes", 1000, "--json").stdout
    )  # fmt: skip
    key = known()[made["key"]]

    assert key.scope is Scope.ADMIN
    assert timedelta(days=89) < key.expires - datetime.now(UTC) <= timedelta(days=90)
    assert key.quota == Quota(running=2, waiting=5, trials=50, bytes=1000)
    assert parts_of(made["token"])[0] == key.id


def test_keys_are_listed_with_their_state():
    first = json.loads(run("create", "--owner", "ada", "--json").stdout)["key"]
    second = json.loads(run("create", "--owner", "bob", "--json").stdout)["key"]
    run("revoke", first)

    states = {each["key"]: each["state"] for each in json.loads(run("list", "--json").stdout)}
    assert states == {first: "revoked", second: "valid"}
    assert "bob" in run("list").stdout
    assert "upload_bytes" in run("list").stdout
    assert [each["key"] for each in json.loads(run("list", "--owner", "ada", "--json").stdout)] == [
        first
    ]


def test_where_there_are_no_keys_it_says_what_that_means():
    assert "the service answers to everybody on this machine" in run("list").stdout


def test_what_is_done_to_keys_is_in_the_audit_log():
    key = json.loads(run("create", "--owner", "ada", "--json").stdout)["key"]
    assert run("revoke", key).stdout == f"key {key} of ada is revoked\n"

    with service_of(STORE).closing() as service:
        audit = [(who, what, about) for _, who, what, about in service.keys.audit()]
    assert audit == [("cli", "key.revoke", key), ("cli", "key.create", key)]
    told = json.loads(run("log", "--most", "1", "--json").stdout)
    assert [(row["who"], row["what"], row["about"]) for row in told] == audit[:1]
    assert "key.create" in run("log").stdout
    assert "key.create" not in run("log", "--most", "1").stdout


def test_a_key_that_is_not_there_cannot_be_revoked():
    with pytest.raises(UnknownError, match="no key"):
        run("revoke", "0123456789ab")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--owner", ""), "--owner must be a name, not ''"),
        (("--owner", "a\nb"), "--owner must be a name, not"),
        (("--owner", "ada", "--expires", "soon"), "cannot read the time 'soon'"),
        (("--owner", "ada", "--running", "0"), "--running must be at least 1, not 0"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_made(words, said):
    with pytest.raises(OptionError, match=said):
        run("create", *words)

    assert known() == {}
