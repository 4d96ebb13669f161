"""One configuration and recipe measured in a study."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from autopeft.search_spaces.configuration import Configuration

Precision = Literal["fp32", "bf16"]
RankScaling = Literal["constant", "inverse_sqrt", "inverse"]
GateMean = Literal["mask", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a configuration is trained.

    ``learning_rates`` has one rate for each method that is present; the head has its own, the
    same in every trial, so that no method wins by training the head better. ``scales`` are
    constants that do not depend on sizes; ``rank_scaling`` divides those of methods whose size is
    a rank by its square root (rsLoRA), or by the rank itself (alpha / r, as in LoRA's paper).
    ``gate_mean`` tells whether padding counts in the mean of a gate (``all``: as UniPELT's code).
    ``warmup`` is a share of all steps; after it the rates fall linearly to zero. ``dropout`` is
    that of the backbone while training.
    """

    learning_rates: Mapping[str, float] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)
    head_learning_rate: float = 3e-3
    epochs: int = 3
    batch_size: int = 32
    warmup: float = 0.06
    weight_decay: float = 0.0
    dropout: float = 0.0
    precision: Precision = "fp32"
    rank_scaling: RankScaling = "constant"
    gate_mean: GateMean = "mask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """How much training a measurement has seen: a share of the recipe's steps, in (0, 1]."""

    share: float = 1.0

    @property
    def whole(self) -> bool:
        """Whether that is the whole recipe."""
        return self.share >= 1.0


class Purpose(StrEnum):
    """Why a trial is run."""

    BASELINE = "baseline"
    """What people would use without a search; held against the answer."""
    SEARCH = "search"
    """Proposed by the strategy."""
    FINAL = "final"
    """A finalist once more, with a fresh seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What is to be measured.

    ``label`` names a baseline, or is that of a probe of inherited scores (see `ranking`); it is
    empty otherwise. ``of`` is the trial that a final repeats, None for every other purpose.
    ``inherited`` is the score that shared weights gave the configuration before it was proposed,
    None without any.
    """

    configuration: Configuration
    recipe: Recipe
    seed: int
    purpose: Purpose = Purpose.SEARCH
    fidelity: Fidelity = Fidelity()
    label: str = ""
    of: int | None = None
    inherited: float | None = None

    @property
    def key(self) -> Hashable:
        """What makes two proposals the same work, seeds apart: table and learning rates."""
        return self.configuration.sizes, tuple(sorted(self.recipe.learning_rates.items()))


class State(StrEnum):
    """Where a trial stands."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    """Measured before the end of its recipe; it may be promoted and go on."""
    COMPLETE = "complete"
    FAILED = "failed"
    OOM = "oom"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What training a trial gave, up to a share of its recipe.

    ``score`` is the task's metric on the validation split, higher is better. ``parameters`` are
    the trained elements without the head, as counted on the injected model;
    ``scaffold_parameters`` those that are trained beside them and fall away when training ends.

    ``predictions`` are the validation split's, in its order: label indices as little-endian int32
    for classes, values as float32 for regression. Words and language models keep three numbers an
    example, of which a score can be made: right words, right entities and predicted entities as
    int32; log-likelihood, tokens and whether all were the likeliest as float32.

    ``seconds`` are those of this run alone: a promoted trial goes on from where it was paused.
    ``flops`` (of one example's forward), ``memory`` (bytes that a step keeps) and ``latency``
    (seconds of one example) are measured where they are objectives, and None elsewhere.
    ``operators`` are those that training and scoring ran, each with its form, those included that
    ran for several trials of a pack in one call; there are none in records of before they were
    kept, and where methods take those of torch.
    """

    score: float
    loss: float
    parameters: int
    head_parameters: int
    scaffold_parameters: int = 0
    steps: int
    seconds: float
    share: float = 1.0
    flops: float | None = None
    memory: float | None = None
    latency: float | None = None
    operators: tuple[str, ...] = ()
    predictions: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A proposal and what has become of it. ``attempts`` counts how often it was started.

    ``measurement`` is the latest, ``rungs`` are those before it, at smaller fidelities.
    """

    number: int
    proposal: Proposal
    state: State = State.WAITING
    attempts: int = 0
    progress: float = 0.0
    measurement: Measurement | None = None
    failure: str = ""
    rungs: tuple[Measurement, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to come, unless it is promoted."""
        return self.state in {State.PAUSED, State.COMPLETE, State.FAILED, State.OOM}

    @property
    def complete(self) -> bool:
        """Whether it was trained to the end of its recipe and measured."""
        return self.state is State.COMPLETE

    @property
    def score(self) -> float:
        """The latest score; minus infinity while, or where, there is none."""
        return self.measurement.score if self.measurement else -math.inf

    @property
    def latest(self) -> Measurement | None:
        """The latest measurement, also while it is trained further; None where it failed."""
        if self.state in {State.FAILED, State.OOM}:
            return None
        return self.measurement or (self.rungs[-1] if self.rungs else None)

    def at(self, share: float) -> Measurement | None:
        """Return what was measured at a share of the recipe, or None."""
        everything = (*self.rungs, *([self.measurement] if self.measurement else []))
        return next((found for found in everything if found.share == share), None)

    def started(self) -> "Trial":
        """Return the trial as it is when an executor takes it."""
        return replace(self, state=State.RUNNING, attempts=self.attempts + 1, progress=0.0)

    def put_back(self) -> "Trial":
        """Return the trial as it was before it was started: an orderly stop is no attempt."""
        return replace(self, state=State.WAITING, attempts=self.attempts - 1, progress=0.0)

    def promoted(self, share: float) -> "Trial":
        """Return a paused trial as one that waits to be trained up to a larger share."""
        if self.measurement is None or self.state is not State.PAUSED:
            raise ValueError(f"trial {self.number} is {self.state}, and only a paused one goes on")
        return replace(
            self,
            proposal=replace(self.proposal, fidelity=Fidelity(share=share)),
            state=State.WAITING,
            attempts=0,
            progress=0.0,
            measurement=None,
            rungs=(*self.rungs, replace(self.measurement, predictions=b"")),
        )

    def running(self, progress: float) -> "Trial":
        """Return the trial part of the way, ``progress`` in [0, 1]."""
        return replace(self, state=State.RUNNING, progress=progress)

    def done(self, measurement: Measurement) -> "Trial":
        """Return the trial with its measurement: complete, or paused at the end of its share."""
        fidelity = self.proposal.fidelity
        state = State.COMPLETE if fidelity.whole else State.PAUSED
        measured = replace(measurement, share=fidelity.share)
        return replace(self, state=state, progress=1.0, measurement=measured)

    def failed(self, reason: str) -> "Trial":
        """Return the trial as one that could not be measured."""
        return replace(self, state=State.FAILED, failure=reason)

    def out_of_memory(self, reason: str) -> "Trial":
        """Return the trial as one that did not fit into memory."""
        return replace(self, state=State.OOM, failure=reason)
