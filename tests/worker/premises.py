"""A service with its files in a folder, a tiny model and data, and workers that run in the test."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autopeft.resources.requests import EstimateRequest, SearchRequest
from autopeft.service.dataset import Dataset, DatasetState
from autopeft.service.job import Job, JobState, Kind, Lane
from autopeft.settings import ServiceSettings
from autopeft.storage.service.sql import SqlService
from autopeft.storage.sql import SqlStore
from autopeft.worker.lane import Worker
from autopeft.worker.means import Means
from tests.models import opinions, save_tiny, write_rows

TRIALS, FINALS = 4, 1


class Premises:
    """All that a worker needs, below one folder. ``owner`` is whose what is submitted is."""

    def __init__(self, folder: Path, *, rows: int = 60, url: str | None = None) -> None:
        self.folder = folder
        self.url = url or f"sqlite:///{folder / 'store.db'}"
        self.service = SqlService(self.url)
        self.store = SqlStore(self.url)
        self.settings = ServiceSettings(
            files=str(folder / "files"),
            models=(str(folder / "models"),),
            data=(str(folder / "data"),),
            idle=0.0,
            workers=2,
        )
        (folder / "models").mkdir(parents=True)
        (folder / "data").mkdir()
        save_tiny(folder / "models" / "tiny")
        write_rows(folder / "data" / "opinions.csv", opinions(rows))
        self._jobs = 0

    @property
    def means(self) -> Means:
        """What a worker works with."""
        return Means(
            service=self.service,
            store=self.store,
            settings=self.settings,
            cache=self.folder / "cache",
        )

    def close(self) -> None:
        """Close the store."""
        self.service.close()
        self.store.close()

    def add(self, kind: Kind, request: dict[str, Any], **changes: Any) -> Job:
        """Add a job as the API does."""
        self._jobs += 1
        state = JobState.VALIDATING if kind is Kind.SEARCH else JobState.QUEUED
        job = Job(
            id=f"{kind}_{self._jobs:012x}", kind=kind, owner="local", request=request,
            created=datetime.now(UTC), state=state,
        )  # fmt: skip
        return self.service.jobs.add(replace(job, **changes))

    def search(self, *, owner: str = "local", **changes: Any) -> Job:
        """Submit a small search."""
        body = SearchRequest.model_validate(a_body(**changes))
        return self.add(Kind.SEARCH, body.model_dump(mode="json"), owner=owner)

    def estimate(self, **changes: Any) -> Job:
        """Submit an estimate."""
        body = EstimateRequest.model_validate(a_body(**changes))
        return self.add(Kind.ESTIMATE, body.model_dump(mode="json"))

    def upload(self, name: str, content: bytes, **changes: Any) -> Dataset:
        """Put a data set where the API does, without the job that reads it."""
        dataset = Dataset(
            id="dataset_00000000000a", owner="local", name=name, file=name, bytes=len(content),
            digest="0" * 64, created=datetime.now(UTC), state=DatasetState.VALIDATING,
        )  # fmt: skip
        dataset = replace(dataset, **changes)
        folder = self.settings.folder / "datasets" / dataset.id
        folder.mkdir(parents=True)
        (folder / name).write_bytes(content)
        self.service.datasets.add(dataset)
        return dataset

    def worker(
        self, lane: Lane = Lane.RUNS, stopping: Callable[[], bool] = lambda: False, **changes: Any
    ) -> Worker:
        """Make a worker that ends when there is nothing to do."""
        usual = {"beat_every": 0.02, "patience": 5.0}
        return Worker(self.means, lane, "tested", stopping, **(usual | changes))

    def work(self, *lanes: Lane) -> None:
        """Do all that waits in these lanes, or in both."""
        for lane in lanes or (Lane.CHECKS, Lane.RUNS):
            self.worker(lane).run()

    def job(self, job: Job) -> Job:
        """Read a job anew."""
        return self.service.jobs.job(job.id)

    def events(self, job: Job, kind: str | None = None) -> list[Any]:
        """Return what happened to a job."""
        told = self.service.jobs.events(job.id, limit=1000)
        return [event.happening for event in told if kind in {None, event.happening.kind}]

    def measured(self, job: Job) -> list[Any]:
        """Return the trials of a job's study without what differs from run to run."""
        return [
            replace(
                trial,
                attempts=0,
                measurement=trial.measurement and replace(trial.measurement, seconds=0.0),
                rungs=tuple(replace(rung, seconds=0.0) for rung in trial.rungs),
            )
            for trial in self.store.trials(self.job(job).study)
        ]

    def plan(self, job: Job) -> Any:
        """Return the plan of a study without when, where and from which commit it was made."""
        concluded = self.store.answer(self.job(job).study)
        assert concluded is not None
        plan = concluded[1]
        evidence = plan.evidence and replace(plan.evidence, code="")  # a commit may come between
        made = replace(plan.provenance, created="")
        return replace(plan, where=None, provenance=made, evidence=evidence)


def a_body(**changes: Any) -> dict[str, Any]:
    """Return a small search as it is submitted."""
    usual: dict[str, Any] = {
        "model": "tiny",
        "data": {"path": "opinions.csv"},
        "budget": "20%",
        "strategy": "random",
        "limits": {"trials": TRIALS, "finals": FINALS},
        "recipe": {"epochs": 1, "batch_size": 16},
        "run": {"threads": 1},
    }
    return usual | changes


def in_thread(worker: Worker) -> threading.Thread:
    """Let a worker work beside the test."""
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    return thread
