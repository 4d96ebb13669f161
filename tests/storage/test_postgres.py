"""The store in PostgreSQL, on a real server that is started for these tests."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from autopeft.errors import StoreError
from autopeft.storage.sql import SqlStore
from tests.contracts.store import StoreContract, Surroundings, a_proposal, a_study
from tests.postgres import Server

pytestmark = pytest.mark.slow


class TestPostgresStore(StoreContract):
    """PostgreSQL keeps what every store promises."""

    @pytest.fixture
    def store(self, postgres: str, surroundings: Surroundings) -> Iterator[SqlStore]:
        store = SqlStore(postgres, clock=surroundings.clock, process=surroundings.this_process)
        yield store
        store.close()


def test_several_may_open_an_empty_database_at_once(postgres):
    """One creates the tables, the others wait; then all of them number trials together."""
    study = a_study()

    def work(_worker: int) -> list[int]:
        store = SqlStore(postgres)
        store.add_study(study)
        numbers = [store.add_trial(study.id, a_proposal()).number for _ in range(10)]
        store.close()
        return numbers

    with ThreadPoolExecutor(4) as pool:
        given = [number for numbers in pool.map(work, range(4)) for number in numbers]

    assert sorted(given) == list(range(40))


def test_a_server_that_does_not_answer_is_refused(server):
    """With what the driver says, and without the password."""
    with pytest.raises(
        StoreError, match=r"cannot be used .*see that its address is right"
    ) as caught:
        SqlStore(f"postgresql+psycopg://me:secret@/studies?host={server.folder}/none")
    assert "secret" not in str(caught.value)


def test_a_store_goes_on_when_its_server_is_back(server: Server, postgres: str):
    """While it is away every call says so; nothing that was written before is lost."""
    store, study = SqlStore(postgres), a_study()
    store.add_study(study)
    server.stop()
    try:
        for _ in range(2):
            with pytest.raises(StoreError, match="see that its address is right and that its"):
                store.studies()
    finally:
        server.start()

    assert store.studies() == (study,)
    assert store.add_trial(study.id, a_proposal()).number == 0
    store.close()
