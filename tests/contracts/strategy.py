"""What every strategy promises."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from autopeft.budget import Budget
from autopeft.ports import Strategy
from autopeft.search_spaces.catalog import METHODS
from autopeft.study import Study
from autopeft.trial import Fidelity, Proposal, Purpose, Recipe, Trial
from tests.builders import (
    MINI_LM,
    ONE_CONFIGURATION,
    SMALL_SPACE,
    a_measurement,
    a_study,
    space_on,
)

Ending = Callable[[Trial], Trial]
HALVED = (1 / 3, 1.0)


def measured(trial: Trial) -> Trial:
    """End a trial with a score that depends on its table and its learning rates."""
    sizes = [size for row in trial.proposal.configuration.sizes for size in row]
    rates = trial.proposal.recipe.learning_rates.values()
    score = sum(math.sin(1 + i + size) for i, size in enumerate(sizes))
    return trial.done(a_measurement(score - sum((math.log10(r) + 2.5) ** 2 for r in rates)))


def counted(trial: Trial) -> Trial:
    """End a trial as ``measured`` does, with the parameters that its table has."""
    ended = measured(trial)
    parameters = trial.proposal.configuration.parameters(SMALL_SPACE.slots)
    return replace(ended, measurement=replace(ended.measurement, parameters=parameters))


def paused(trial: Trial) -> Trial:
    """End a trial at the first rung of a third, with a part of its score."""
    ended = measured(trial)
    short = replace(trial.proposal, fidelity=Fidelity(share=HALVED[0]))
    measurement = replace(ended.measurement, score=0.6 * ended.score - 1.0, share=HALVED[0])
    return replace(trial, proposal=short).done(measurement)


def promoted(trial: Trial) -> Trial:
    """Train a trial that pauses to its end."""
    return measured(trial.promoted(1.0).started())


def without_a_number(trial: Trial) -> Trial:
    return trial.done(a_measurement(math.nan))


def failed(trial: Trial) -> Trial:
    return trial.failed("ValueError: shapes differ")


def out_of_memory(trial: Trial) -> Trial:
    return trial.out_of_memory("MemoryError")


def drive(
    strategy: Strategy, count: int, *, known: Sequence[Trial] = (), ending: Ending = measured
) -> list[Trial]:
    """Tell what is known, end what waits, then ask and tell in turn up to ``count`` trials."""
    for trial in known:
        strategy.tell(trial)
    trials = [trial if trial.ended else ending(trial) for trial in known]
    for before, after in zip(known, trials, strict=True):
        if not before.ended:
            strategy.tell(after)
    while len(trials) < count and (proposal := strategy.ask()):
        trials.append(ending(Trial(number=len(trials), proposal=proposal).started()))
        strategy.tell(trials[-1])
    return trials


def proposals(trials: Sequence[Trial]) -> list[Proposal]:
    return [trial.proposal for trial in trials]


class StrategyContract:
    """What every strategy promises. A new one subclasses this and gives `build`."""

    @pytest.fixture
    def build(self) -> Callable[[Study], Strategy]:
        pytest.fail("the subclass has to give `build`")

    def test_the_same_study_gets_the_same_proposals(self, build):
        study = a_study(seed=3)

        trials = drive(build(study), 12)

        assert len(trials) == 12
        assert drive(build(study), 12) == trials

    def test_another_seed_gets_other_proposals(self, build):
        searched = [
            [t.proposal.key for t in drive(build(a_study(seed=seed)), 12) if t.proposal.of is None]
            for seed in (0, 1)
        ]

        assert searched[0] != searched[1]

    @pytest.mark.parametrize("budget", ["16", "17", "50", "200", "1%", "10000"])
    def test_no_proposal_is_empty_or_over_the_ceiling(self, build, budget):
        """16 parameters are the smallest configuration of the space: rank 1 in one cell."""
        study = a_study(budget=Budget.parse(budget))

        trials = drive(build(study), 10)

        assert len(trials) == 10
        counts = [t.proposal.configuration.parameters(study.space.slots) for t in trials]
        assert 0 < min(counts) <= max(counts) <= study.ceiling

    def test_a_space_of_a_real_model_is_searched_within_its_ceiling(self, build):
        study = a_study(backbone=MINI_LM, space=space_on(MINI_LM, "unified"))

        trials = drive(build(study), 4)

        counts = [t.proposal.configuration.parameters(study.space.slots) for t in trials]
        assert len(counts) == 4
        assert 0 < min(counts) <= max(counts) <= 227_132

    def test_a_ceiling_that_few_configurations_keep_is_still_searched(self, build):
        """With sizes and switches shared by all blocks, almost every change empties the table."""
        study = a_study(
            backbone=MINI_LM, space=space_on(MINI_LM, "autopeft"), budget=Budget.parse("768")
        )

        trials = drive(build(study), 10)

        counts = [t.proposal.configuration.parameters(study.space.slots) for t in trials]
        assert counts == [768] * 10

    def test_nothing_is_proposed_twice(self, build):
        trials = drive(build(a_study(budget=Budget.parse("32"))), 24)

        assert len({trial.proposal.key for trial in trials}) == len(trials) == 24

    def test_what_runs_and_what_was_only_told_is_not_proposed_again(self, build):
        """As with several workers: nothing has ended when the next is asked for."""
        study = a_study(budget=Budget.parse("32"))
        strategy = build(study)
        waiting = [Trial(number=n, proposal=strategy.ask()).started() for n in range(6)]
        another = build(study)
        for trial in waiting:
            another.tell(trial)

        asked = [another.ask().key for _ in range(6)]

        assert len({trial.proposal.key for trial in waiting} | set(asked)) == 12

    def test_what_was_measured_as_a_baseline_is_not_proposed_again(self, build):
        study = a_study()
        first = build(study).ask()
        strategy = build(study)

        same = replace(first, purpose=Purpose.BASELINE, label="plain LoRA")
        strategy.tell(Trial(number=0, proposal=same).started())

        assert strategy.ask().key != first.key

    def test_every_method_that_is_present_has_a_rate_within_its_range_and_no_other_has(self, build):
        study = a_study()
        for trial in drive(build(study), 12):
            rates = trial.proposal.recipe.learning_rates
            assert set(rates) == set(trial.proposal.configuration.methods(study.space.slots))
            for method, rate in rates.items():
                assert METHODS[method].rates.low <= rate <= METHODS[method].rates.high

    def test_a_proposal_takes_the_rest_of_its_recipe_and_its_seed_from_the_study(self, build):
        study = a_study(seed=5)
        for trial in drive(build(study), 6):
            recipe = trial.proposal.recipe
            assert replace(recipe, learning_rates={}) == study.recipe
            assert trial.proposal.seed == 5

    @pytest.mark.parametrize("cut", [0, 1, 3, 4, 9])
    def test_told_what_was_recorded_it_goes_on_as_if_it_had_proposed_it(self, build, cut):
        study = a_study()
        whole = drive(build(study), 11)

        assert drive(build(study), 11, known=whole[:cut]) == whole

    @pytest.mark.parametrize("cut", [0, 2, 3, 8])
    def test_a_trial_that_was_begun_and_not_ended_makes_no_difference(self, build, cut):
        study = a_study()
        whole = drive(build(study), 11)
        begun = replace(whole[cut], measurement=None, progress=0.0).started()

        resumed = drive(build(study), 11, known=[*whole[:cut], begun])

        assert proposals(resumed) == proposals(whole)

    def test_the_order_in_which_trials_ended_makes_no_difference(self, build):
        """Several workers end trials in any order; a resumed run tells them by number."""
        study = a_study()
        known = drive(build(study), 9)
        shuffled = [known[i] for i in (0, 4, 2, 1, 3, 8, 7, 5, 6)]

        asked = [drive(build(study), 11, known=order)[9:] for order in (known, shuffled)]

        assert asked[0] == asked[1]

    def test_finals_do_not_change_what_is_proposed(self, build):
        """A study that is extended has seen the finals of its shorter run."""
        study = a_study()
        whole = drive(build(study), 10)
        strategy = build(study)
        for trial in whole[:6]:
            strategy.tell(trial)
        final = replace(whole[5].proposal, purpose=Purpose.FINAL, seed=1, of=5)
        strategy.tell(measured(Trial(number=6, proposal=final).started()))

        assert strategy.ask() == whole[6].proposal

    @pytest.mark.parametrize("ending", [failed, out_of_memory, without_a_number])
    def test_it_goes_on_when_every_trial_fails(self, build, ending):
        trials = drive(build(a_study()), 12, ending=ending)

        assert len({trial.proposal.key for trial in trials}) == 12

    def test_a_space_of_one_configuration_is_searched_over_its_rates(self, build):
        study = a_study(space=ONE_CONFIGURATION)
        [only] = {ONE_CONFIGURATION.largest()}

        trials = drive(build(study), 8)

        searched = [t.proposal for t in trials if t.proposal.purpose is Purpose.SEARCH]
        assert {proposal.configuration for proposal in searched} == {only}
        assert len({proposal.key for proposal in searched}) == len(searched) > 2

    def test_a_single_trial_can_be_had(self, build):
        assert len(drive(build(a_study()), 1)) == 1

    def test_trials_that_pause_and_go_on_are_learned_from_in_any_order(self, build):
        """A run that halves tells a trial at each rung; a resumed one tells where each stands."""
        study = a_study(rungs=HALVED)
        known = drive(build(study), 11, ending=paused)
        now = [promoted(trial) if trial.number in {1, 4, 7} else trial for trial in known]
        shuffled = [now[i] for i in (4, 0, 10, 2, 1, 3, 8, 7, 9, 5, 6)]

        asked = [
            drive(build(study), 13, known=told, ending=paused)[-2:]
            for told in (now, shuffled)
        ]  # fmt: skip
        live = build(study)
        for trial in [*known, now[7], now[1], now[1], now[4]]:
            live.tell(trial)

        assert asked[0] == asked[1]
        assert paused(Trial(number=11, proposal=live.ask()).started()) == asked[0][0]

    def test_a_promoted_trial_that_trains_on_is_known_by_its_last_rung(self, build):
        study = a_study(rungs=HALVED)
        known = drive(build(study), 11, ending=paused)
        goes_on = [*known[:4], known[4].promoted(1.0).started(), *known[5:]]

        asked = []
        for told in (known, goes_on):
            strategy = build(study)
            for trial in told:
                strategy.tell(trial)
            asked.append(strategy.ask())

        assert asked[0] == asked[1]

    @pytest.mark.parametrize("ending", [failed, out_of_memory])
    def test_a_promoted_trial_may_fail(self, build, ending):
        study = a_study(rungs=HALVED)
        known = drive(build(study), 11, ending=paused)
        strategy = build(study)
        for trial in (*known, *(ending(known[i].promoted(1.0).started()) for i in (0, 5))):
            strategy.tell(trial)

        assert strategy.ask().key not in {trial.proposal.key for trial in known}

    def test_halving_stays_within_the_promises(self, build):
        study = a_study(rungs=HALVED)

        trials = drive(build(study), 14, ending=paused)

        assert drive(build(study), 14, ending=paused) == trials
        assert len({trial.proposal.key for trial in trials}) == 14

    @pytest.mark.parametrize("rungs", [(1.0,), HALVED])
    def test_several_objectives_are_searched_within_the_promises(self, build, rungs):
        study = a_study(objectives=("score", "params"), rungs=rungs)
        ending = counted if len(rungs) == 1 else paused

        trials = drive(build(study), 14, ending=ending)

        assert drive(build(study), 14, known=trials[:9], ending=ending) == trials
        assert len({trial.proposal.key for trial in trials}) == 14
        counts = [t.proposal.configuration.parameters(study.space.slots) for t in trials]
        assert 0 < min(counts) <= max(counts) <= study.ceiling

    def test_a_trial_that_is_told_twice_counts_once(self, build):
        study = a_study()
        known = drive(build(study), 11)
        once, twice = build(study), build(study)
        for trial in known:
            once.tell(trial)
            twice.tell(trial)
            twice.tell(trial)

        assert once.ask() == twice.ask()

    def test_nothing_is_proposed_when_all_that_there_is_was_tried(self, build):
        """One configuration with one method has 1,801 rates of three digits within its range."""
        study = a_study(space=ONE_CONFIGURATION)
        strategy, only = build(study), ONE_CONFIGURATION.largest()
        rates = [float(f"{digits}e-{power}") for power in (6, 5) for digits in range(100, 1000)]
        for number, rate in enumerate([*rates, 1e-2]):
            proposal = Proposal(
                configuration=only,
                recipe=Recipe(learning_rates={"lora": rate}, scales=study.recipe.scales),
                seed=0,
            )
            strategy.tell(Trial(number=number, proposal=proposal).started())

        # baselines around a strategy may still have rates of their own to try
        assert any(strategy.ask() is None for _ in range(30))
