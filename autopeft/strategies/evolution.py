"""Evolution on inherited scores: NOAH's loop (Zhang et al. 2022), which is AutoFormer's.

A population of random configurations is scored with shared weights; the best ever are the parents
of the next generation, half of it by crossover and half by mutation, and what is missing is drawn.
All that was scored is ranked, the last generation too, which the released codes forget. Then the
best are proposed one after the other, and real training says how good they are.

Without inherited scores, or where they are not wanted, the same operators breed from what was
really measured (see `steady`).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from autopeft.errors import OptionError
from autopeft.ports import Inheritance
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.sampling import Genome, Sampler
from autopeft.search_spaces.space import SearchSpace
from autopeft.strategies.breeding.operators import (
    crossed,
    crossed_modules,
    has_depths,
    mutated,
    mutated_depths,
)
from autopeft.strategies.breeding.steady import SteadyState, best_of
from autopeft.strategies.memory import Memory
from autopeft.strategies.recipes import default_recipe, drawn_rate, with_rates
from autopeft.study import Study
from autopeft.trial import Proposal, Trial

Mutation = Literal["genes", "noah"]
Word = TypeVar("Word", bound=str)
Score = Callable[[Sequence[Configuration]], Iterable[float]]
_TRIES_A_CHILD = 10
_TRIES = 100
_BEST = 10
_PARENTS = 6
_CROSSOVER = 0.5
_STEPS = 0.7
_USUAL = {"scores": "inherited", "mutation": "genes", "evaluations": "300"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How large an evolution is, as NOAH published it; ``generations`` follow the first one.

    ``mutation`` is ``genes`` for AutoFormer's operators and ``noah`` for those of NOAH's code.
    """

    population: int = 50
    parents: int = 10
    crossovers: int = 25
    mutations: int = 25
    generations: int = 5
    mutation: Mutation = "genes"

    @classmethod
    def of(cls, evaluations: int, space: SearchSpace, mutation: Mutation = "genes") -> "Plan":
        """Share evaluations out over six generations of at most fifty, or as many as it takes.

        A space that holds fewer configurations is searched through.
        """
        affordable = max(1, min(evaluations, space.size))
        population = max(1, min(50, max(4, affordable // 6), affordable))
        return cls(
            population=population,
            parents=max(2, population // 5),
            crossovers=population // 2,
            mutations=population // 2,
            generations=math.ceil(affordable / population) - 1,
            mutation=mutation,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A configuration that an evolution has met, and its score."""

    genome: Genome
    configuration: Configuration
    score: float


def evolve(
    space: SearchSpace, ceiling: int, score: Score, rng: np.random.Generator, plan: Plan
) -> list[Scored]:
    """Return every configuration that was scored, the best first; equal ones are met once.

    Ends early where no new configuration is found, or where scores stop coming. What is scored NaN
    is left out.
    """
    breeder, archive = _Breeder(space, Sampler(space, ceiling), plan, rng), list[Scored]()
    for _ in range(plan.generations + 1):
        young = dict(breeder.generation([scored.genome for scored in archive[: plan.parents]]))
        scores = list(score(list(young))) if young else []
        archive += [
            Scored(genome=genome, configuration=configuration, score=value)
            for (configuration, genome), value in zip(young.items(), scores, strict=False)
            if not math.isnan(value)
        ]
        archive.sort(key=lambda scored: -scored.score)
        if len(scores) < max(1, len(young)):
            break
    return archive


class _Breeder:
    """Makes generations of configurations that were in none before."""

    def __init__(
        self, space: SearchSpace, sampler: Sampler, plan: Plan, rng: np.random.Generator
    ) -> None:
        self._space, self._sampler, self._plan, self._rng = space, sampler, plan, rng
        self._met: set[Configuration] = set()

    def generation(self, parents: Sequence[Genome]) -> Iterator[tuple[Configuration, Genome]]:
        """Yield children by crossover, by mutation, and then fresh draws; fewer if there are none.

        As published, up to ten times as many are bred as are wanted.
        """
        before, plan = len(self._met), self._plan
        if parents:
            yield from self._unmet(lambda: self._crossed(parents), plan.crossovers)
            yield from self._unmet(lambda: self._mutated(parents), plan.mutations)
        missing = plan.population - (len(self._met) - before)
        yield from self._unmet(lambda: self._sampler.draw(self._rng), missing)

    def _unmet(
        self, breed: Callable[[], Genome], count: int
    ) -> Iterator[tuple[Configuration, Genome]]:
        wanted = len(self._met) + count
        for _ in range(_TRIES_A_CHILD * count):
            if len(self._met) >= wanted:
                return
            genome = self._sampler.fit(breed(), self._rng)
            configuration = self._space.decode(genome)
            if configuration not in self._met:
                self._met.add(configuration)
                yield configuration, genome

    def _crossed(self, parents: Sequence[Genome]) -> Genome:
        one, other = self._any(parents), self._any(parents)
        mix = crossed_modules if self._plan.mutation == "noah" else crossed
        return mix(self._space, one, other, self._rng)

    def _mutated(self, parents: Sequence[Genome]) -> Genome:
        change = mutated_depths if self._plan.mutation == "noah" else mutated
        return change(self._space, self._any(parents), self._rng)

    def _any(self, parents: Sequence[Genome]) -> Genome:
        return parents[int(self._rng.integers(len(parents)))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``scores`` says what parents are chosen by, ``mutation`` which operators change them.

    ``evaluations`` is how many inherited scores are asked for.
    """

    scores: Literal["inherited", "measured"] = "inherited"
    mutation: Mutation = "genes"
    evaluations: int = 300

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> "Options":
        """Read the options of a study.

        Raises:
            OptionError: One is unknown or has a value that it cannot have.
        """
        scores, mutation, evaluations = (options.get(name, usual) for name, usual in _USUAL.items())
        if unknown := [name for name in options if name not in _USUAL]:
            raise OptionError(
                f"the strategy evolution has no option {unknown[0]!r}: there are "
                f"{', '.join(_USUAL)}"
            )
        if not evaluations.isdecimal() or int(evaluations) < 1:
            raise OptionError(
                f"the option evaluations must be a whole number from 1, not {evaluations!r}"
            )
        return cls(
            scores=_one_of("scores", scores, ("inherited", "measured")),
            mutation=_one_of("mutation", mutation, ("genes", "noah")),
            evaluations=int(evaluations),
        )


def _one_of(name: str, text: str, allowed: tuple[Word, ...]) -> Word:
    for word in allowed:
        if word == text:
            return word
    raise OptionError(f"the option {name} must be {' or '.join(allowed)}, not {text!r}")


def check_space(space: SearchSpace, options: Mapping[str, str]) -> None:
    """Refuse NOAH's mutation in a space without depths.

    Raises:
        OptionError: It would change nothing there.
    """
    if Options.parse(options).mutation == "noah" and not has_depths(space):
        raise OptionError(
            f"the option mutation=noah changes nothing but depths, and the space {space.name!r} "
            "has none: take mutation=genes, or a space such as noah"
        )


class EvolutionStrategy:
    """Proposes what evolution on inherited scores finds best, in the order of these scores.

    Each is proposed with the usual rates of its methods; when all were, the best come again with
    rates that are drawn. The evolution takes place when the first proposal is asked for; it follows
    from the study alone.

    Raises:
        OptionError: NOAH's mutation is asked for in a space without depths.
    """

    def __init__(self, study: Study, inheritance: Inheritance) -> None:
        self._study = study
        self._inheritance = inheritance
        self._options = Options.parse(study.options)
        check_space(study.space, study.options)
        self._memory = Memory()
        self._archive: list[Scored] | None = None
        self._steady = SteadyState(study, breed=self._breed, select=best_of(_PARENTS))

    def ask(self) -> Proposal | None:
        """Return a proposal not asked before, or None when no new one was found."""
        if self._archive is None:
            self._archive = self._evolved()
        proposal = (
            self._next(self._archive) if self._archive else self._steady.propose(self._memory)
        )
        if proposal:
            self._memory.remember(proposal)
        return proposal

    def tell(self, trial: Trial) -> None:
        """Remember what was proposed, and what was measured."""
        self._memory.tell(trial)

    def _evolved(self) -> list[Scored]:
        study, options = self._study, self._options
        if options.scores == "measured" or self._inheritance.problem:
            return []
        plan = Plan.of(options.evaluations, study.space, options.mutation)
        rng = np.random.default_rng([study.seed, 1])
        return evolve(study.space, study.ceiling, self._inheritance.scores, rng, plan)

    def _next(self, archive: Sequence[Scored]) -> Proposal | None:
        for scored in archive:
            proposal = self._proposal(scored, None)
            if not self._memory.knows(proposal):
                return proposal
        for attempt in range(_TRIES):
            rng = np.random.default_rng([self._study.seed, self._memory.asked, attempt])
            row = (self._memory.asked + attempt) % min(len(archive), _BEST)
            proposal = self._proposal(archive[row], rng)
            if not self._memory.knows(proposal):
                return proposal
        return None

    def _proposal(self, scored: Scored, rng: np.random.Generator | None) -> Proposal:
        """Propose with the usual rates, or with such as are drawn."""
        study, base = self._study, self._study.recipe
        methods = scored.configuration.methods(study.space.slots)
        if rng is None:
            recipe = default_recipe(base, methods)
        else:
            recipe = with_rates(base, methods, {m: drawn_rate(m, rng) for m in methods})
        return Proposal(
            configuration=scored.configuration,
            recipe=recipe,
            seed=study.seed,
            inherited=scored.score,
        )

    def _breed(self, one: Genome, other: Genome, rng: np.random.Generator) -> Genome:
        """Cross every other time, then mutate.

        There are dozens of trainings where there are hundreds of inherited scores, so mutation goes
        in smaller steps here: one gene on average, mostly to the next choice.
        """
        space, noah = self._study.space, self._options.mutation == "noah"
        child = one
        if rng.random() < _CROSSOVER:
            child = (crossed_modules if noah else crossed)(space, one, other, rng)
        if noah:
            return mutated_depths(space, child, rng)
        each = 1 / max(1, len(space.genes))
        return mutated(space, child, rng, sizes=each, frames=each, steps=_STEPS)
