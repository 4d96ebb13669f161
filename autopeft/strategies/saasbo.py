"""Bayesian optimisation as AutoPEFT does it (Zhou et al. 2024, arXiv 2301.12132), with BoTorch.

For each objective a Gaussian process with sparse priors is drawn many times from its posterior
(SAAS; see ``saas_posterior``), and a local search looks for the candidates whose noisy expected
improvement is largest: of the hypervolume where there are several objectives. What an objective
is worth is first turned into a normal quantile of what was seen (a copula). Where the paper's code
differs from the paper the paper is followed (see ``one_exchange``), and beyond it:

- learning rates are searched over too, and the budget is kept by every candidate;
- trials that were stopped early count as if they had been trained to the end (``lifted``), and
  those that failed as the worst;
- the reference of the hypervolume is the worst of what was measured in each objective; the paper's
  was a constant that left a third of its space without any value;
- hyperparameters are drawn by a sampler of our own (``nuts``): BoTorch's needs JAX, and is compiled
  anew for every number of trials.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from autopeft.errors import OptionError
from autopeft.objectives import ranks
from autopeft.strategies.candidates import Candidate, Candidates
from autopeft.strategies.memory import Memory, has_score, lifted
from autopeft.strategies.one_exchange import Climb
from autopeft.strategies.past import as_of
from autopeft.strategies.saas_posterior import Processes, draw_processes
from autopeft.study import Study
from autopeft.trial import Proposal, Purpose, State, Trial

if TYPE_CHECKING:
    from autopeft.strategies.saas_model import Fitted, Promise

Array = NDArray[np.float64]
Model = Literal["saas", "matern"]

# N trials, K objectives
_TRIES = 100
_LEAST = 2  # measured trials that a model can be made of
_PARENTS = 5
_CLIP = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be chosen.

    ``init`` configurations are drawn at random first (the paper draws 100 of 200; a search of no
    more trials than ``init`` is a random one and nothing else); then batches of ``q`` are proposed,
    and a model is fitted once for each. ``warmup``, ``samples`` and ``thinning`` are those of the
    sampler. ``model`` is ``saas``, or ``matern``: the paper's ablation, one process with the
    likeliest lengths. ``restarts`` and ``evaluations`` are those of the local search for each
    proposal.
    """

    init: int = 20
    q: int = 4
    warmup: int = 128
    samples: int = 64
    thinning: int = 4
    model: Model = "saas"
    restarts: int = 10
    evaluations: int = 200

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> Self:
        """Read options from what was written.

        Raises:
            OptionError: There is no such option, or it cannot have this value.
        """
        known = [field.name for field in fields(cls)]
        for name in texts:
            if name not in known:
                raise OptionError(
                    f"the strategy 'saasbo' has no option {name!r}: there are {', '.join(known)}"
                )
        models: dict[str, Model] = {model: model for model in get_args(Model)}
        model = texts.get("model", "saas")
        if model not in models:
            raise OptionError(f"the option model is {' or '.join(models)}, not {model!r}")
        numbers = {name: _number(name, text) for name, text in texts.items() if name != "model"}
        return cls(model=models[model], **numbers)


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise OptionError(f"the option {name} must be a whole number from 1, not {text!r}")
    return int(text)


class SaasboStrategy:
    """Proposes batches that are expected to improve most, by fully Bayesian sparse processes.

    The proposal depends on the study's seed, on the trials told, and on how many were asked for. A
    batch is formed when its first member is asked for, from what had been measured by then; when a
    search goes on in the middle of a batch, from the trials before that member.

    Raises:
        OptionError: An option cannot be what it is, or BoTorch is not installed.
    """

    def __init__(self, study: Study) -> None:
        self._options = Options.parse(study.options)
        if find_spec("botorch") is None:
            raise OptionError(
                "the strategy 'saasbo' needs the package botorch: pip install 'autopeft[saasbo]', "
                "or take --strategy gp"
            )
        self._study = study
        self._candidates = Candidates(study)
        self._memory = Memory()
        self._told: dict[int, Trial] = {}
        self._formed: tuple[int, _Learned | None] = (-1, None)

    def ask(self) -> Proposal | None:
        """Return a proposal not asked before, or None when a hundred draws gave no new one."""
        place = self._memory.asked
        found = self._promising(place) or self._drawn(place)
        if found:
            self._memory.remember(found.proposal)
        return found.proposal if found else None

    def tell(self, trial: Trial) -> None:
        """Remember the trial; what is learned from it is learned with the next batch."""
        self._memory.tell(trial)
        if trial.proposal.purpose is not Purpose.FINAL:
            self._told[trial.number] = trial

    def _drawn(self, place: int) -> Candidate | None:
        for attempt in range(_TRIES):
            found = self._candidates.drawn(self._rng(0, place, attempt))
            if not self._memory.knows(found.proposal):
                return found
        return None

    def _promising(self, place: int) -> Candidate | None:
        options = self._options
        if place < options.init:
            return None
        batch, member = divmod(place - options.init, options.q)
        learned = self._learned(batch)
        if learned is None:
            return None
        rng = self._rng(1, batch, member)
        improvement = self._improvement(learned, int(rng.integers(2**31)))
        climb = Climb(
            candidates=self._candidates,
            value=lambda found: improvement(self._candidates.coordinates(found)),
            excluded=lambda found: self._memory.knows(found.proposal),
            restarts=options.restarts,
            evaluations=options.evaluations,
        )
        return climb.best(learned.parents, rng)

    def _learned(self, batch: int) -> "_Learned | None":
        """Fit a model for a batch, or take the one that was fitted for it."""
        if self._formed[0] != batch:
            own = sorted(n for n, t in self._told.items() if _is_own(t))
            first = self._options.init + batch * self._options.q
            # None of the batch told: what was measured by now. Else: by the time it was formed.
            told = (
                as_of(self._study, self._told.values(), own[first])
                if first < len(own)
                else [self._told[number] for number in sorted(self._told)]
            )
            self._formed = batch, self._fitted(told, batch)
        return self._formed[1]

    def _fitted(self, told: Sequence[Trial], batch: int) -> "_Learned | None":
        from autopeft.strategies.saas_model import Fitted

        ended = [trial for trial in told if trial.latest or _has_failed(trial)]
        placed = [(t, found) for t in ended if (found := self._candidates.of(t.proposal))]
        trials, candidates = [t for t, _ in placed], [found for _, found in placed]
        if sum(has_score(trial) for trial in trials) < _LEAST:
            return None
        values = worths(self._study, trials)
        inputs, outputs = self._candidates.coordinates(candidates), copula(values)
        models = [
            Fitted(inputs, column, self._processes(inputs, column, self._rng(2, batch, k)))
            for k, column in enumerate(outputs.T)
        ]
        order = ranks(values.tolist())
        worst = sorted(order)[:_PARENTS][-1]
        parents = [c for c, rank in zip(candidates, order, strict=True) if rank <= worst]
        return _Learned(
            models, inputs, outputs.min(0), tuple(parents), frozenset(t.number for t in ended)
        )

    def _processes(self, inputs: Array, outputs: Array, rng: np.random.Generator) -> Processes:
        options = self._options
        if options.model == "matern":
            from autopeft.strategies.saas_model import likeliest

            return likeliest(inputs, outputs, int(rng.integers(2**31)))
        return draw_processes(
            inputs,
            outputs,
            rng,
            warmup=options.warmup,
            samples=options.samples,
            thinning=options.thinning,
        )

    def _improvement(self, learned: "_Learned", seed: int) -> "Promise":
        from autopeft.strategies.saas_model import promise

        waiting = self._waiting(learned.numbers)
        pending = self._candidates.coordinates(waiting) if waiting else None
        return promise(learned.models, learned.inputs, pending, learned.reference, seed)

    def _waiting(self, known: frozenset[int]) -> list[Candidate]:
        """Find what was proposed and is not known to the model."""
        told = [self._told[number].proposal for number in sorted(self._told) if number not in known]
        keys = {trial.proposal.key for trial in self._told.values()}
        untold = [proposal for proposal in self._memory.pending if proposal.key not in keys]
        return [found for p in (*told, *untold) if (found := self._candidates.of(p))]

    def _rng(self, *what: int) -> np.random.Generator:
        return np.random.default_rng([self._study.seed, *what])


@dataclass(frozen=True, slots=True)
class _Learned:
    """A model for each objective, what they were made of, and where the search begins."""

    models: "list[Fitted]"
    inputs: Array
    reference: Array
    parents: tuple[Candidate, ...]
    numbers: frozenset[int]


def worths(study: Study, trials: Sequence[Trial]) -> Array:
    """Return what trials are worth in each objective; what failed is as bad as the worst."""
    measured = [trial for trial in trials if has_score(trial)]
    known = dict(zip((t.number for t in measured), lifted(study, measured), strict=True))
    worst = tuple(min(point[k] for point in known.values()) for k in range(len(study.objectives)))
    rows = [known.get(trial.number, worst) for trial in trials]
    found: Array = np.array(rows, dtype=np.float64)
    for k, objective in enumerate(study.objectives):
        if objective == "params":  # they are known of every trial
            slots = study.space.slots
            found[:, k] = [-t.proposal.configuration.parameters(slots) for t in trials]
    return found


def copula(values_NK: Array) -> Array:
    """Turn each objective into normal quantiles of its empirical distribution.

    Shares are cut at 1e-4 and 0.9999, as in the paper's code. So the best has the quantile 3.72,
    however many there are, and stands further out than rank / (N + 1) would have it (1.67 of 20).
    That is kept because what the paper reports was found with it.

    Example:
        >>> copula(np.array([[1.0], [2.0], [100.0]])).round(2).T.tolist()
        [[-0.43, 0.43, 3.72]]
    """
    shares = rankdata(values_NK, method="max", axis=0) / len(values_NK)
    return np.asarray(ndtri(np.clip(shares, _CLIP, 1 - _CLIP)))


def _is_own(trial: Trial) -> bool:
    return trial.proposal.purpose is Purpose.SEARCH


def _has_failed(trial: Trial) -> bool:
    return trial.state in {State.FAILED, State.OOM}
