"""The store that lasts as long as its process."""

import subprocess
import sys

import pytest

from autopeft.storage.memory import MemoryStore
from tests.contracts.store import StoreContract, Surroundings


class TestMemoryStore(StoreContract):
    """Memory keeps what every store promises."""

    @pytest.fixture
    def store(self, surroundings: Surroundings) -> MemoryStore:
        return MemoryStore(clock=surroundings.clock, process=surroundings.this_process)


def test_the_memory_store_loads_no_database_library():
    """SQLAlchemy and Alembic stay with the SQL store."""
    code = "import sys, autopeft.storage.memory; print({'sqlalchemy', 'alembic'} & {*sys.modules})"

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.strip() == "set()"
