"""What everything that fills ``Service`` promises.

A new one subclasses ``ServiceContract`` and gives a fixture ``service`` that is empty and takes its
process from the fixture ``surroundings``, and a fixture ``wait`` that lets seconds pass.
"""

import subprocess
from collections.abc import Iterator

import pytest

from autopeft.service.job import (
    Lane,
)
from autopeft.storage.processes import Process, process_of
from tests.contracts.belongings import DatasetsContract, KeysContract, RepliesContract
from tests.contracts.claims import ClaimsContract, LostWorkersContract
from tests.contracts.jobs import CountsContract, JobsContract
from tests.contracts.service_records import a_job
from tests.contracts.store import Surroundings
from tests.contracts.turns import TurnsContract


class ServiceContract(
    JobsContract, TurnsContract, ClaimsContract, LostWorkersContract, CountsContract,
    KeysContract, DatasetsContract, RepliesContract,
):  # fmt: skip
    """What everything that fills ``Service`` promises."""

    @pytest.fixture
    def surroundings(self) -> Surroundings:
        return Surroundings()

    @pytest.fixture
    def neighbour(self) -> Iterator[Process]:
        """A living process of this machine that is not ours."""
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            yield process_of(child.pid)
            child.kill()

    @pytest.fixture
    def the_dead(self) -> Process:
        """A process of this machine that lives no more."""
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            process = process_of(child.pid)
            child.kill()
        return process

    def test_it_can_be_checked_and_leaves_nothing_behind(self, service):
        """No worker, for one."""
        service.check()

        assert service.jobs.counts().workers == {Lane.CHECKS: 0, Lane.RUNS: 0}

    def test_it_is_closed_at_the_end_of_a_block(self, service):
        """And is there again when it is used again."""
        with service.closing() as opened:
            assert opened is service
            service.jobs.add(a_job())

        assert service.jobs.job(a_job().id).id == a_job().id
