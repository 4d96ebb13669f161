"""The default strategy: probes first, then what the model expects most of."""

import math
from dataclasses import dataclass, field, replace

import pytest

from autopeft.errors import OptionError
from autopeft.ranking import PROBE
from autopeft.strategies.autopeft import AutopeftStrategy, Options
from autopeft.strategies.random import RandomStrategy
from autopeft.trial import Fidelity, Trial
from tests.builders import a_measurement, a_study
from tests.contracts.known_optimum import InheritedTable, KnownOptimumContract
from tests.contracts.strategy import StrategyContract, drive


def worth(configuration) -> float:
    """A score that every size adds to, more in the first block and less with every doubling."""
    return sum(
        math.log2(1 + size) / (1 + block + 2 * column)
        for block, row in enumerate(configuration.sizes)
        for column, size in enumerate(row)
    )


@dataclass
class Inheritance:
    """Scores that follow from the table: the truth, or with ``told=-1`` its contrary."""

    told: float = 1.0
    problem: str = ""
    asked: list = field(default_factory=list)

    def prepare(self):
        yield 1.0

    def scores(self, configurations):
        for configuration in configurations:
            self.asked.append(configuration)
            yield self.told * worth(configuration)


def by_worth(trial: Trial) -> Trial:
    share = trial.proposal.fidelity.share
    return trial.done(a_measurement(worth(trial.proposal.configuration) * (0.5 + share / 2)))


class TestGuided(StrategyContract):
    @pytest.fixture
    def build(self):
        return lambda study: AutopeftStrategy(
            replace(study, options={"evaluations": "20"}), Inheritance()
        )


@pytest.mark.slow
class TestWithoutASupernet(StrategyContract):
    @pytest.fixture
    def build(self):
        return lambda study: AutopeftStrategy(study, Inheritance(problem="the loss became nan"))


class TestGuidedOnATable(KnownOptimumContract):
    """Inherited scores with errors lead it to a known optimum."""

    SEEDS = 4
    MARGIN = 2.0

    @pytest.fixture
    def build(self):
        return lambda study: AutopeftStrategy(study, InheritedTable())


class TestOnATableWithoutASupernet(KnownOptimumContract):
    """It finds its way without any, too."""

    SEEDS = 4
    MARGIN = 2.0

    @pytest.fixture
    def build(self):
        return lambda study: AutopeftStrategy(study, InheritedTable(problem="no weights"))


class Misleading(InheritedTable):
    """Says of every configuration the contrary of what it is worth."""

    def scores(self, configurations):
        return (-score for score in InheritedTable.scores(self, configurations))


class TestMisledOnATable(KnownOptimumContract):
    """The probes show it, and it still finds its way."""

    SEEDS = 4
    MARGIN = 2.0

    @pytest.fixture
    def build(self):
        return lambda study: AutopeftStrategy(study, Misleading())


def strategy(inheritance, **changes):
    return AutopeftStrategy(a_study(options={"evaluations": "40"}, **changes), inheritance)


def test_the_first_proposals_are_probes_from_the_best_to_the_worst():
    inheritance = Inheritance()
    trials = drive(strategy(inheritance), 8, ending=by_worth)

    probes = [t.proposal for t in trials[:6]]
    scores = [proposal.inherited for proposal in probes]
    assert {proposal.label for proposal in probes} == {PROBE}
    assert scores == sorted(scores, reverse=True)
    assert (scores[0], scores[-1]) == (
        max(map(worth, inheritance.asked)), min(map(worth, inheritance.asked)),
    )  # fmt: skip
    assert [t.proposal.label for t in trials[6:]] == ["", ""]


def test_every_inherited_score_is_that_of_its_own_configuration():
    for trial in drive(strategy(Inheritance()), 16, ending=by_worth):
        assert trial.proposal.inherited == worth(trial.proposal.configuration)


def test_inherited_scores_that_the_probes_bear_out_are_gone_by():
    guided = strategy(Inheritance())

    trials = drive(guided, 14, ending=by_worth)

    assert guided.guided
    best = max(worth(t.proposal.configuration) for t in trials[6:])
    assert best >= worth(trials[0].proposal.configuration)


def test_inherited_scores_that_the_probes_belie_are_left_out():
    """From then on no score is looked up any more."""
    inheritance = Inheritance(told=-1.0)
    unsure = strategy(inheritance)
    probes = drive(unsure, 6, ending=by_worth)
    before = len(inheritance.asked)

    later = [unsure.ask() for _ in range(6)]

    assert {trial.proposal.label for trial in probes} == {PROBE}
    assert not unsure.guided
    assert None not in later
    assert len(inheritance.asked) == before


def test_what_looks_worst_to_the_model_is_not_what_it_proposes():
    trials = drive(strategy(Inheritance()), 24, ending=by_worth)

    probes = [worth(t.proposal.configuration) for t in trials[:6]]
    later = [worth(t.proposal.configuration) for t in trials[6:]]
    assert sorted(later)[len(later) // 2] > sorted(probes)[3]


def test_short_trainings_teach_it_too():
    study = a_study(options={"evaluations": "40"}, rungs=(0.25, 1.0))
    found = AutopeftStrategy(study, Inheritance())
    for number in range(12):
        proposal = replace(found.ask(), fidelity=Fidelity(share=0.25 if number % 3 else 1.0))
        found.tell(by_worth(Trial(number=number, proposal=proposal).started()))

    assert found.ask() is not None


def test_with_several_objectives_it_looks_along_the_front():
    study = a_study(options={"evaluations": "40"}, objectives=("score", "params"))

    def ending(trial):
        table = trial.proposal.configuration
        return trial.done(a_measurement(worth(table), table.parameters(study.space.slots)))

    trials = drive(AutopeftStrategy(study, Inheritance()), 22, ending=ending)
    sizes = [t.measurement.parameters for t in trials[6:]]
    assert min(sizes) < 100
    assert max(sizes) > 250


def test_a_supernet_that_failed_is_done_without():
    trials = drive(strategy(Inheritance(problem="nan")), 10, ending=by_worth)

    assert all(t.proposal.inherited is None and not t.proposal.label for t in trials)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proofs": "3"}, "no option 'proofs': there are evaluations, probes"),
        ({"probes": "4"}, "must be a whole number from 5, not '4'"),
        ({"evaluations": "many"}, "must be a whole number from 10, not 'many'"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Options.parse(options)


def test_options_have_defaults():
    assert Options.parse({}) == Options(evaluations=60, probes=6)
    assert Options.parse({"probes": "9"}).probes == 9


def test_a_probe_that_fails_does_not_keep_the_others_from_judging():
    unsure = strategy(Inheritance(told=-1.0))
    for number in range(6):
        trial = Trial(number=number, proposal=unsure.ask()).started()
        unsure.tell(trial.failed("diverged") if number == 2 else by_worth(trial))

    assert not unsure.guided


def test_probes_come_after_a_warm_start_too():
    points = [t.proposal for t in drive(RandomStrategy(a_study(seed=9)), 6, ending=by_worth)]
    warmed = strategy(Inheritance(told=-1.0))
    for number, proposal in enumerate(points):
        warmed.tell(by_worth(Trial(number=number, proposal=proposal).started()))

    probes = []
    for number in range(6, 12):
        probes.append(warmed.ask())
        warmed.tell(by_worth(Trial(number=number, proposal=probes[-1]).started()))

    assert {proposal.label for proposal in probes} == {PROBE}
    assert not warmed.guided
