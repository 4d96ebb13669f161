"""What goes wrong with addresses, files and disks, said in plain sentences."""

import resource
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Timer

import pytest
from sqlalchemy import Engine, event

from autopeft.errors import StoreError
from autopeft.storage.database import MOST_AT_ONCE, Database
from autopeft.storage.sql import SqlStore
from tests.contracts.store import a_measurement, a_proposal, a_study

STUDY = a_study()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "studies.db"


@pytest.fixture
def store(file: Path) -> Iterator[SqlStore]:
    """A store that holds one study."""
    store = SqlStore(f"sqlite:///{file}")
    store.add_study(STUDY)
    yield store
    store.close()


def finished(store: SqlStore, predictions: bytes = b"") -> None:
    """Take a trial from its proposal to its measurement."""
    started = store.start(STUDY.id, store.add_trial(STUDY.id, a_proposal()))
    store.finish(STUDY.id, started.done(a_measurement(predictions=predictions)))


def query(file: Path, sql: str) -> list[tuple[object, ...]]:
    """Ask the file itself."""
    connection = sqlite3.connect(file)
    try:
        with connection:
            return connection.execute(sql).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("address", ["{}/new/folder/a.db", "sqlite:///{}/new/folder/a.db"])
def test_file_and_folder_are_created(tmp_path, address):
    """As a plain path or as a URL."""
    SqlStore(address.format(tmp_path)).add_study(STUDY)

    assert (tmp_path / "new" / "folder" / "a.db").is_file()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("studies.txt", "cannot read the store 'studies.txt': write a file that ends in .db"),
        ("mysql://host/name", "no store of the kind 'mysql': write a file"),
        ("sqlite+aiosqlite:///a.db", r"no store of the kind 'sqlite\+aiosqlite': write a file"),
        ("sqlite://", "'sqlite://' names no file: write a file"),
        ("sqlite:///:memory:", "'sqlite:///:memory:' names no file"),
        (
            "postgresql://me:secret@host:port/name",
            "cannot read the store 'postgresql://me:...@host",
        ),
    ],
)
def test_an_address_that_is_none_is_refused(address, said):
    """With the forms that are allowed."""
    with pytest.raises(StoreError, match=said):
        SqlStore(address)


@pytest.mark.parametrize("kind", ["postgresql", "postgresql+psycopg"])
def test_postgresql_without_its_driver_is_refused(monkeypatch, kind):
    """The message says what to install, and does not show the password."""
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(StoreError, match=r"'psycopg': pip install 'psycopg\[binary\]'") as caught:
        SqlStore(f"{kind}://me:secret@localhost/studies")
    assert "secret" not in str(caught.value)


def test_a_folder_that_cannot_be_created_is_refused(tmp_path):
    """Here a file stands in its place."""
    (tmp_path / "taken").write_text("")

    with pytest.raises(StoreError, match=r"cannot create the folder .*taken/deeper .*give --store"):
        SqlStore(f"{tmp_path}/taken/deeper/a.db")


def test_a_folder_in_place_of_the_file_is_refused(tmp_path):
    """It can be opened by no one."""
    with pytest.raises(StoreError, match="cannot be opened: it must be a file"):
        SqlStore(f"sqlite:///{tmp_path}")


def test_a_file_that_is_no_database_is_refused(file):
    """And left as it is."""
    file.write_text("text,label\ngood,1\n" * 100)

    with pytest.raises(StoreError, match=r"studies\.db is no SQLite database: use another --store"):
        SqlStore(str(file))
    assert file.read_text().startswith("text,label")


def test_a_database_of_another_program_is_refused(file):
    """Even when its tables have the names of ours."""
    query(file, "CREATE TABLE trials (trial_id INTEGER)")

    with pytest.raises(
        StoreError, match=r"holds tables of another program \(trials\): use another"
    ):
        SqlStore(str(file))
    assert query(file, "SELECT name FROM sqlite_master") == [("trials",)]


@pytest.mark.usefixtures("store")
def test_a_file_that_may_only_be_read_is_read_and_not_written(file):
    """The message says what to allow."""
    reader = SqlStore(f"sqlite:///file:{file}?mode=ro&uri=true")

    assert reader.studies() == (STUDY,)
    with pytest.raises(StoreError, match="may only be read: allow writing to the file and its"):
        reader.add_study(STUDY)


def test_a_damaged_file_is_refused(file, store):
    """Zeros over the pages in its middle."""
    for _ in range(3):
        finished(store, predictions=bytes(20_000))
    store.close()
    whole = file.read_bytes()
    file.write_bytes(whole[:8192] + bytes(len(whole) - 8192))

    with pytest.raises(StoreError, match="is damaged: restore it from a copy, or use another"):
        SqlStore(str(file)).trials(STUDY.id)


def test_a_document_of_another_version_is_refused(file, store):
    """It is read strictly; the field is named."""
    query(file, """UPDATE studies SET document = '{"colour": 1}'""")

    with pytest.raises(StoreError, match=r"holds a study that this autopeft cannot read: .*colour"):
        store.studies()


def test_a_locked_store_is_refused_after_a_while(file, store):
    """Reading goes on meanwhile."""
    finished(store)
    hasty = SqlStore(f"sqlite:///{file}?timeout=0.01")
    locking = sqlite3.connect(file, isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")

    assert len(hasty.trials(STUDY.id)) == 1
    with pytest.raises(StoreError, match="is locked by another process that does not let go"):
        hasty.add_trial(STUDY.id, a_proposal())

    locking.close()
    assert hasty.add_trial(STUDY.id, a_proposal()).number == 1


def test_a_new_file_that_another_process_keeps_locked_is_refused_after_a_while(file):
    """Before it is in WAL mode SQLite itself would not wait."""
    locking = sqlite3.connect(file, isolation_level=None)
    locking.execute("BEGIN EXCLUSIVE")

    with pytest.raises(StoreError, match="is locked by another process that does not let go"):
        SqlStore(f"sqlite:///{file}?timeout=0.05")

    locking.close()
    assert SqlStore(str(file)).studies() == ()


def test_a_new_file_is_waited_for_while_another_process_creates_it(file):
    """SQLite refuses at once to enter WAL mode while another process writes."""
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    Timer(0.05, other.rollback).start()

    assert SqlStore(str(file)).studies() == ()


@contextmanager
def a_full_disk() -> Iterator[None]:
    """No database that is opened within may grow."""

    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA max_page_count=1")  # SQLite takes the present count instead

    event.listen(Engine, "connect", limit)
    try:
        yield
    finally:
        event.remove(Engine, "connect", limit)


def test_a_full_disk_leaves_nothing_half_written(file, store):
    """What was finished is kept, and the search goes on when there is room again."""
    finished(store)
    started = store.start(STUDY.id, store.add_trial(STUDY.id, a_proposal()))
    before = store.trials(STUDY.id)
    with a_full_disk():
        full = SqlStore(str(file))
        with pytest.raises(StoreError, match="the disk is full: free some space, then run the"):
            full.finish(STUDY.id, started.done(a_measurement(predictions=bytes(10**6))))
        assert full.trials(STUDY.id) == before

    store.finish(STUDY.id, started.done(a_measurement()))
    assert store.trials(STUDY.id)[1].score == 0.91


def test_a_file_that_may_not_grow_leaves_nothing_half_written(store):
    """The system's limit on file sizes, which quotas look like too."""
    finished(store)
    before = store.trials(STUDY.id)
    started = store.add_trial(STUDY.id, a_proposal()).started()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, hard))
    try:
        with pytest.raises(StoreError, match="could not be read or written on its disk"):
            store.finish(STUDY.id, started.done(a_measurement(predictions=bytes(2 * 10**6))))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert store.trials(STUDY.id)[:1] == before
    assert not store.trials(STUDY.id)[1].ended


def test_more_transactions_than_there_can_be_are_refused_after_a_while(file):
    """Each waits for another one to end; when one has, there is room again."""
    database = Database(f"sqlite:///{file}?timeout=0.01")
    with ExitStack() as open_:
        for _ in range(MOST_AT_ONCE):
            open_.enter_context(database.reading())
        with (
            pytest.raises(StoreError, match="has more to do than it can: try again in a moment"),
            database.reading(),
        ):
            pytest.fail("there is one more connection")

    with database.reading():
        database.close()


def test_what_failed_of_late_is_known(file):
    """For as long as somebody asks for."""
    database = Database(f"sqlite:///{file}?timeout=0.01")
    assert not database.failed_within(60)
    with database.writing(), pytest.raises(StoreError, match="is locked"), database.writing():
        pytest.fail("there are two writers")

    assert database.failed_within(60)
    assert not database.failed_within(0)


def test_a_lease_that_cannot_be_given_back_lapses(file, store):
    """The file is locked when the block ends; an error there would hide one in the block."""
    hasty = SqlStore(f"sqlite:///{file}?timeout=0.01")
    locking = sqlite3.connect(file, isolation_level=None)

    lease = hasty.lease(STUDY.id)
    lease.__enter__()
    locking.execute("BEGIN IMMEDIATE")
    assert not lease.__exit__(None, None, None)

    locking.close()
    with store.lease(STUDY.id) as lease:
        lease.renew()
