"""The schema: created, brought up to date, and refused when it is newer."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from autopeft.errors import StoreError
from autopeft.storage.schema import REVISION, configuration
from autopeft.storage.service.sql import SqlService
from autopeft.storage.sql import SqlStore
from autopeft.storage.tables import metadata
from tests.contracts.service_records import a_job
from tests.contracts.store import a_measurement, a_plan, a_study, an_answer


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A store that was created and closed."""
    file = tmp_path / "studies.db"
    SqlStore(str(file)).close()
    return file


def test_the_migrations_lead_to_the_tables(file):
    """Alembic finds no difference between a store and ``tables``."""
    with create_engine(f"sqlite:///{file}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_last_migration_is_the_revision_of_the_tables(file):
    """Who adds a migration raises ``REVISION`` with it."""
    with create_engine(f"sqlite:///{file}").connect() as connection:
        assert ScriptDirectory.from_config(configuration(connection)).get_heads() == [REVISION]


def test_a_store_goes_back_and_is_brought_up_to_date_when_it_is_opened(file):
    """All the way to no tables at all."""
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        command.downgrade(configuration(connection), "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]

    SqlStore(str(file)).add_study(a_study())

    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_store_of_a_newer_schema_is_refused(file):
    """Both revisions are named, and what to do."""
    connection = sqlite3.connect(file)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
    connection.close()

    with pytest.raises(
        StoreError,
        match="schema revision '0099', this autopeft knows up to '0002': update autopeft",
    ):
        SqlStore(str(file))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store as the first release with a store has left it, with all that can be in it."""
    connection = sqlite3.connect(tmp_path / "old.db")
    connection.executescript((Path(__file__).parent / "store_0001.sql").read_text("utf-8"))
    connection.close()
    return tmp_path / "old.db"


@pytest.mark.parametrize("opened", [SqlStore, SqlService])
def test_a_store_of_the_first_schema_keeps_all_that_is_in_it(old, opened):
    """Whoever opens it first; both then work in it."""
    opened(str(old)).close()

    store, service = SqlStore(str(old)), SqlService(str(old))
    (study,) = store.studies()
    complete, failed, waiting = store.trials(study.id)
    assert study == a_study()
    assert complete.measurement == replace(a_measurement(), share=1.0)
    assert (failed.failure, waiting.state) == ("it broke", "waiting")
    assert store.answer(study.id) == (an_answer(), a_plan())
    assert service.jobs.counts().trials == {"complete": 1, "failed": 1, "waiting": 1}
    assert service.jobs.add(a_job()) == service.jobs.job(a_job().id)
    with create_engine(f"sqlite:///{old}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
