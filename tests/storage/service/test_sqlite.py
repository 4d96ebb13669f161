"""The service's memory in a SQLite file: what each promises, and what happens to files."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autopeft.storage.service.sql import SqlService
from tests.contracts.service import ServiceContract
from tests.contracts.store import Surroundings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "studies.db"


class TestSqlServiceInAFile(ServiceContract):
    """A SQLite file keeps what everything that fills ``Service`` promises."""

    @pytest.fixture
    def service(self, file: Path, surroundings: Surroundings) -> Iterator[SqlService]:
        clock, process = surroundings.clock, surroundings.this_process
        with SqlService(str(file), clock=clock, process=process).closing() as service:
            yield service

    @pytest.fixture
    def wait(self, surroundings: Surroundings) -> Callable[[float], None]:
        def wait(seconds: float) -> None:
            surroundings.seconds += seconds

        return wait
