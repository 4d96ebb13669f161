"""What may be named in a request, as it goes over the wire."""

from typing import Literal

from pydantic import Field

from autopeft.resources.answers import Answered


class SpaceResource(Answered):
    """A search space that comes with the service."""

    object: Literal["space"] = "space"
    name: str
    summary: str
    paper: str
    differs: str = Field(description="In what it departs from the paper.")
    start_from: list[str] = Field(description="Published configurations that are tried first.")


class RatesResource(Answered):
    """Learning rates: where the search begins, and between what it looks."""

    low: float
    default: float
    high: float


class MethodResource(Answered):
    """A method of parameter-efficient fine-tuning."""

    object: Literal["method"] = "method"
    name: str
    summary: str
    paper: str
    family: str
    comes_from: str = Field(description="native, peft, or the plug-in that brings it.")
    sites: list[str]
    size: str = Field(description="What its size counts.")
    identity_at_initialisation: bool
    scale: float | None
    learning_rate: RatesResource
    slice: bool = Field(description="Whether a smaller size is part of a larger one.")
    merges: bool
    merge: str
    pack: bool = Field(description="Whether several configurations train in one pass.")
    peft: str | None = Field(description="The class of the peft library that expresses it.")
    takes: list[str]
    adds: list[str]
    description: str


class StrategyResource(Answered):
    """A way to search."""

    object: Literal["strategy"] = "strategy"
    name: str
    summary: str
    needs: Literal["nothing", "inheritance", "structures"]
    options: dict[str, str] = Field(description="What `options` takes, with the defaults.")


class ModelResource(Answered):
    """A model that this service offers."""

    object: Literal["model"] = "model"
    name: str = Field(description="What a request names it by.")
    source: Literal["package", "folder"]


class ModelList(Answered):
    """The models that a request may name; with ``hub`` open, hub ids besides."""

    object: Literal["list"] = "list"
    data: list[ModelResource]
    has_more: bool = False
    next: str | None = None
    hub: bool = Field(description="Whether hub ids such as bert-base-uncased may be named.")
