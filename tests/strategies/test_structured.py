"""Proposals from structures that a differentiable search has found."""

from dataclasses import replace

import pytest

from autopeft.search_spaces.catalog import METHODS
from autopeft.strategies.structured import Structured
from autopeft.trial import Purpose
from tests.builders import SMALL_SPACE, a_measurement, a_study
from tests.contracts.strategy import drive, failed, proposals
from tests.strategies.structures import FakeStructures

GENOME = (1, 0, 0, 2, 0, 0)


def structured(study=None, *, by_chance=False, **changes):
    study = study or a_study()
    fake = FakeStructures(study, **changes)
    return Structured(study, fake, by_chance=by_chance), fake


def factors(proposal):
    rates = proposal.recipe.learning_rates
    return [rate / METHODS[method].rates.default for method, rate in rates.items()]


def full(study, configuration):
    """Tell whether no absent cell fits any more."""
    genome = study.space.encode(configuration)
    more = [(*genome[:i], 1, *genome[i + 1 :]) for i, choice in enumerate(genome) if not choice]
    return all(study.space.parameters(other) > study.ceiling for other in more)


def test_the_structure_comes_first_at_its_default_rates_then_at_others():
    found = SMALL_SPACE.decode(GENOME)
    strategy, _ = structured(structures=(found,))

    first = proposals(drive(strategy, 3))

    assert [proposal.configuration for proposal in first] == [found] * 3
    assert [factors(proposal) for proposal in first] == [
        pytest.approx([factor] * len(found.methods(SMALL_SPACE.slots)), rel=1e-2)
        for factor in (1, 3, 1 / 3)
    ]


def test_after_it_come_likely_structures_that_fill_the_budget():
    on, off = (0.1, 0.9, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 0.0)
    chances = tuple(
        (on if index < 3 else off)[: len(gene.choices)]
        for index, gene in enumerate(SMALL_SPACE.genes)
    )
    study = a_study()
    strategy, _ = structured(study, structures=(SMALL_SPACE.decode(GENOME),), odds=chances)

    later = proposals(drive(strategy, 60))[3:]

    genomes = [SMALL_SPACE.encode(p.configuration) for p in later]
    likely = sum(genome[i] == 1 for genome in genomes for i in range(3)) / (3 * len(genomes))
    assert likely > 0.7
    drawn = [p.configuration for p, genome in zip(later, genomes, strict=True) if genome != GENOME]
    assert all(full(study, configuration) for configuration in drawn)


def test_rates_stay_near_the_best_so_far():
    """What was trained at three times the default rates is the best."""

    def ending(trial):
        return trial.done(a_measurement(-abs(max(factors(trial.proposal)) - 3)))

    strategy, _ = structured(structures=(SMALL_SPACE.decode(GENOME),))
    later = proposals(drive(strategy, 60, ending=ending))[20:]

    mean = sum(factor for p in later for factor in factors(p)) / sum(
        len(p.recipe.learning_rates) for p in later
    )
    assert 2.4 < mean < 5  # a lognormal around 3 with a spread of 0.7 has the mean 3.8


def test_the_best_structure_is_tried_again_at_other_rates():
    found = SMALL_SPACE.decode(GENOME)

    def ending(trial):
        return trial.done(a_measurement(float(trial.proposal.configuration == found)))

    strategy, _ = structured(structures=(found,))
    later = proposals(drive(strategy, 63, ending=ending))[3:]

    again = sum(proposal.configuration == found for proposal in later)
    assert 6 < again < 26  # a quarter of 60, give or take three standard deviations


def test_it_is_prepared_once_and_before_the_first_proposal():
    strategy, fake = structured()
    assert fake.prepared == 0

    drive(strategy, 5)

    assert fake.prepared == 1


def test_by_chance_nothing_is_searched_and_nothing_found_is_proposed():
    found = SMALL_SPACE.decode(GENOME)
    strategy, fake = structured(by_chance=True, structures=(found,))

    first = proposals(drive(strategy, 6))

    assert fake.prepared == 0
    assert found not in {proposal.configuration for proposal in first}
    assert all(full(a_study(), proposal.configuration) for proposal in first)


def test_where_there_is_a_problem_it_goes_on_by_chance():
    strategy, _ = structured(problem="the search for structures diverged")

    trials = drive(strategy, 12)

    assert len({trial.proposal.key for trial in trials}) == 12


def test_trials_that_fail_teach_nothing():
    strategy, _ = structured(structures=(SMALL_SPACE.decode(GENOME),))

    drive(strategy, 12, ending=failed)

    assert strategy._best() is None


def test_baselines_are_not_what_rates_are_learned_from():
    strategy, _ = structured()
    [trial] = drive(structured()[0], 1)
    baseline = replace(trial.proposal, purpose=Purpose.BASELINE, label="plain LoRA")
    strategy.tell(replace(trial, proposal=baseline))

    assert strategy._best() is None
    assert strategy.ask().key != baseline.key
