"""A search that was submitted, up to its plan."""

import json
from autopeft.service.job import JobState, Lane


def test_a_search_is_validated_then_run_to_its_plan(premises):
    job = premises.search()

    premises.work(Lane.CHECKS)
    validated = premises.job(job)
    premises.work(Lane.RUNS)
    done = premises.job(job)
    for e in premises.service.jobs.events(job.id, limit=1000): print(e.number, e.happening)
    print(done)
    assert (validated.state, validated.study != "") == (JobState.QUEUED, True)
    assert done.state is JobState.SUCCEEDED
    assert 0
