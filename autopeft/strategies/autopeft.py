"""The default strategy: what is cheap to know first, and then a model that weighs it.

1. A supernet scores configurations with shared weights, at a fraction of a training's cost.
2. Evolution on these inherited scores makes an archive of configurations.
3. Probes: a few of them, from the best to the worst, are really trained, for as long as the lowest
   rung. The rank correlation of both scores says how far the inherited ones can be trusted.
4. Bayesian optimisation: a Gaussian process over configurations, learning rates and the share of
   the training, which learns from inherited scores too, as far as they agree with trainings (see
   `surrogate`). Where the correlation is too unsure, inherited scores are left out and the archive
   is put aside: real trainings decide.

Which trials stop early and which go on is decided by `autopeft.halving`, for any strategy.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autopeft.errors import OptionError
from autopeft.objectives import ranks, values
from autopeft.ports import Inheritance
from autopeft.ranking import FEWEST_PAIRS, PROBE, ranking_of, trust
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.sampling import Sampler
from autopeft.strategies.breeding.operators import genome_of, mutated
from autopeft.strategies.evolution import Plan, evolve
from autopeft.strategies.memory import Memory, best_and_latest, has_score
from autopeft.strategies.modelling.describing import Describer
from autopeft.strategies.modelling.early import scores_by_loss
from autopeft.strategies.modelling.surrogate import Surrogate, Values
from autopeft.strategies.recipes import default_recipe, rounded, with_rates
from autopeft.study import Study
from autopeft.trial import Proposal, Purpose, Trial

ASKED = 1
"""How many inherited scores are looked up for a proposal, at most."""
_STARTUP = 4
_MOST = 150
_MOST_INHERITED = 100
_PARENTS = 8
_KEPT = 48
_CHILDREN = 96
_DRAWN = 64
_TRIES = 100
_NEAR, _WIDE = 0.35, 0.9  # how far rates are drawn, as deviations of their logarithm


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``evaluations`` are inherited scores that evolution may use, ``probes`` what tests them."""

    evaluations: int = 60
    probes: int = 6

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> "Options":
        """Read the options of a study.

        Raises:
            OptionError: One is unknown, or no whole number above its least.
        """
        found, least = {}, {"evaluations": 10, "probes": FEWEST_PAIRS}
        for name, text in options.items():
            if name not in least:
                raise OptionError(
                    f"the strategy autopeft has no option {name!r}: there are "
                    f"{', '.join(sorted(least))}"
                )
            if not (text.isascii() and text.isdigit()) or int(text) < least[name]:
                raise OptionError(
                    f"the option {name} must be a whole number from {least[name]}, not {text!r}"
                )
            found[name] = int(text)
        return cls(**found)


class AutopeftStrategy:
    """Proposes probes of the supernet first, and then what the model expects most of.

    A proposal depends on the study's seed, on the trials told, and on how many were asked for.
    Without a supernet the model begins with a few that are drawn.
    """

    def __init__(self, study: Study, inheritance: Inheritance) -> None:
        self._study = study
        self._options = Options.parse(study.options)
        self._inheritance = inheritance
        self._sampler = Sampler(study.space, study.ceiling)
        self._memory = Memory()
        self._archive: list[Configuration] | None = None
        self._inherited: dict[Configuration, float] = {}
        self._trusted: tuple[list[Trial], bool] = [], True

    def ask(self) -> Proposal | None:
        """Return a proposal not asked before, or None when no new one was found."""
        proposal = self._probe() or self._modelled() or self._drawn()
        if proposal:
            self._memory.remember(proposal)
        return proposal

    def tell(self, trial: Trial) -> None:
        """Learn from a trial that was measured; remember that one which waits was proposed."""
        self._memory.tell(trial)

    @property
    def guided(self) -> bool:
        """Whether inherited scores count: there are some, and the probes do not speak against."""
        if not self._searched():
            return False
        ended = [t for t in self._memory.ended if _is_probe(t.proposal)]
        if len(ended) < self._options.probes:
            return True
        probes = [t for t in ended if has_score(t)]
        known, trusted = self._trusted
        if known != probes or not probes:
            ranking = ranking_of(self._study, probes)
            trusted = ranking is not None and trust(ranking) == "guides"
            self._trusted = probes, trusted
        return trusted

    def _searched(self) -> list[Configuration]:
        """Return what evolution on inherited scores has met, the best first."""
        if self._archive is None:
            study, found = self._study, []
            if not self._inheritance.problem:
                plan = Plan.of(self._options.evaluations, study.space)
                rng = np.random.default_rng([study.seed, 1])
                found = evolve(study.space, study.ceiling, self._inheritance.scores, rng, plan)
            self._archive = [scored.configuration for scored in found]
            self._inherited.update({scored.configuration: scored.score for scored in found})
        return self._archive

    def _probe(self) -> Proposal | None:
        """Return the next of the configurations that tell how far inherited scores are right.

        The first is the best of all: it is worth a training in any case.
        """
        archive, count = self._searched(), self._options.probes
        place = sum(map(_is_probe, self._memory.own))  # not of all: a warm start comes before
        if place >= count or len(archive) < count:
            return None
        row = round(place * (len(archive) - 1) / (count - 1))
        for table in (*archive[row:], *archive[:row]):
            proposal = replace(self._with({}, table), label=PROBE)
            if not self._memory.knows(proposal):
                return proposal
        return None

    def _modelled(self) -> Proposal | None:
        """Return what is expected to improve most, by the model of all that was measured."""
        rng = np.random.default_rng([self._study.seed, 2, self._memory.asked])
        measured = self._measured()
        candidates = self._candidates(measured, rng) if len(measured) >= _STARTUP else []
        if not candidates:
            return None
        known = [trial.proposal for trial in measured]
        inherited = self._inherited_of(known) if self.guided else {}
        tables = [proposal.configuration for proposal in (*known, *candidates)]
        describe = Describer(self._study, [*tables, *inherited])
        inputs = describe.trained(known, [t.latest.share for t in measured if t.latest])
        points, inherited_points = self._points(measured, inherited, rng)
        if inherited:
            inputs = inputs.and_then(describe.inherited(list(inherited)))
        whole = describe.trained(candidates, [1.0] * len(candidates))
        gains = Surrogate(inputs, [*points, *inherited_points]).expected_improvement(whole)
        chosen = candidates[int(np.argmax(gains))]
        return self._told(chosen) if self.guided else chosen

    def _inherited_of(self, known: Sequence[Proposal]) -> dict[Configuration, float]:
        """Return inherited scores to learn from: of what was measured, and all over the archive.

        There are none where objectives count that a configuration does not tell beforehand.
        """
        if not set(self._study.objectives) <= {"score", "params"}:
            return {}
        archive = self._searched()
        rows = np.linspace(0, len(archive) - 1, min(len(archive), _MOST_INHERITED))
        scored = {archive[int(row)]: self._inherited[archive[int(row)]] for row in rows}
        return scored | {p.configuration: p.inherited for p in known if p.inherited is not None}

    def _measured(self) -> list[Trial]:
        """Return the trials that the model learns from, by number: the best and the latest."""

        def places(trials: Sequence[Trial]) -> list[int]:
            return ranks([values(self._study, trial) or () for trial in trials])

        return best_and_latest(self._memory.measured, places, _MOST)

    def _points(
        self,
        measured: Sequence[Trial],
        inherited: Mapping[Configuration, float],
        rng: np.random.Generator,
    ) -> tuple[list[float], list[float]]:
        """Return one number for each trial, and one for each inherited score in units of its own.

        Of several objectives it is a random Chebyshev sum (ParEGO).
        """
        objectives, slots = self._study.objectives, self._study.space.slots
        points = np.array([values(self._study, trial) for trial in measured])
        points[:, 0] = scores_by_loss(measured)
        scores = np.array(list(inherited.values()))
        if len(objectives) == 1:
            return points[:, 0].tolist(), scores.tolist()
        weights = rng.dirichlet(np.ones(len(objectives)))
        told = np.empty((len(scores), len(objectives)))
        for axis, objective in enumerate(objectives if inherited else ()):
            exact = [-table.parameters(slots) for table in inherited]
            told[:, axis] = scores if objective == "score" else exact
        costs = [axis for axis, objective in enumerate(objectives) if objective == "params"]
        ends = points.min(0), points.max(0)
        own = (told.min(0), told.max(0)) if inherited else ends
        for end, own_end in zip(ends, own, strict=True):
            own_end[costs] = end[costs]  # parameters are exact: they have one unit
        return _weighed(points, ends, weights), _weighed(told, own, weights)

    def _candidates(self, measured: Sequence[Trial], rng: np.random.Generator) -> list[Proposal]:
        """Gather what could be proposed: of the archive, children of the best, and fresh draws."""
        space, ranked = self._study.space, _ranked(measured)
        inside = [
            t.proposal.configuration for t in ranked if space.covers(t.proposal.configuration)
        ]
        parents = list(dict.fromkeys(inside))[:_PARENTS]
        genomes = [genome for table in parents if (genome := genome_of(space, table))]
        tables = self._searched()[:_KEPT] if self.guided else []
        tables += [table for table in parents if space.encode(table)] * 4
        for place in range(_CHILDREN if genomes else 0):
            child = mutated(space, genomes[place % len(genomes)], rng)
            tables.append(space.decode(self._sampler.fit(child, rng)))
        tables += [space.decode(self._sampler.draw(rng)) for _ in range(_DRAWN)]
        liked: dict[str, float] = {}
        for trial in reversed(ranked):
            liked |= trial.proposal.recipe.learning_rates
        found = [self._with(self._rates(table, liked, rng), table) for table in tables]
        return list({p.key: p for p in found if not self._memory.knows(p)}.values())

    def _rates(
        self, table: Configuration, liked: Mapping[str, float], rng: np.random.Generator
    ) -> dict[str, float]:
        """Draw rates near those of the best trials that had the methods; others more widely."""
        found = {}
        for method in table.methods(self._study.space.slots):
            known = METHODS[method].rates
            spread = _NEAR if method in liked else _WIDE
            rate = liked.get(method, known.default) * np.exp(spread * rng.standard_normal())
            found[method] = rounded(float(np.clip(rate, known.low, known.high)))
        return found

    def _with(self, rates: Mapping[str, float], table: Configuration) -> Proposal:
        """Propose a table with some rates, or with the defaults where none are given."""
        study = self._study
        methods = table.methods(study.space.slots)
        usual = default_recipe(study.recipe, methods)
        return Proposal(
            configuration=table,
            recipe=with_rates(study.recipe, methods, rates) if rates else usual,
            seed=study.seed,
            inherited=self._inherited.get(table),
        )

    def _told(self, proposal: Proposal) -> Proposal:
        """Look up the inherited score of a proposal that evolution has not met."""
        if proposal.inherited is not None:
            return proposal
        score = next(iter(self._inheritance.scores([proposal.configuration])), math.nan)
        return proposal if math.isnan(score) else replace(proposal, inherited=score)

    def _drawn(self) -> Proposal | None:
        for attempt in range(_TRIES):
            rng = np.random.default_rng([self._study.seed, 3, self._memory.asked, attempt])
            table = self._study.space.decode(self._sampler.draw(rng))
            proposal = self._with(self._rates(table, {}, rng), table)
            if not self._memory.knows(proposal):
                return proposal
        return None


def _weighed(points: Values, ends: tuple[Values, Values], weights: Values) -> list[float]:
    low, high = ends
    weighed = weights * (points - low) / np.where(high > low, high - low, 1.0)
    found: list[float] = (weighed.min(1) + 0.05 * weighed.sum(1)).tolist()
    return found


def _is_probe(proposal: Proposal) -> bool:
    return proposal.label == PROBE and proposal.purpose is Purpose.SEARCH


def _ranked(measured: Sequence[Trial]) -> list[Trial]:
    """Put trials in order: those that were trained longest first, of these the best."""

    def key(trial: Trial) -> tuple[float, float, int]:
        latest = trial.latest
        return (-latest.share, -latest.score, trial.number) if latest else (0.0, 0.0, trial.number)

    return sorted(measured, key=key)
