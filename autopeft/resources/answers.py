"""What the service answers with."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from autopeft.resources.requests import EstimateRequest, SearchRequest, TrainRequest
from autopeft.service.dataset import DatasetState
from autopeft.service.event import EventKind, Level
from autopeft.service.job import JobState

Item = TypeVar("Item")


def _lenient(kind: type[BaseModel]) -> BeforeValidator:
    """Leave out of a request, where it is part of an answer, what this version does not know."""

    def known(values: Any, kind: type[BaseModel]) -> Any:
        if not isinstance(values, Mapping):
            return values
        fields = kind.model_fields
        return {
            name: known(value, inner) if (inner := _inner(fields[name].annotation)) else value
            for name, value in values.items()
            if name in fields
        }

    return BeforeValidator(lambda values: known(values, kind))


def _inner(annotation: Any) -> type[BaseModel] | None:
    kinds = (annotation, *get_args(annotation))
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)


TrialState = Literal[
    "waiting", "running", "paused", "pruned", "preempted", "oom", "failed", "complete"
]


class Answered(BaseModel):
    """An answer: read leniently, so that an older client understands a newer service."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class WrongField(Answered):
    """A field or parameter that is wrong, and why."""

    param: str
    detail: str


class Problem(Answered):
    """What was wrong, as RFC 9457 has it; ``remedy`` says what to do."""

    type: str = Field(description="A link to what the code means.")
    title: str
    status: int
    detail: str
    code: str
    param: str | None = Field(
        default=None, description="The field to look at, such as data.dataset."
    )
    errors: tuple[WrongField, ...] = Field(
        default=(), description="All fields that are wrong; `param` is the first of them."
    )
    remedy: str | None = None
    request_id: str | None = None


class ProgressResource(Answered):
    """How far a job is."""

    phase: str
    share: float = Field(description="Of the phase, in [0, 1].")
    trials: int
    of: int
    best: float | None
    seconds: float = Field(description="Spent so far, over all runs.")
    remaining: float | None = Field(description="Seconds still to come, where that is known.")


class TroubleResource(Answered):
    """Why a job failed."""

    code: str
    detail: str
    param: str


class JobResource(Answered):
    """What all jobs have in common."""

    id: str
    object: str
    owner: str
    state: JobState
    created: datetime
    started: datetime | None
    ended: datetime | None
    metadata: dict[str, str]
    priority: int
    progress: ProgressResource
    trouble: TroubleResource | None
    attempts: int = Field(description="How many workers it has lost since it last got on.")
    events: int = Field(description="The number of the last event.")


class SearchResource(JobResource):
    """A search."""

    object: Literal["search"] = "search"
    request: Annotated[SearchRequest, _lenient(SearchRequest)]
    study: str | None
    answer: dict[str, Any] | None = Field(description="What was found: sentence, verdict, scores.")
    plan: str | None = Field(description="Where the plan is, once there is one.")


class EstimateResource(JobResource):
    """What a search would cost."""

    object: Literal["estimate"] = "estimate"
    request: Annotated[EstimateRequest, _lenient(EstimateRequest)]
    result: dict[str, Any] | None


class TrainingResource(JobResource):
    """The training of a plan."""

    object: Literal["training"] = "training"
    search: str
    request: Annotated[TrainRequest, _lenient(TrainRequest)]
    result: dict[str, Any] | None


class TrialResource(Answered):
    """One configuration and recipe, measured in a search."""

    number: int
    state: TrialState
    purpose: Literal["baseline", "search", "final"]
    label: str
    of: int | None
    score: float | None
    parameters: int | None
    share: float | None = Field(description="Of the training that the score has seen.")
    seconds: float | None
    inherited: float | None
    attempts: int
    failure: str
    front: bool = Field(description="Whether no other trial beats it in all objectives.")


class TrialDetail(TrialResource):
    """A trial with its table of sizes and its recipe."""

    slots: list[str] = Field(description="The columns: method@site.")
    sizes: list[list[int]] = Field(description="Blocks by slots; 0 means absent.")
    recipe: dict[str, Any]
    rungs: list[dict[str, Any]]
    measurement: dict[str, Any] | None


class PointResource(Answered):
    """A measured trial in the plane of the objectives."""

    trial: int
    state: TrialState
    purpose: Literal["baseline", "search", "final"]
    label: str = Field(description="The name of a baseline, or what is trained.")
    baseline: bool
    values: dict[str, float | None] = Field(description="By objective; costs are positive.")
    share: float = Field(description="Of the training that the values have seen.")
    front: bool = Field(description="Whether no other trial beats it in all objectives.")


class ParetoResource(Answered):
    """What a search has found in all of its objectives at once."""

    object: Literal["pareto"] = "pareto"
    search: str
    metric: str
    objectives: list[str] = Field(description="score, and what else trials are compared by.")
    ceiling: int = Field(description="The budget: the most parameters that a trial may train.")
    budget: str = Field(description="The budget as it was written.")
    reference: dict[str, float | None] | None = Field(
        description="The corner that hypervolumes are measured from; null without measurements."
    )
    hypervolume: float
    hypervolumes: list[float] = Field(description="After each trial, in their order.")
    points: list[PointResource]


class EventResource(Answered):
    """Something that happened to a job."""

    id: int
    object: Literal["event"] = "event"
    at: datetime
    kind: EventKind
    level: Level
    message: str
    data: dict[str, Any]


class DatasetResource(Answered):
    """Data that was uploaded."""

    id: str
    object: Literal["dataset"] = "dataset"
    owner: str
    name: str
    state: DatasetState
    bytes: int
    sha256: str
    created: datetime
    found: dict[str, Any] | None = Field(description="Rows, columns, task, labels.")
    trouble: TroubleResource | None


class ArtifactResource(Answered):
    """A file that a job has made."""

    name: str
    media_type: str
    bytes: int
    sha256: str
    created: datetime


class Listed(Answered, Generic[Item]):
    """A page of a list: ask again with ``after`` the last id while ``has_more``."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool
    next: str | None = Field(default=None, description="What to give as `after` for the next page.")
