"""Baselines before and between the proposals of a strategy."""

from dataclasses import dataclass, field, replace

import pytest

from autopeft.budget import Budget
from autopeft.search_spaces.catalog import METHODS
from autopeft.strategies.baselines import BaselinesFirst
from autopeft.strategies.random import RandomStrategy
from autopeft.strategies.tpe import TpeStrategy
from autopeft.trial import Fidelity, Proposal, Purpose, Trial
from tests.builders import MINI_LM, a_measurement, a_study, space_on
from tests.contracts.strategy import StrategyContract, drive, failed


class TestBaselinesFirstAroundRandom(StrategyContract):
    """Around random search it keeps what every strategy promises."""

    @pytest.fixture
    def build(self):
        return lambda study: BaselinesFirst(study, RandomStrategy(study))


class TestBaselinesFirstAroundTpe(StrategyContract):
    """Around TPE it keeps what every strategy promises."""

    @pytest.fixture
    def build(self):
        return lambda study: BaselinesFirst(study, TpeStrategy(study))


@dataclass
class Scripted:
    """Proposes what it is given, in turn, and remembers what it was told."""

    script: list[Proposal] = field(default_factory=list)
    told: list[Trial] = field(default_factory=list)

    def ask(self) -> Proposal | None:
        return self.script.pop(0) if self.script else None

    def tell(self, trial: Trial) -> None:
        self.told.append(trial)


def scored(scores: dict[str, float]):
    """End baselines with the score of their label, and all others with 0.1."""
    return lambda trial: trial.done(a_measurement(scores.get(trial.proposal.label, 0.1)))


def around_random(**changes) -> BaselinesFirst:
    study = a_study(**changes)
    return BaselinesFirst(study, RandomStrategy(study))


def test_the_first_three_proposals_fill_the_budget_with_what_people_use_today():
    """MiniLM at 1% may train 227,132 parameters."""
    study = a_study(backbone=MINI_LM, space=space_on(MINI_LM, "unified"))
    slots = study.space.slots

    first = [t.proposal for t in drive(BaselinesFirst(study, RandomStrategy(study)), 3)]

    assert [(p.label, p.configuration.summary(slots)) for p in first] == [
        ("plain LoRA", "lora@attention.query 24; lora@attention.value 24"),
        ("serial adapter", "serial_adapter@ffn.norm 48"),
        ("prefix", "prefix@attention 49"),
    ]
    assert [p.configuration.parameters(slots) for p in first] == [221_184, 223_776, 225_792]
    assert {p.purpose for p in first} == {Purpose.BASELINE}
    assert [dict(p.recipe.learning_rates) for p in first] == [
        {name: METHODS[name].rates.default} for name in ("lora", "serial_adapter", "prefix")
    ]


def test_every_fourth_proposal_tunes_the_rate_of_the_best_baseline():
    ending = scored({"plain LoRA": 0.6, "serial adapter": 0.8, "prefix": 0.7})

    trials = drive(around_random(), 16, ending=ending)

    tuned = [t.proposal for t in trials[3::4]]
    assert [p.label for p in tuned] == ["serial adapter"] * 4
    assert [p.recipe.learning_rates["serial_adapter"] for p in tuned] == [
        0.003, 0.000333, 0.009, 0.000111,
    ]  # fmt: skip
    others = [t.proposal.purpose for i, t in enumerate(trials) if i > 2 and i % 4 != 3]
    assert set(others) == {Purpose.SEARCH}


def test_when_all_rates_of_the_best_are_tried_the_next_best_baseline_is_tuned():
    ending = scored({"plain LoRA": 0.6, "serial adapter": 0.8, "prefix": 0.7})

    trials = drive(around_random(), 24, ending=ending)

    assert [t.proposal.label for t in trials[3::4]] == ["serial adapter"] * 4 + ["prefix"] * 2


def test_of_baselines_that_reached_different_rungs_the_best_at_the_same_one_is_tuned():
    """The first was trained to the end and so has the highest score, but was worse at the third."""
    study = a_study(rungs=(1 / 3, 1.0))
    strategy = BaselinesFirst(study, Scripted())
    at_third = {"plain LoRA": 0.80, "serial adapter": 0.86, "prefix": 0.7}
    for number, (label, score) in enumerate(at_third.items()):
        proposal = replace(strategy.ask(), fidelity=Fidelity(share=1 / 3))
        found = Trial(number=number, proposal=proposal)
        assert found.proposal.label == label
        paused = found.done(replace(a_measurement(score), share=1 / 3))
        strategy.tell(paused)
        if number == 0:
            strategy.tell(paused.promoted(1.0).done(a_measurement(0.87)))

    assert strategy.ask().label == "serial adapter"


def test_tuned_rates_stay_within_the_range_of_their_method():
    ending = scored({"plain LoRA": 0.6, "serial adapter": 0.5, "prefix": 0.7})

    tuned = [t.proposal for t in drive(around_random(), 48, ending=ending)[3::4]]

    assert len({p.key for p in tuned}) == len(tuned)
    for proposal in tuned:
        [(method, rate)] = proposal.recipe.learning_rates.items()
        assert METHODS[method].rates.low <= rate <= METHODS[method].rates.high


def test_while_no_baseline_is_measured_there_is_none_to_tune():
    trials = drive(around_random(), 8, ending=failed)

    purposes = [trial.proposal.purpose for trial in trials]
    assert purposes == [Purpose.BASELINE] * 3 + [Purpose.SEARCH] * 5


@pytest.mark.parametrize(
    ("budget", "labels"),
    [
        ("31", []),
        ("32", ["prefix"]),
        ("50", ["serial adapter", "prefix"]),
        ("64", ["plain LoRA", "serial adapter", "prefix"]),
    ],
)
def test_a_baseline_that_does_not_fit_is_left_out(budget, labels):
    """On the tiny backbone size 1 costs 64, 50 and 32 parameters."""
    trials = drive(around_random(budget=Budget.parse(budget)), 6)

    assert [t.proposal.label for t in trials[: len(labels)]] == labels
    assert trials[len(labels)].proposal.purpose is not Purpose.BASELINE or len(labels) == 3


def test_a_strategy_with_nothing_left_leaves_the_baselines_to_be_tuned():
    """Three baselines and four other rates for each of them, then nothing more."""
    strategy = BaselinesFirst(a_study(), Scripted())

    assert len(drive(strategy, 100)) == 15
    assert strategy.ask() is None


def test_what_the_inner_strategy_proposes_again_is_skipped():
    """It may come upon a baseline that still runs, of which nobody has told it."""
    first = BaselinesFirst(a_study(), Scripted()).ask()
    fresh = replace(first, recipe=replace(first.recipe, learning_rates={"lora": 4e-3}), label="")
    inner = Scripted([replace(first, purpose=Purpose.SEARCH, label=""), fresh])
    strategy = BaselinesFirst(a_study(), inner)

    asked = [strategy.ask() for _ in range(4)]

    assert asked[3] == fresh


def test_the_inner_strategy_is_told_of_everything():
    inner = Scripted()
    trials = drive(BaselinesFirst(a_study(), inner), 7)

    assert inner.told == trials


def test_configurations_that_the_space_starts_from_follow_the_baselines():
    """NOAH's three fit into 5% of MiniLM; LoRA and adapter of width 8 cost what they cost."""
    study = a_study(backbone=MINI_LM, space=space_on(MINI_LM, "noah"), budget=Budget.parse("5%"))
    slots = study.space.slots

    first = [t.proposal for t in drive(BaselinesFirst(study, RandomStrategy(study)), 6)]

    assert [p.label for p in first[3:]] == ["noah-vtab", "noah-lora-8", "noah-adapter-8"]
    assert {p.purpose for p in first} == {Purpose.BASELINE}
    assert first[4].configuration.parameters(slots) == 6 * 4 * 384 * 8


def test_a_start_that_is_over_the_budget_is_left_out():
    study = a_study(backbone=MINI_LM, space=space_on(MINI_LM, "noah"), budget=Budget.parse("50k"))

    first = [t.proposal for t in drive(BaselinesFirst(study, RandomStrategy(study)), 4)]

    assert [p.label for p in first] == ["plain LoRA", "serial adapter", "prefix", "noah-adapter-8"]
