"""What stands in a plan beside the configuration: where it comes from, and what it promises.

What its numbers rest on is `Evidence`: machine, code, seeds, scores and what they were held
against. Packages are named in `Provenance`, the data's digest and split in `Task`, the backbone's
digest in `Backbone`: what stands in a plan already is not said twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from autopeft.answer import Interval, Ranking, Verdict
from autopeft.trial import Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a plan comes from: the study, the trial, and the versions it was measured with."""

    study: str
    trial: int
    strategy: str
    space: str
    budget: str
    ceiling: int
    trials: int
    verdict: str
    versions: Mapping[str, str]
    created: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What training the plan should give on the validation split.

    ``trial_score`` is that of the trial itself: training with ``Plan.seed`` gives it again on the
    same machine. ``interval`` is what other seeds are expected to give.
    """

    metric: str
    trial_score: float
    interval: Interval
    seeds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far two models are from each other in what they give for the same ``examples``.

    ``largest`` and ``mean`` are absolute differences of their scores (hidden states where a model
    has no head), ``scale`` is the mean absolute score that they are to be seen against, and
    ``same`` the share of rows whose highest score is at the same place.
    """

    largest: float
    mean: float
    scale: float
    same: float
    examples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """In which form trained weights lie beside this copy of a plan, and what that form has cost.

    ``plan`` is the digest of the plan that this is a copy of. ``probe`` are some of the numbers
    that the exported model gives for made-up inputs, to be held against what it gives elsewhere.
    ``files`` are the SHA-256 of the files of weights, heads included, by name; None in exports of
    before that was kept. ``rank`` is the largest of a conversion to LoRA, None where nothing was
    converted.
    """

    plan: str
    format: Literal["peft", "merged"]
    drift: Drift
    probe: tuple[float, ...]
    files: Mapping[str, str] | None = None
    rank: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The machine that concluded the study; ``accelerator`` is None where there was none."""

    system: str
    processor: str
    cores: int
    accelerator: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One training to the end, with the interval of its score over validation examples.

    ``of`` is the trial that a final repeats with a fresh seed, None elsewhere. ``name`` is that of
    a baseline, empty for what was searched.
    """

    trial: int
    purpose: Purpose
    name: str
    of: int | None
    seed: int
    parameters: int
    score: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A baseline that the plan was held against, at the same budget.

    ``difference`` is the plan minus the baseline, paired over the validation examples, over
    ``seeds`` that both were trained with. ``verdict`` is "not compared" where there are too few.
    """

    trial: int
    name: str
    parameters: int
    difference: Interval
    seeds: int
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a plan's numbers rest on.

    ``code`` is the commit of autopeft where it runs from a checkout, its version elsewhere.
    ``backbone_revision`` is that of the hub or of the package that the model came from, None for a
    directory. ``scores`` are those of the baselines, of the finalists and of their repetitions;
    ``ranking`` is the supernet's tau, None where nothing was proposed by inherited scores.
    """

    code: str
    backbone_revision: str | None
    hardware: Hardware
    study_seed: int
    scores: tuple[Scored, ...]
    baselines: tuple[Held, ...]
    ranking: Ranking | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transferred:
    """From which plan one for another backbone was made; nothing of it is measured there.

    ``plan`` is the digest of that plan, ``backbone`` and ``digest`` name the model it was for.
    """

    plan: str
    backbone: str
    digest: str
