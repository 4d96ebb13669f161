"""The schema: created, brought up to date, and refused when it is newer."""

import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from autopeft.errors import StoreError
from autopeft.storage.schema import REVISION, configuration
from autopeft.storage.sql import SqlStore
from autopeft.storage.tables import metadata
from tests.contracts.store import a_study


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
