"""Records of the service as the resources that go over the wire."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from autopeft.api.trials import a_trial, a_trial_in_full, front_of
from autopeft.records import to_json
from autopeft.resources.answers import (
    ArtifactResource,
    DatasetResource,
    EstimateResource,
    EventResource,
    JobResource,
    ProgressResource,
    SearchResource,
    TrainingResource,
    TrialDetail,
    TrialResource,
    TroubleResource,
)
from autopeft.resources.requests import EstimateRequest, SearchRequest, TrainRequest
from autopeft.service.dataset import Artifact, Dataset
from autopeft.service.event import Event
from autopeft.service.job import Job, Kind, Trouble
from autopeft.study import Study
from autopeft.trial import Trial
from autopeft.wiring.hidden import Hidden

Asked = TypeVar("Asked", bound=BaseModel)
PLACES = {
    Kind.SEARCH: "/v1/searches",
    Kind.ESTIMATE: "/v1/estimates",
    Kind.TRAINING: "/v1/trainings",
}
"""Where the jobs of a kind are."""


def place_of(job: Job) -> str:
    """Return where a job is."""
    return f"{PLACES[job.kind]}/{job.id}"


def _as_asked(model: type[Asked], request: Mapping[str, Any]) -> Asked:
    """Read a request as it was accepted; one of an older version is shown as it stands."""
    try:
        return model.model_validate(request)
    except ValidationError:
        return model.model_construct(**request)


class Present:
    """Makes resources of records; no path of this machine is in them."""

    def __init__(self, hidden: Hidden) -> None:
        self._hidden = hidden

    def job(self, job: Job) -> JobResource:
        """Present a job as the resource of its kind."""
        match job.kind:
            case Kind.ESTIMATE:
                return self.estimate(job)
            case Kind.TRAINING:
                return self.training(job)
            case _:
                return self.search(job)

    def search(self, job: Job) -> SearchResource:
        """Present a search."""
        return SearchResource(
            **self._common(job),
            request=_as_asked(SearchRequest, job.request),
            study=job.study or None,
            answer=self._result(job),
            plan=f"{place_of(job)}/plan" if job.result else None,
        )

    def estimate(self, job: Job) -> EstimateResource:
        """Present an estimate."""
        return EstimateResource(
            **self._common(job),
            request=_as_asked(EstimateRequest, job.request),
            result=self._result(job),
        )

    def training(self, job: Job) -> TrainingResource:
        """Present the training of a plan."""
        request = dict(job.request)
        return TrainingResource(
            **self._common(job),
            search=str(request.pop("search")),
            request=_as_asked(TrainRequest, request),
            result=self._result(job),
        )

    def dataset(self, dataset: Dataset) -> DatasetResource:
        """Present a data set."""
        return DatasetResource(
            id=dataset.id,
            owner=dataset.owner,
            name=dataset.name,
            state=dataset.state,
            bytes=dataset.bytes,
            sha256=dataset.digest,
            created=dataset.created,
            found=self._hidden.values(dataset.found) or None,
            trouble=self._trouble(dataset.trouble),
        )

    def event(self, event: Event) -> EventResource:
        """Present what happened."""
        happening = event.happening
        return EventResource(
            id=event.number,
            at=event.at,
            kind=happening.kind,
            level=happening.level,
            message=self._hidden.text(happening.message),
            data=self._hidden.values(happening.data),
        )

    def artifact(self, artifact: Artifact) -> ArtifactResource:
        """Present a file."""
        return ArtifactResource(
            name=artifact.name,
            media_type=artifact.media_type,
            bytes=artifact.bytes,
            sha256=artifact.digest,
            created=artifact.created,
        )

    def trials(self, study: Study, trials: Sequence[Trial], job: Job) -> list[TrialResource]:
        """Present all trials of a search."""
        front = front_of(study, trials)
        return [a_trial(study, trial, job, front, self._hidden) for trial in trials]

    def trial(self, study: Study, trials: Sequence[Trial], job: Job, number: int) -> TrialDetail:
        """Present one trial in full, of all that there are."""
        (one,) = (trial for trial in trials if trial.number == number)
        return a_trial_in_full(study, one, job, front_of(study, trials), self._hidden)

    def text(self, text: str) -> str:
        """Take the paths of this machine out of a text."""
        return self._hidden.text(text)

    @property
    def hidden(self) -> Hidden:
        """How files are named."""
        return self._hidden

    def _result(self, job: Job) -> dict[str, Any] | None:
        return self._hidden.values(job.result) or None

    def _trouble(self, trouble: Trouble | None) -> TroubleResource | None:
        if trouble is None:
            return None
        detail = self._hidden.text(trouble.detail)
        return TroubleResource(code=trouble.code, detail=detail, param=trouble.param)

    def _common(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "owner": job.owner,
            "state": job.state,
            "created": job.created,
            "started": job.started,
            "ended": job.ended,
            "metadata": dict(job.metadata),
            "priority": job.priority,
            "progress": ProgressResource(**to_json(job.progress)),
            "trouble": self._trouble(job.trouble),
            "attempts": job.attempts + job.false_starts,
            "events": job.events,
        }
