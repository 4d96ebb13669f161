"""S4's staged search."""

from dataclasses import replace

import pytest

from autopeft.budget import Budget
from autopeft.errors import OptionError
from autopeft.search_spaces.written.reading import read_space
from autopeft.strategies.random import RandomStrategy
from autopeft.strategies.s4 import Options, S4Strategy
from autopeft.trial import Fidelity, Purpose, Trial
from tests.builders import MINI_LM, SMALL_SPACE, a_measurement, a_study
from tests.contracts.strategy import StrategyContract, drive, failed

CEILING = 227_132
S4_SPACE = read_space("s4").on(MINI_LM, CEILING)
FOUR = {"samples": "4", "more": "4"}


def s4_study(**options):
    """Return a study of S4's own space at 1% of MiniLM."""
    texts = {name: str(value) for name, value in options.items()}
    return a_study(backbone=MINI_LM, space=S4_SPACE, budget=Budget.parse("1%"), options=texts)


def of_slot(name: str, *, bonus: float = 1.0):
    """End a trial with a bonus where a slot is present anywhere."""
    column = [slot.name for slot in SMALL_SPACE.slots].index(name)

    def ending(trial: Trial) -> Trial:
        present = any(row[column] for row in trial.proposal.configuration.sizes)
        return trial.done(a_measurement(bonus * present))

    return ending


def planted(trial: Trial) -> Trial:
    """End a trial of S4's space: best are LoRA in the first blocks, prefixes and no BitFit later.

    MiniLM has six blocks; the first of them are in group 1 whatever the grouping.
    """
    sizes = trial.proposal.configuration.sizes
    names = [slot.method for slot in S4_SPACE.slots]

    def present(row: int, method: str) -> bool:
        return any(s for s, name in zip(sizes[row], names, strict=True) if name == method)

    score = 4 * present(0, "lora") - 2 * present(0, "prefix")
    score += 4 * present(5, "prefix") - 2 * present(5, "lora") - 2 * present(5, "bitfit")
    return trial.done(a_measurement(float(score)))


class TestS4Strategy(StrategyContract):
    """The staged search keeps what every strategy promises."""

    @pytest.fixture
    def build(self):
        return S4Strategy


def test_a_space_with_layer_groups_is_refined_in_the_stages_of_the_paper():
    strategy = S4Strategy(s4_study(samples=1, more=0))

    drive(strategy, 90, ending=planted)

    stages = {decided.stage: [o.option for o in decided.options] for decided in strategy.stages}
    assert list(stages) == [
        "layer grouping", "allocation", "tuned groups", "group 1", "group 2", "group 3", "group 4",
    ]  # fmt: skip
    assert stages["layer grouping"] == ["1-1-2-2", "2-2-1-1", "1-2-2-1", "2-1-1-2"]
    assert stages["allocation"] == ["increasing", "uniform", "decreasing"]
    assert stages["tuned groups"][:3] == ["groups 1-4", "groups 1-3", "groups 2-4"]
    assert len(stages["tuned groups"]) == 10
    assert len(stages["group 1"]) == 15
    assert {"lora", "adapter, lora", "adapter, prefix, bitfit, lora"} <= set(stages["group 1"])


@pytest.mark.slow
def test_what_is_planted_in_a_group_is_found_in_its_stage():
    strategy = S4Strategy(s4_study(samples=3, more=3))

    drive(strategy, 400, ending=planted)

    kept = {decided.stage: decided.kept.split(", ") for decided in strategy.stages}
    assert "lora" in kept["group 1"]
    assert "prefix" not in kept["group 1"]
    assert "prefix" in kept["group 4"]
    assert not {"lora", "bitfit"} & set(kept["group 4"])


BEST_METHODS = ({"lora"}, {"adapter"}, {"adapter", "prefix"}, {"lora", "bitfit"})
GROUPING, ALLOCATION = "1-2-2-1", "increasing"


def answers(trial: Trial) -> Trial:
    """End a trial of S4's space with the sum of what its answer to each question is worth.

    Best are one grouping, one allocation and a set of methods for each group. A method that is
    missing costs more than one too many, as in practice: else fewer groups would look better while
    their methods are still drawn.
    """
    lost = 0.0
    genome = S4_SPACE.encode(trial.proposal.configuration)
    for gene, choice in zip(S4_SPACE.genes, genome, strict=True):
        if gene.role == "pattern":
            pattern = S4_SPACE.patterns[choice]
            sizes = "-".join(str(pattern.count(group)) for group in range(4))
            lost += 2.0 * (sizes != GROUPING)
        elif gene.role == "allocation":
            lost += S4_SPACE.allocations[choice] != ALLOCATION
        else:
            wanted = gene.name.partition("/")[0] in BEST_METHODS[gene.part]
            lost += 4 * (wanted and not choice) + (choice and not wanted)
    return trial.done(a_measurement(-float(lost)))


@pytest.mark.slow
def test_a_known_optimum_is_found_where_it_is_an_answer_to_each_question():
    """Of 786,432 combinations of answers it comes next to the best, and random search does not.

    The table of the other strategies is none for it: there the best size of a method differs from
    block to block and slot to slot, and S4 asks for one size of a method wherever it is.
    """
    best: dict[type, list[float]] = {S4Strategy: [], RandomStrategy: []}
    for strategy, found in best.items():
        for seed in range(4):
            study = replace(s4_study(), seed=seed)
            found.append(max(t.score for t in drive(strategy(study), 160, ending=answers)))

    assert sum(best[S4Strategy]) / 4 > -1.0
    assert max(best[RandomStrategy]) < -2.0


def test_other_spaces_are_refined_by_methods_blocks_sizes_and_slots():
    strategy = S4Strategy(a_study(options={"samples": "1", "more": "0"}))

    drive(strategy, 40)

    names = [decided.stage for decided in strategy.stages]
    whole = [
        "lora", "serial_adapter", "tuned blocks", "size of lora", "size of serial_adapter",
        "lora@attention.query", "lora@attention.value",
    ]  # fmt: skip
    assert names == [name for name in whole if name in names]
    assert {"lora", "tuned blocks"} < set(names)


def test_a_clear_difference_is_told_apart_and_gets_no_further_samples():
    def ending(trial: Trial) -> Trial:
        methods = trial.proposal.recipe.learning_rates
        return trial.done(a_measurement(2.0 * ("lora" in methods) + ("serial_adapter" in methods)))

    strategy = S4Strategy(a_study(budget=Budget.parse("680"), options=FOUR))

    drive(strategy, 40, ending=ending)

    adapter = next(d for d in strategy.stages if d.stage == "serial_adapter")
    assert adapter.kept == "with"
    assert adapter.sure
    assert [(o.option, o.mean, o.behind, o.samples) for o in adapter.options] == [
        ("with", 3.0, 0.0, 4), ("without", 2.0, 1.0, 4),
    ]  # fmt: skip


def test_what_is_not_told_apart_gets_further_samples():
    """Equal scores tell nothing apart, so all eight samples of both options are drawn."""
    strategy = S4Strategy(a_study(budget=Budget.parse("680"), options=FOUR))

    drive(strategy, 30, ending=of_slot("serial_adapter@ffn.norm", bonus=0.0))

    first = strategy.stages[0]
    assert [o.samples for o in first.options] == [8, 8]
    assert not first.sure


def test_the_samples_of_a_stage_differ_in_what_the_options_fix():
    """Common random numbers: the adapters are equal in each pair, and so is the rates' factor."""
    strategy = S4Strategy(a_study(budget=Budget.parse("680"), options=FOUR))

    pairs = [(strategy.ask(), strategy.ask()) for _ in range(4)]

    adapter = [slot.name for slot in SMALL_SPACE.slots].index("serial_adapter@ffn.norm")
    for with_lora, without in pairs:
        assert "lora" in with_lora.recipe.learning_rates
        assert set(without.recipe.learning_rates) == {"serial_adapter"}
        shared = with_lora.recipe.learning_rates.get("serial_adapter")
        assert shared in {None, without.recipe.learning_rates["serial_adapter"]}
    equal = [
        [row[adapter] for row in a.configuration.sizes]
        == [row[adapter] for row in b.configuration.sizes]
        for a, b in pairs
    ]
    assert sum(equal) >= 2  # unless "without" left nothing and another was drawn
    assert pairs[0][1].recipe.learning_rates == {"serial_adapter": 1e-3}


def test_a_later_rung_does_not_change_what_was_decided():
    """Options are compared at the first rung, where every trial has been measured."""
    study = a_study(rungs=(0.25, 1.0), options=FOUR)
    strategy = S4Strategy(study)
    trials = []
    for number in range(8):
        lowest = replace(strategy.ask(), fidelity=Fidelity(share=0.25))
        trial = Trial(number=number, proposal=lowest).started()
        present = "serial_adapter" in lowest.recipe.learning_rates
        measured = replace(a_measurement(0.5 + 0.1 * present), share=0.25)
        trials.append(trial.done(measured))
        strategy.tell(trials[-1])
    coming = strategy.ask()

    promoted = trials[0].promoted(1.0).started().done(a_measurement(-9.0))
    again = S4Strategy(study)
    for trial in [*trials[1:], promoted]:
        again.tell(trial)

    assert again.ask() == coming


def test_a_failed_sample_counts_as_the_worst_of_its_stage():
    def ending(trial: Trial) -> Trial:
        if "lora" in trial.proposal.recipe.learning_rates:
            return failed(trial)
        return trial.done(a_measurement(0.1))

    strategy = S4Strategy(a_study())

    drive(strategy, 30, ending=ending)

    means = {o.option: o.mean for o in strategy.stages[0].options}
    assert means == {"with": 0.1, "without": 0.1}


def test_scores_that_are_no_numbers_count_as_failures():
    strategy = S4Strategy(a_study())

    trials = drive(strategy, 30, ending=lambda t: t.done(a_measurement(float("nan"))))

    assert len(trials) == 30
    assert all(o.mean == 0.0 for decided in strategy.stages for o in decided.options)


def test_while_samples_run_other_draws_are_proposed():
    """Ten workers ask before anything has ended; the first stage has eight samples."""
    strategy = S4Strategy(a_study(options=FOUR))

    asked = [strategy.ask() for _ in range(10)]

    assert len({proposal.key for proposal in asked}) == 10
    assert strategy.stages == ()


def test_a_baseline_that_is_also_a_sample_is_not_measured_twice():
    study = a_study()
    first = S4Strategy(study).ask()
    strategy = S4Strategy(study)
    baseline = replace(first, purpose=Purpose.BASELINE, label="plain LoRA")

    strategy.tell(Trial(number=0, proposal=baseline).started().done(a_measurement(0.5)))

    assert first.key not in {strategy.ask().key for _ in range(7)}


def test_a_space_that_is_used_up_ends_with_draws_of_what_is_left():
    """After the last stage the proposals stay within what was decided, or was not sure."""
    study = a_study(options={"samples": "2", "more": "0"})
    strategy = S4Strategy(study)
    trials = drive(strategy, 60, ending=of_slot("serial_adapter@ffn.norm"))

    late = [t.proposal.configuration.methods(SMALL_SPACE.slots) for t in trials[-10:]]

    assert all("serial_adapter" in methods for methods in late)


def test_options_are_read_as_whole_numbers():
    assert Options.parse({}) == Options(samples=2, more=2)
    assert Options.parse({"samples": "100", "more": "0"}) == Options(samples=100, more=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": "4"}, "the strategy 's4' has no option 'sample': it has samples, more"),
        ({"samples": "0"}, "'samples' of the strategy 's4' must be a whole number of at least 1"),
        ({"more": "-1"}, "'more' of the strategy 's4' must be a whole number of at least 0"),
        ({"samples": "many"}, "must be a whole number of at least 1, not 'many'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Options.parse(options)
