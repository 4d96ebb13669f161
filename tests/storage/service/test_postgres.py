"""The service's memory in PostgreSQL, on a real server that is started for these tests."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from autopeft.errors import StoreError
from autopeft.service.job import Job, JobState, Lane, cancelled
from autopeft.storage.processes import this_process
from autopeft.storage.service.sql import SqlService
from tests.contracts.service import ServiceContract
from tests.contracts.service_records import a_job, claimed, moved
from tests.contracts.store import Surroundings
from tests.storage.service.test_sqlite import READS, WRITES, a_worker, filled

psycopg = pytest.importorskip("psycopg")

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


def test_two_processes_get_every_job_once(postgres):
    """None twice, none left over; both open the database for the first time."""
    workers = [a_worker(postgres, "claim.write(moved(JobState.SUCCEEDED))") for _ in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    service = SqlService(postgres)
    for number in range(40):
        service.jobs.add(a_job(number, owner=f"owner {number % 3}"))
    workers = [a_worker(postgres, "claim.write(moved(JobState.SUCCEEDED))") for _ in range(2)]
    found = [worker.communicate()[0].split() for worker in workers]

    assert sorted(found[0] + found[1]) == [a_job(number).id for number in range(40)]
    service.close()


@pytest.mark.parametrize("jump", [-(10**7), 10**7])
def test_the_clock_of_a_worker_may_jump(postgres, jump):
    """The server's decides: a job of another machine is neither lost nor kept for ever."""
    surroundings = Surroundings()
    clock, process = surroundings.clock, surroundings.this_process
    service = SqlService(postgres, clock=clock, process=process)
    service.jobs.add(a_job())
    surroundings.process = replace(this_process(), host="elsewhere")
    claim = claimed(service)
    surroundings.process = this_process()
    surroundings.seconds += jump

    assert service.jobs.claim(Lane.RUNS, "w") is None
    assert claim.beat().state == "running"
    with psycopg.connect(postgres) as connection:
        connection.execute("UPDATE claims SET heartbeat = heartbeat - interval '61 seconds'")
    assert claimed(service).job.false_starts == 1
    service.close()


def test_a_job_that_a_writer_is_at_is_passed_over(postgres):
    """Rather than waited for: SKIP LOCKED."""
    service = SqlService(postgres)
    for number in range(2):
        service.jobs.add(a_job(number))
    with psycopg.connect(postgres) as connection:
        connection.execute("SELECT * FROM jobs WHERE id = %s FOR UPDATE", [a_job().id])
        assert claimed(service).job.id == a_job(1).id

    assert claimed(service).job.id == a_job().id
    service.close()


def test_a_writer_that_does_not_let_go_is_waited_for_and_then_told_of(postgres):
    """What else is in the store can be had meanwhile."""
    service = SqlService(f"{postgres}&options=-c lock_timeout=50")
    for number in range(2):
        service.jobs.add(a_job(number))
    with psycopg.connect(postgres) as connection:
        connection.execute("SELECT * FROM jobs WHERE id = %s FOR UPDATE", [a_job().id])
        with pytest.raises(StoreError, match="is locked by another process that does not let go"):
            service.jobs.change(a_job().id, cancelled)
        assert service.jobs.change(a_job(1).id, cancelled).state == "cancelled"

    assert service.jobs.change(a_job().id, cancelled).state == "cancelled"
    service.close()


def test_a_server_that_may_only_be_read_is_read(postgres):
    """As a copy that follows another one."""
    SqlService(postgres).jobs.add(a_job())
    service = SqlService(f"{postgres}&options=-c default_transaction_read_only=on")

    assert service.jobs.job(a_job().id).id == a_job().id
    with pytest.raises(StoreError, match="may only be read: use the address of the server"):
        service.check()
    service.close()


def test_a_store_that_goes_away_is_told_of_and_used_again(server, postgres):
    """By every method; a claim outlives it, and so does all that was written."""
    service = SqlService(postgres)
    filled(service)
    claim = claimed(service)
    asking = [*({**READS, **WRITES}.values()), lambda _: claim.beat(), lambda _: claim.release()]
    server.stop()
    try:
        for ask in asking:
            with pytest.raises(StoreError, match=r"cannot be used .*that its server runs"):
                ask(service)
    finally:
        server.start()

    assert claim.beat().state == "running"
    assert claim.write(moved(JobState.SUCCEEDED)).events == 3
    for ask in (*READS.values(), *WRITES.values()):
        ask(service)
    service.close()


def test_a_server_that_goes_away_under_an_open_transaction_undoes_it(server, postgres):
    """Nothing is half written."""
    service = SqlService(postgres)
    known = service.jobs.add(a_job())

    def change(job: Job) -> Job:
        server.stop()
        server.start()
        return cancelled(job)

    with pytest.raises(StoreError, match="cannot be used"):
        service.jobs.change(known.id, change)

    assert service.jobs.job(known.id) == known
    service.close()
