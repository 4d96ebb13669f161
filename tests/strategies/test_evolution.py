"""Evolution on inherited scores, and on measured ones."""

from dataclasses import replace

import numpy as np
import pytest

from autopeft.budget import Budget
from autopeft.errors import OptionError
from autopeft.search_spaces.catalog import METHODS
from autopeft.strategies.evolution import EvolutionStrategy, Options, Plan, evolve
from tests.builders import MINI_LM, ONE_CONFIGURATION, SMALL_SPACE, a_study, space_on
from tests.contracts.known_optimum import InheritedTable, KnownOptimumContract, misses
from tests.contracts.strategy import StrategyContract, drive

TABLE = InheritedTable()


class TestEvolutionOnInheritedScores(StrategyContract, KnownOptimumContract):
    """It keeps what every strategy promises, and finds a known optimum."""

    MARGIN = 2.0

    @pytest.fixture
    def build(self):
        return lambda study: EvolutionStrategy(replace(study, options={"evaluations": "90"}), TABLE)


class TestEvolutionOnMeasuredScores(StrategyContract, KnownOptimumContract):
    """Without inherited scores it does so too."""

    @pytest.fixture
    def build(self):
        return lambda study: EvolutionStrategy(study, InheritedTable(problem="no weights"))


def evolved(plan: Plan, score=TABLE.scores, space=SMALL_SPACE, ceiling=400, seed=0):
    return evolve(space, ceiling, score, np.random.default_rng(seed), plan)


def test_the_published_plan_is_six_generations_of_fifty():
    assert Plan.of(300, SMALL_SPACE) == Plan()
    assert len(evolved(Plan())) == 300


@pytest.mark.parametrize("evaluations", [1, 7, 40, 120])
def test_no_plan_asks_for_many_more_scores_than_it_is_allowed(evaluations):
    plan = Plan.of(evaluations, SMALL_SPACE)

    assert evaluations <= plan.population * (plan.generations + 1) < evaluations + plan.population
    assert plan.crossovers + plan.mutations <= plan.population


def test_each_configuration_is_scored_once_and_all_of_them_are_ranked():
    """The last generation too, which NOAH's and AutoFormer's code leave unranked."""
    asked = []

    def score(configurations):
        asked.extend(configurations)
        return TABLE.scores(configurations)

    archive = evolved(Plan.of(120, SMALL_SPACE), score)

    assert len(set(asked)) == len(asked) == 120
    assert {scored.configuration for scored in archive} == set(asked)
    scores = [scored.score for scored in archive]
    assert scores == sorted(scores, reverse=True)
    for scored in archive:
        assert SMALL_SPACE.decode(scored.genome) == scored.configuration
        assert 0 < scored.configuration.parameters(SMALL_SPACE.slots) <= 400


def test_children_are_better_than_fresh_draws():
    """The mean loss of the ten best of 120, over five seeds; all are drawn in one generation."""
    plan = Plan.of(120, SMALL_SPACE)
    drawn = replace(plan, population=120, generations=0)

    lost = [
        np.mean([misses(s.configuration) for seed in range(5) for s in evolved(p, seed=seed)[:10]])
        for p in (plan, drawn)
    ]

    assert lost[0] < 0.6 * lost[1]


def test_a_small_space_is_searched_through():
    assert len(evolved(Plan.of(300, ONE_CONFIGURATION), space=ONE_CONFIGURATION)) == 1
    few = evolved(Plan.of(300, SMALL_SPACE), ceiling=16)  # rank 1 in one of four cells
    assert len(few) == 4


def test_what_has_no_score_is_left_out():
    def half(configurations):
        return ((0.5 if i % 2 else float("nan")) for i, _ in enumerate(configurations))

    assert {scored.score for scored in evolved(Plan.of(60, SMALL_SPACE), half)} == {0.5}


def test_when_scores_stop_coming_what_is_known_is_returned():
    def twelve(configurations):
        return (float(i) for i, _ in zip(range(12), configurations, strict=False))

    assert len(evolved(Plan(), twelve)) == 12


def test_noahs_operators_find_their_way_too():
    space = space_on(MINI_LM, "noah")
    plan = Plan.of(60, space, "noah")

    def total(configurations):
        return (sum(map(sum, c.sizes)) for c in configurations)

    archive = evolved(plan, total, space, ceiling=227_132)

    assert len(archive) == 60
    assert all(s.configuration.parameters(space.slots) <= 227_132 for s in archive)


def test_proposals_come_in_the_order_of_their_inherited_scores_with_the_usual_rates():
    trials = drive(EvolutionStrategy(a_study(), TABLE), 20)

    scores = [trial.proposal.inherited for trial in trials]
    assert scores == sorted(scores, reverse=True)
    for trial in trials:
        [score] = TABLE.scores([trial.proposal.configuration])
        assert trial.proposal.inherited == score
        for method, rate in trial.proposal.recipe.learning_rates.items():
            assert rate == METHODS[method].rates.default


def test_when_all_were_proposed_the_best_come_again_with_other_rates():
    study = a_study(budget=Budget.parse("16"))
    proposals = [t.proposal for t in drive(EvolutionStrategy(study, TABLE), 12)]

    assert len({p.configuration for p in proposals}) == 4
    assert len({p.key for p in proposals}) == 12
    assert all(p.inherited is not None for p in proposals)


@pytest.mark.parametrize("scores", ["inherited", "measured"])
def test_noahs_operators_keep_the_promises_in_noahs_space(scores):
    """The contract's space has no depths."""
    options = {"mutation": "noah", "evaluations": "60", "scores": scores}
    study = a_study(backbone=MINI_LM, space=space_on(MINI_LM, "noah"), options=options)

    trials = drive(EvolutionStrategy(study, TABLE), 14)

    assert drive(EvolutionStrategy(study, TABLE), 14, known=trials[:11]) == trials
    assert len({trial.proposal.key for trial in trials}) == 14


def test_nothing_is_scored_before_the_first_proposal_is_asked_for():
    class Asked(InheritedTable):
        def scores(self, configurations):
            raise AssertionError("scores were asked for")

    strategy = EvolutionStrategy(a_study(), Asked())

    with pytest.raises(AssertionError, match="scores were asked for"):
        strategy.ask()


@pytest.mark.parametrize(
    ("options", "problem"), [({}, "the weights became NaN"), ({"scores": "measured"}, "")]
)
def test_without_inherited_scores_it_goes_by_measured_ones(options, problem):
    study = a_study(options=options)

    trials = drive(EvolutionStrategy(study, InheritedTable(problem=problem)), 14)

    assert {trial.proposal.inherited for trial in trials} == {None}


def test_noahs_mutation_is_refused_in_a_space_without_depths():
    study = a_study(options={"mutation": "noah"})

    with pytest.raises(OptionError, match="the space 'small' has none: take mutation=genes"):
        EvolutionStrategy(study, TABLE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": "2"}, "has no option 'speed': there are scores, mutation, evaluations"),
        ({"scores": "both"}, "scores must be inherited or measured, not 'both'"),
        ({"mutation": "all"}, "mutation must be genes or noah, not 'all'"),
        ({"evaluations": "0"}, "evaluations must be a whole number from 1, not '0'"),
        ({"evaluations": "many"}, "evaluations must be a whole number from 1, not 'many'"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Options.parse(options)
