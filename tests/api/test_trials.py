"""How a trial of the store is told, seen with its job."""

from dataclasses import replace

import pytest

from autopeft.api.trials import state_of
from autopeft.service.job import JobState
from autopeft.trial import State, Trial
from tests.api.studies import a_job
from tests.builders import a_proposal

TRIAL = Trial(number=0, proposal=a_proposal())


@pytest.mark.parametrize(
    ("state", "attempts", "job", "told"),
    [
        (State.WAITING, 0, JobState.RUNNING, "waiting"),
        (State.WAITING, 1, JobState.RUNNING, "preempted"),
        (State.RUNNING, 1, JobState.RUNNING, "running"),
        (State.RUNNING, 1, JobState.PAUSING, "running"),
        (State.RUNNING, 1, JobState.QUEUED, "preempted"),
        (State.RUNNING, 1, JobState.PAUSED, "preempted"),
        (State.RUNNING, 1, JobState.FAILED, "preempted"),
        (State.PAUSED, 1, JobState.RUNNING, "paused"),
        (State.PAUSED, 1, JobState.QUEUED, "paused"),
        (State.PAUSED, 1, JobState.SUCCEEDED, "pruned"),
        (State.PAUSED, 1, JobState.CANCELLED, "pruned"),
        (State.OOM, 1, JobState.RUNNING, "oom"),
        (State.FAILED, 1, JobState.RUNNING, "failed"),
        (State.COMPLETE, 1, JobState.FAILED, "complete"),
    ],
)
def test_a_state_is_told_with_what_its_job_makes_of_it(state, attempts, job, told):
    trial = replace(TRIAL, state=state, attempts=attempts)

    assert state_of(trial, a_job("000000000000", state=job)) == told
