"""What the numbers of a plan rest on: machine, code, seeds, scores and what they were held against.

Packages are named in `Provenance`, the data's digest and split in `Task`, the backbone's digest in
`Backbone`: what stands in a plan already is not said twice.
"""

from dataclasses import dataclass

from autopeft.answer import Interval, Ranking, Verdict
from autopeft.trial import Purpose


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
