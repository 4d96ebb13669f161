"""One search as a value: the same study is the same work, wherever and whenever it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from autopeft.backbone import Backbone
from autopeft.budget import Budget
from autopeft.records import digest, to_json
from autopeft.search_spaces.space import SearchSpace
from autopeft.trial import Recipe

TaskKind = Literal["classification", "regression", "tokens", "causal_lm", "seq2seq", "image"]
Metric = Literal[
    "accuracy",
    "macro_f1",
    "spearman",
    "token_accuracy",
    "entity_f1",
    "log_likelihood",
    "exact_match",
]
Head = Literal["mean", "cls", "pooler", "tokens", "lm"]
LossOn = Literal["completion", "all"]
Objective = Literal["score", "params", "flops", "memory", "latency"]
# What studies did not have at first; where it is as it was then, their id stays what it was.
_LATER = {"objectives": ["score"], "rungs": [1.0], "options": {}, "earlier": [], "owner": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns of the data are what.

    ``text`` is what a model is given: a text, words, a prompt or an image. ``label`` is what it
    shall answer: a class, a number, tags, or a text; None where a text is learned as it stands.
    """

    text: str
    label: str | None
    pair: str | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFiles:
    """The files, or folders of images, that the data comes from.

    Without the last two, ``train`` holds all parts.
    """

    train: str
    validation: str | None = None
    test: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is learned from which data, and how it is scored.

    ``labels`` are the classes, or the tags of words, in the order of their indices; empty for
    regression and language models. ``digest`` names the content of the data, ``split_seed`` the
    split where autopeft makes it. ``examples`` are the sizes of the parts train, validation and
    test. ``loss`` says what of a prompt and its completion is learned; scored is the completion.
    """

    kind: TaskKind
    metric: Metric
    columns: Columns
    labels: tuple[str, ...]
    head: Head
    max_length: int
    digest: str
    split_seed: int
    examples: tuple[int, int, int]
    loss: LossOn = "completion"

    @property
    def outputs(self) -> int:
        """The width of a trained head's output: one per class or tag, or a single value."""
        return len(self.labels) or 1

    @property
    def predicted(self) -> str:
        """The number type in which predictions are stored, as numpy writes it."""
        return "<i4" if self.labels else "<f4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where this machine finds the model and the data; no part of what a study is."""

    model: str
    data: DataFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One search: task, backbone, space, budget, strategy and seed.

    ``recipe`` holds what all trials share; a proposal adds learning rates to it. ``objectives`` are
    what strategies and early stopping go by; the first one is always the score. ``rungs`` are the
    shares of the recipe at which a trial is measured, the last of them 1: it pauses at each, and
    goes on if it is among the best. ``options`` are the strategy's own. ``earlier`` are the
    studies whose best configurations are tried first, see ``first_tried``. ``owner`` is whose it is
    where a service has several users: equal searches of two users are two studies, so that none
    sees the other's. ``finals`` is how many fresh seeds each finalist is trained with; like
    ``where`` it is no part of what a study is, and may change when a study goes on.
    """

    task: Task
    backbone: Backbone
    space: SearchSpace
    budget: Budget
    strategy: str
    seed: int
    recipe: Recipe
    finals: int
    where: Where
    objectives: tuple[Objective, ...] = ("score",)
    rungs: tuple[float, ...] = (1.0,)
    options: Mapping[str, str] = field(default_factory=dict)
    earlier: tuple[str, ...] = ()
    owner: str = ""

    @property
    def ceiling(self) -> int:
        """The largest number of parameters that a trial may train."""
        return self.budget.ceiling(self.backbone.parameters)

    @property
    def id(self) -> str:
        """Twelve digits that name the study: the digest of all that decides its result."""
        document = to_json(self)
        del document["where"]
        del document["finals"]
        del document["backbone"]["name"]
        del document["space"]["summary"]
        document["budget"] = self.ceiling
        for name, usual in _LATER.items():
            if document[name] == usual:
                del document[name]
        return digest(document)[:12]


def first_tried(earlier: str) -> tuple[str, tuple[int, ...] | None]:
    """Read what a study begins with: the id of another, and the numbers of its trials.

    They are those that were the best when the study began, so that it goes on with them whatever
    the other has measured since. Studies of earlier versions name none: None.

    Example:
        >>> first_tried("3fa9c1d2e47b:17.4"), first_tried("3fa9c1d2e47b")
        (('3fa9c1d2e47b', (17, 4)), ('3fa9c1d2e47b', None))
    """
    study, colon, numbers = earlier.partition(":")
    return study, tuple(map(int, numbers.split(".") if numbers else ())) if colon else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When to stop asking for trials; no part of what a study is.

    ``trials`` counts baselines and searched trials; finals come on top. ``seconds`` is the time
    for one run of the command, finals included.
    """

    trials: int
    seconds: float | None = None
