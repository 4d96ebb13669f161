"""Many workers, each of which may die."""

import importlib
import os
import select
import signal
import subprocess
import sys
import tempfile

import pytest

from autopeft.errors import OptionError
from autopeft.trial import State
from tests.contracts.executor import ExecutorContract, ended, waiting
from tests.executors.evaluators import (
    Dying,
    Endless,
    InStep,
    Steady,
    Together,
    Unloadable,
    measured,
)

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture
def ray_executor():
    """Return the class late: `-m "not ray"` loads no Ray."""
    from autopeft.executors.ray import RayExecutor

    return RayExecutor


class TestRayExecutor(ExecutorContract):
    workers = 2

    @pytest.fixture
    def executor(self, ray_executor):
        return ray_executor(self.workers)


class TestOneRayWorker:
    """Deaths and reuse can be told apart where there is only one worker."""

    @pytest.fixture
    def executor(self, ray_executor):
        return ray_executor(1)

    def test_one_process_measures_all_trials_and_leaves_nothing_behind(
        self, executor, capfd, tmp_path, monkeypatch
    ):
        """No file is written, nothing printed, no environment variable left behind."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        before = dict(os.environ)

        processes = {trial.score for trial in ended(executor.run(Steady(), waiting(4))).values()}

        assert len(processes) == 1
        assert processes != {os.getpid()}
        assert list(tmp_path.iterdir()) == []
        assert dict(os.environ) == before
        assert capfd.readouterr() == ("", "")

    def test_a_trial_whose_worker_is_killed_is_measured_by_another(self, executor, tmp_path):
        outcomes = ended(executor.run(Dying(1, tmp_path, times=1), waiting(3)))

        assert [outcomes[number].state for number in range(3)] == [State.COMPLETE] * 3
        assert outcomes[0].score != outcomes[1].score

    def test_a_worker_measures_as_many_together_as_it_is_told(self, executor):
        outcomes = ended(executor.run(InStep(2), waiting(5), ahead=2))

        assert [outcomes[number].state for number in range(5)] == [
            *[State.COMPLETE] * 4,
            State.FAILED,
        ]

    def test_of_a_pack_whose_worker_is_killed_each_starts_again_alone(self, executor, tmp_path):
        """Whoever kills it again is given up; what had ended before has ended."""
        outcomes = ended(executor.run(Dying(1, tmp_path, times=99), waiting(3), ahead=3))

        assert [outcomes[number].state for number in range(3)] == [
            State.COMPLETE,
            State.FAILED,
            State.COMPLETE,
        ]
        assert len(list(tmp_path.iterdir())) == 3

    def test_a_trial_that_kills_every_worker_is_given_up_and_the_others_go_on(
        self, executor, tmp_path
    ):
        outcomes = ended(executor.run(Dying(1, tmp_path, times=99), waiting(3)))

        assert [outcomes[number].state for number in range(3)] == [
            State.COMPLETE,
            State.FAILED,
            State.COMPLETE,
        ]
        reason = "the worker died 3 times while it ran; was memory short?"
        assert outcomes[1].failure == reason
        assert len(list(tmp_path.iterdir())) == 3

    def test_the_last_trial_is_also_measured_again(self, executor, tmp_path):
        """The generator has ended by then; the run has not."""
        [outcome] = ended(executor.run(Dying(0, tmp_path, times=1), waiting(1))).values()

        assert outcome.state is State.COMPLETE

    def test_a_worker_that_dies_between_two_trials_loses_none(self, executor):
        outcomes = {}
        for trial in executor.run(Steady(), waiting(3)):
            if trial.ended:
                outcomes[trial.number] = trial.state
            if trial.ended and trial.number == 0:
                os.kill(int(trial.score), signal.SIGKILL)

        assert outcomes == dict.fromkeys(range(3), State.COMPLETE)

    def test_closing_ends_a_worker_in_the_middle_of_its_trial(self, executor, tmp_path):
        changes = executor.run(Endless(tmp_path), waiting(1))
        next(changes)
        [worker] = tmp_path.iterdir()
        process = os.pidfd_open(int(worker.name))
        changes.close()

        assert select.select([process], [], [], 3) == ([process], [], [])

    def test_a_class_that_workers_cannot_import_travels_by_value(self, executor):
        class Mine:
            def evaluate(self, trials):
                yield measured(trials[0])

        assert len(ended(executor.run(Mine(), waiting(1)))) == 1

    def test_an_evaluator_that_a_worker_cannot_load_stops_the_run(self, executor):
        with pytest.raises(ImportError, match="no module named 'left_at_home'"):
            list(executor.run(Unloadable(), waiting(3)))


def test_two_workers_measure_at_the_same_time(ray_executor, tmp_path):
    outcomes = ended(ray_executor(2).run(Together(2, tmp_path), waiting(2)))

    assert outcomes[0].score != outcomes[1].score


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        ({"workers": 3}, "the Ray cluster has 2 CPUs, too few for 3 workers with 1 each"),
        ({"workers": 2, "cpus": 2}, "has 2 CPUs, too few for 2 workers with 2 each"),
        ({"workers": 1, "gpus": 99}, "GPUs, too few for 1 workers with 99 each"),
    ],
)
def test_more_workers_than_the_cluster_has_room_for_are_refused(ray_executor, executor, message):
    with pytest.raises(OptionError, match=message):
        list(ray_executor(**executor).run(Steady(), waiting(1)))


def test_without_ray_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "autopeft.executors.ray", raising=False)

    with pytest.raises(OptionError, match=r"needs the package ray\[tune\]: pip install"):
        importlib.import_module("autopeft.executors.ray")


SCRIPT = """
import sys

from autopeft.executors.ray import RayExecutor
from tests.contracts.executor import ended, waiting
from tests.executors.evaluators import measured


class Mine:
    def evaluate(self, trials):
        yield measured(trials[0])


if __name__ == "__main__":
    print(len(ended(RayExecutor(1).run(Mine(), waiting(3)))), "ended")
"""


def run_script(path, text, **environment):
    path.write_text(text)
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, path],
        env={**os.environ, **paths, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_script_of_the_users_needs_no_cluster_and_prints_only_its_own(tmp_path):
    run = run_script(tmp_path / "mine.py", SCRIPT)

    assert (run.stdout, run.stderr, run.returncode) == ("3 ended\n", "", 0)


@pytest.mark.slow
def test_a_script_joins_the_cluster_that_ray_address_names(tmp_path):
    """That cluster goes on afterwards."""
    import ray

    address = ray.get_runtime_context().gcs_address
    run = run_script(tmp_path / "mine.py", SCRIPT, RAY_ADDRESS=address)

    assert (run.stdout, run.returncode) == ("3 ended\n", 0)
    assert ray.cluster_resources()["CPU"] == 2


@pytest.mark.slow
def test_a_cluster_that_cannot_be_joined_is_named(tmp_path):
    """The cluster of the test run wants a token, which the script does not send."""
    import ray

    address = ray.get_runtime_context().gcs_address
    wrong = {"RAY_AUTH_MODE": "disabled", "RAY_NUM_REDIS_GET_RETRIES": "1"}
    run = run_script(tmp_path / "mine.py", SCRIPT, RAY_ADDRESS=address, **wrong)

    message = f"OptionError: cannot connect to the Ray cluster that RAY_ADDRESS={address} names"
    assert message in run.stderr
    assert run.returncode == 1
