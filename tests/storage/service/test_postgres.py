"""The service's memory in PostgreSQL, on a real server that is started for these tests."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from autopeft.storage.service.sql import SqlService
from tests.contracts.service import ServiceContract
from tests.contracts.store import Surroundings

pytestmark = pytest.mark.slow
AGEING = (
    *("UPDATE claims SET heartbeat = heartbeat - %s", "UPDATE workers SET seen = seen - %s"),
    *("UPDATE replies SET begun = begun - %s", "UPDATE jobs SET since = since - %s"),
)


class TestSqlServiceInPostgres(ServiceContract):
    """PostgreSQL keeps what everything that fills ``Service`` promises."""

    @pytest.fixture
    def service(self, postgres: str, surroundings: Surroundings) -> Iterator[SqlService]:
        process = surroundings.this_process
        with SqlService(postgres, clock=surroundings.clock, process=process).closing() as service:
            yield service

    @pytest.fixture
    def wait(self, postgres: str) -> Callable[[float], None]:
        """The server's clock cannot be moved, so what it has written is."""

        def wait(seconds: float) -> None:
            with psycopg.connect(postgres) as connection:
                for sql in AGEING:
                    connection.execute(sql.replace("%s", f"interval '{seconds} seconds'"))

        return wait
