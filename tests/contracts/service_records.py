"""Small records of the service, and what is done with them again and again, for its tests."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from autopeft.service.dataset import Artifact, Dataset
from autopeft.service.event import Happening
from autopeft.service.job import (
    Job,
    JobState,
    Kind,
    Lane,
)
from autopeft.service.ports import Claim, Service

START = datetime(2026, 1, 1, tzinfo=UTC)
ODD = "a 'quoted' % _ \\ ä \u2028 \x00 \udcff"
REMARK = Happening(kind="message", message="a remark", data={"score": 0.5})


def a_job(number: int = 0, **others: Any) -> Job:
    """Return a search that is validated and waits; a higher number is a later one."""
    usual: dict[str, Any] = {
        "id": f"search_{number:012x}",
        "kind": Kind.SEARCH,
        "owner": "ann",
        "request": {"model": "tiny", "limits": {"trials": 3}},
        "created": START + timedelta(seconds=number),
        "state": JobState.QUEUED,
        "study": f"{number:012x}",
    }
    return Job(**usual | others)


def a_dataset(number: int = 0, **others: Any) -> Dataset:
    """Return a data set; a higher number is a later one."""
    usual: dict[str, Any] = {
        "id": f"dataset_{number:012x}",
        "owner": "ann",
        "name": "reviews",
        "file": "reviews.csv",
        "bytes": 100,
        "digest": "d" * 64,
        "created": START + timedelta(seconds=number),
    }
    return Dataset(**usual | others)


def an_artifact(name: str = "plan.json", **others: Any) -> Artifact:
    """Return a file of the first job."""
    usual: dict[str, Any] = {
        "job": a_job().id,
        "name": name,
        "file": f"jobs/{a_job().id}/{name}",
        "media_type": "application/json",
        "bytes": 10,
        "digest": "e" * 64,
        "created": START,
    }
    return Artifact(**usual | others)


def moved(state: JobState, **others: Any) -> Callable[[Job], Job]:
    """Return the change of a job to a state."""
    return lambda job: replace(job, state=state, **others)


def claimed(service: Service, lane: Lane = Lane.RUNS, worker: str = "w1") -> Claim:
    """Claim a job that there must be."""
    claim = service.jobs.claim(lane, worker)
    assert claim is not None, "there is nothing to claim"
    return claim


def claim_ids(service: Service, lane: Lane = Lane.RUNS) -> list[str]:
    """Claim all that can be claimed, one after the other, none of which ends."""
    found = []
    while claim := service.jobs.claim(lane, "w"):
        found.append(claim.job.id)
    return found
