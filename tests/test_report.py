"""The report of a study."""

from dataclasses import replace
from decimal import Decimal

import pytest

from autopeft.answer import Interval, Ranking
from autopeft.evidence import Expected, Provenance
from autopeft.plan import VERSION, Plan
from autopeft.report import report
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.written.reading import read_space
from autopeft.selection import answer
from autopeft.trial import Fidelity, Purpose, Trial
from tests.builders import (
    TASK,
    WHERE,
    a_measurement,
    a_proposal,
    a_study,
    a_trial,
    bert_shaped,
)
from tests.test_selection import TRUTH, accuracy, baseline, final, searched

STUDY = a_study()


def a_paused(number, *scores, **changes):
    """Return a trial that was measured at one rung after another."""
    trial = Trial(number=number, proposal=a_proposal(fidelity=Fidelity(share=0.1), **changes))
    for rung, score in enumerate(scores):
        trial = trial.promoted(RUNGS[rung]) if rung else trial
        trial = trial.started().done(a_measurement(score))
    return trial


RUNGS = (0.1, 0.3, 1.0)
TRIALS = (
    baseline(0, 30),
    searched(1, 36, ranks=(4, 0)),
    Trial(number=2, proposal=a_proposal(rate=2e-3)).failed("ValueError: a | b"),
    Trial(number=3, proposal=a_proposal(rate=3e-3)).out_of_memory("MemoryError"),
    Trial(number=4, proposal=a_proposal(rate=4e-3)),
    final(5, 1, 35),
    final(6, 0, 31),
)
ANSWER = answer(STUDY, TRIALS, TRUTH, accuracy)


def a_plan(study=STUDY) -> Plan:
    proposal = TRIALS[1].proposal
    return Plan(
        version=VERSION, backbone=study.backbone, task=TASK, where=WHERE, slots=study.space.slots,
        configuration=proposal.configuration, recipe=proposal.recipe, seed=0, parameters=64,
        head_parameters=18,
        expected=Expected(
            metric="accuracy", trial_score=0.9, interval=ANSWER.finalist.score, seeds=1
        ),
        provenance=Provenance(
            study=study.id, trial=1, strategy="random", space="small", budget="1%", ceiling=400,
            trials=6, verdict=ANSWER.verdict, versions={"torch": "2.13"}, created="2025-01-01",
        ),
    )  # fmt: skip


PAGE = report(STUDY, TRIALS, ANSWER, a_plan())


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading, its first two lines left out."""
    section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in line.replace("\\|", "¦").strip("|").split("|")]
        for line in lines[2:]
    ]


def test_the_report_begins_with_the_answer():
    assert PAGE.startswith(f"# Study {STUDY.id}\n\n{ANSWER.sentence()}\n")


def test_what_was_asked_is_told_with_its_numbers():
    asked = {row[0]: row[1] for row in rows(PAGE, "What was asked")}

    assert asked["backbone"] == "tiny (bert, 2 blocks of width 8, 40,000 parameters)"
    assert "classification, 320 / 40 / 40 for training / validation / test" in asked["data"]
    assert asked["budget"] == "1% = at most 400 trained parameters, and 18 in the task head"
    assert asked["space"] == "small, 1.00e+4 configurations"
    assert asked["strategy"] == "random, seed 0"


def test_every_trial_has_a_row_with_what_became_of_it():
    table = rows(PAGE, "Trials")

    assert [row[0] for row in table] == [str(trial.number) for trial in TRIALS]
    assert table[0] == ["0", "baseline", "plain LoRA", "lora 0.001", "32", "0.7500", "0", "1.5"]
    assert table[1][2:6] == ["lora@attention.query 4 in block 0", "lora 0.001", "64", "0.9000"]
    assert table[1][6] == "0.1391"  # 0.15 more than the baseline, with 408 of 440 parameters fewer
    assert [row[5] for row in table[2:5]] == ["ValueError: a ¦ b", "MemoryError", "waiting"]
    assert [row[1] for row in table[5:]] == ["final of 1", "final of 0"]


def test_what_is_too_long_for_a_cell_is_cut_there_and_told_in_full_below():
    slots = STUDY.space.slots
    sizes = tuple(tuple(1 + (block + i) % 3 for i, _ in enumerate(slots)) for block in range(2))
    trial = searched(1, 36)
    rates = dict.fromkeys(("lora", "serial_adapter", "parallel_adapter", "prefix"), 1e-3)
    trial = replace(
        trial,
        proposal=replace(
            trial.proposal,
            configuration=Configuration(sizes),
            recipe=replace(trial.proposal.recipe, learning_rates=rates),
        ),
    )
    reason = "ValueError: " + "a very long story " * 9 + "without an end"
    failed = Trial(number=2, proposal=a_proposal(rate=2e-3)).failed(reason)

    again = final(5, 1, 35)
    again = replace(again, proposal=replace(trial.proposal, purpose=Purpose.FINAL, of=1, seed=1))

    page = report(STUDY, (baseline(0, 30), trial, failed, again), ANSWER, a_plan())

    summary = trial.proposal.configuration.summary(slots)
    section = page.partition("## Trials\n")[2].partition("\n## ")[0]
    assert f"| {summary[:59]}… |" in section
    assert f"- trial 1: {summary}\n" in section
    assert "- trial 5:" not in section
    assert f"| {reason[:59]}… |" in section
    assert f"- trial 2: {reason}" in section
    assert max(len(cell) for row in rows(page, "Trials") for cell in row) == 60
    assert summary not in page.partition("## Pareto front\n")[2].partition("\n## ")[0]
    assert "In full:" not in PAGE


def test_one_of_a_thing_is_not_told_as_several():
    study = replace(STUDY, recipe=replace(STUDY.recipe, epochs=1))
    plan = a_plan()
    plan = replace(plan, recipe=replace(plan.recipe, epochs=1))

    assert "1 epoch of batches" in report(study, TRIALS, ANSWER, plan)


def test_the_finalists_are_compared_with_their_intervals():
    table = rows(PAGE, "Finalists")

    assert [row[:5] for row in table] == [
        ["best searched", "1", "the searched configuration", "64", "1"],
        ["best baseline", "0", "plain LoRA", "32", "1"],
    ]
    assert [row[5] for row in table] == [str(ANSWER.searched.score), str(ANSWER.baseline.score)]
    assert f"Searched minus baseline: {ANSWER.difference} ({ANSWER.verdict})." in PAGE


def test_the_configuration_of_the_plan_is_a_table_of_blocks_and_the_slots_in_use():
    assert "| block | lora@attention.query |" in PAGE
    assert rows(PAGE, "The configuration of the plan") == [["0", "4"], ["1", "·"]]
    assert "Learning rates: lora 0.001; head 0.003; 3 epochs of batches of 32, fp32." in PAGE


def test_it_says_how_to_get_the_numbers_again():
    assert "with its seed, 0, it gives the validation score of trial 1 again, 0.9000" in PAGE
    assert PAGE.endswith("Versions: torch 2.13.\n")


def test_what_fell_away_after_training_is_told_apart():
    measured = replace(TRIALS[1].measurement, scaffold_parameters=5_000)
    trials = (TRIALS[0], replace(TRIALS[1], measurement=measured))
    page = report(STUDY, trials, ANSWER, replace(a_plan(), scaffold_parameters=5_000))
    asked = {row[0]: row[1] for row in rows(page, "What was asked")}

    assert asked["budget"].endswith(
        "and 18 in the task head, 5,000 beside them fell away when training ended"
    )
    assert [row[4] for row in rows(page, "Trials")] == ["32", "64 (and 5,000 that fell away)"]


def test_a_log_likelihood_stands_beside_its_perplexity():
    """An accuracy of 0.9 read as -0.9 nats would be a perplexity of 2.46."""
    study = replace(STUDY, task=replace(TASK, metric="log_likelihood"))
    trials = tuple(
        replace(t, measurement=replace(t.measurement, score=-t.score)) if t.measurement else t
        for t in TRIALS
    )
    page = report(study, trials, replace(ANSWER, metric="log_likelihood"), a_plan())
    table = rows(page, "Trials")

    assert "| log_likelihood | perplexity | hypervolume | s |" in page
    assert table[1][5:7] == ["-0.9000", "2.46"]
    assert table[3][6] == ""
    assert {len(row) for row in table} == {9}
    assert {len(row) for row in rows(page, "Finalists")} == {7}


def test_sites_that_were_found_by_structure_are_said_to_be():
    strange = replace(STUDY, backbone=replace(STUDY.backbone, architecture="mpnet"))
    page = report(strange, TRIALS, ANSWER, a_plan())

    assert "where its sites are was found by its structure: `autopeft backbone" in page
    assert "by its structure" not in PAGE


@pytest.mark.parametrize(
    "heading", ["What was asked", "Finalists", "Pareto front", "Trials", "Cost"]
)
def test_every_row_of_a_table_has_as_many_cells_as_its_head(heading):
    widths = {len(row) for row in rows(PAGE, heading)}

    assert len(widths) == 1


def test_the_verdict_follows_the_answer_with_its_size_and_what_went_wrong():
    warned = replace(ANSWER, warnings=("the supernet was given up: the loss became nan",))

    assert (
        f"\n\nVerdict: **{ANSWER.verdict}**, searched minus baseline {ANSWER.difference}.\n" in PAGE
    )
    assert (
        "\n\n**Warning:** the supernet was given up: the loss became nan\n\n## What was asked"
        in report(STUDY, TRIALS, warned, a_plan())
    )


class TestFront:
    """What is not beaten in all objectives."""

    def test_without_other_objectives_it_is_of_score_and_parameters(self):
        """The measured 32 parameters, not those of the table."""
        assert rows(PAGE, "Pareto front") == [
            ["1", "search", "lora@attention.query 4 in block 0", "0.9000", "32"]
        ]
        assert "| trial | purpose | configuration | accuracy | parameters |" in PAGE
        assert "Its hypervolume is 0.1391, 0 after the first baseline;" in PAGE
        assert "measured from accuracy 0.7500, parameters 440: the lowest score" in PAGE

    def test_other_objectives_have_their_units(self):
        study = replace(STUDY, objectives=("score", "flops", "memory", "latency"))
        costs = {"flops": 1.5e6, "memory": 3.5 * 2**20, "latency": 0.0123}
        trials = [replace(t, measurement=replace(t.measurement, **costs)) for t in TRIALS[:2]]

        page = report(study, tuple(trials), ANSWER, a_plan())

        assert rows(page, "Pareto front")[0][3:] == ["0.9000", "1,500,000", "3.5 MiB", "12.3 ms"]
        asked = {row[0]: row[1] for row in rows(page, "What was asked")}
        assert asked["objectives"] == "score, flops, memory, latency"


HALVED = replace(STUDY, rungs=RUNGS)


class TestRungs:
    """Where trials pause."""

    PAUSED = (
        a_paused(0, 0.3, 0.4, 0.75, purpose=Purpose.BASELINE, label="plain LoRA"),
        a_paused(1, 0.35),
        a_paused(2, 0.5, 0.6),
        a_paused(3, 0.4, 0.8, 0.9),
        a_paused(4, 0.2, 0.3).promoted(1.0).started().out_of_memory("MemoryError"),
        a_paused(5, 0.1).promoted(0.3),
        final(6, 3, 35),
    )
    PAGE = report(HALVED, PAUSED, ANSWER, a_plan())

    def test_it_is_told_how_many_were_measured_at_each_and_went_on(self):
        assert rows(self.PAGE, "Rungs") == [
            ["10%", "6", "5", "0.5000"],
            ["30%", "4", "3", "0.8000"],
            ["100%", "2", "", "0.9000"],
        ]

    def test_every_trial_has_its_score_at_each(self):
        cells = [[row[0], *row[5:8]] for row in rows(self.PAGE, "Trials")]

        assert cells == [
            ["0", "0.3000", "0.4000", "0.7500"],
            ["1", "0.3500", "", "paused at 10%"],
            ["2", "0.5000", "0.6000", "paused at 30%"],
            ["3", "0.4000", "0.8000", "0.9000"],
            ["4", "0.2000", "0.3000", "MemoryError"],
            ["5", "0.1000", "", "waiting"],
            ["6", "", "", "0.8750"],
        ]

    def test_what_was_asked_tells_them(self):
        asked = {row[0]: row[1] for row in rows(self.PAGE, "What was asked")}

        assert (
            asked["rungs"]
            == "a trial pauses at 10%, 30% of its training; the best third so far goes on"
        )
        assert "every trial is trained to the end" in PAGE
        assert rows(PAGE, "Rungs") == []

    def test_the_seconds_of_a_trial_are_those_of_all_its_parts(self):
        assert [row[-1] for row in rows(self.PAGE, "Trials")][:4] == ["4.5", "1.5", "3.0", "4.5"]


class TestTrust:
    """How far the inherited scores can be trusted."""

    HEADING = "How far the inherited scores can be trusted"

    def section(self, study=STUDY, trials=TRIALS, **changes):
        page = report(study, trials, replace(ANSWER, **changes), a_plan(study))
        return page.partition(f"## {self.HEADING}\n")[2].partition("\n## ")[0]

    def ranking(self, mean, pairs=6):
        tau = Interval(mean=mean, low=-0.1, high=1.0)
        rho = replace(tau, mean=0.7)
        return Ranking(tau=tau, rho=rho, pairs=pairs, share=0.1, against="loss")

    def test_it_shows_both_correlations_with_their_intervals_and_pairs(self):
        found = self.section(ranking=self.ranking(11 / 15))

        assert "6 configurations, drawn across the range" in found
        assert "for 10% of a training" in found
        assert "inherited scores and the losses that were measured put them in" in found
        assert "inherited score against loss" in found
        assert "| Kendall's tau-b | 0.733 [-0.100, 1.000] |" in found
        assert "| Spearman's rho | 0.700 [-0.100, 1.000] |" in found

    def test_an_older_answer_was_held_against_scores(self):
        older = replace(self.ranking(11 / 15), against="score")

        assert "inherited scores and their real scores put them in" in self.section(ranking=older)

    @pytest.mark.parametrize(
        ("strategy", "mean", "pairs", "words"),
        [
            (
                "autopeft",
                11 / 15,
                6,
                "3% agrees as well or better by chance. Inherited scores guided the search.",
            ),
            ("autopeft", 9 / 15, 6, "Above 5% that counts as chance. The search leaned on real"),
            (
                "autopeft",
                1.0,
                3,
                "Fewer than 5 are too few to tell how far inherited scores are",
            ),
            (
                "evolution",
                0.2,
                6,
                "The strategy `evolution` goes by inherited scores all the same",
            ),
        ],
    )
    def test_it_says_what_followed(self, strategy, mean, pairs, words):
        study = replace(STUDY, strategy=strategy)

        assert words in self.section(study, ranking=self.ranking(mean, pairs))

    def test_it_says_so_where_nothing_is_known(self):
        guided = replace(TRIALS[1], proposal=replace(TRIALS[1].proposal, inherited=0.8125))
        page = report(STUDY, (guided,), ANSWER, a_plan())

        assert "so nothing is known" in self.section(trials=(guided,))
        assert rows(page, "Trials")[0][5:7] == ["0.8125", "0.9000"]

    def test_it_says_so_where_there_were_none(self):
        given_up = {"warnings": ("the supernet was given up",)}

        assert "There were none" in self.section(replace(STUDY, strategy="autopeft"), **given_up)

    def test_a_search_that_had_nothing_to_inherit_does_not_mention_it(self):
        assert self.section() == ""


def test_options_and_earlier_studies_are_told():
    earlier = ("abc:7.2", "def:3", "aaa:", "old")
    study = replace(STUDY, options={"walk": "8", "batch": "4"}, earlier=earlier)
    asked = {
        row[0]: row[1] for row in rows(report(study, TRIALS, ANSWER, a_plan()), "What was asked")
    }

    assert asked["strategy"] == "random, seed 0, options walk=8, batch=4"
    assert asked["first points"] == (
        "from trials 7, 2 of the earlier study abc, trial 3 of the earlier study def, the earlier "
        "study aaa (nothing of it fits), the earlier study old"
    )


def test_the_cost_is_told_part_by_part():
    """Every measured trial has taken 1.5 seconds."""
    costly = replace(ANSWER, prepared=12.0)

    assert rows(PAGE, "Cost") == [
        ["baselines", "1", "1.5"],
        ["search", "4", "1.5"],
        ["finals", "2", "3.0"],
        ["together", "7", "6.0"],
    ]
    page = report(STUDY, TRIALS, costly, a_plan())
    assert rows(page, "Cost")[0] == ["before the trials", "", "12.0"]
    assert rows(page, "Cost")[-1] == ["together", "7", "18.0"]


def test_the_operators_that_ran_are_told_with_their_forms():
    """Records of before they were kept say nothing, and neither does their report."""
    trials = tuple(
        replace(t, measurement=replace(t.measurement, operators=("lora_linear (eager)",)))
        if t.measurement
        else t
        for t in TRIALS
    )

    page = report(STUDY, trials, ANSWER, a_plan())

    assert "each with its form: `lora_linear (eager)` in 4 trials. Naive is" in page
    assert "Operators that ran" not in PAGE


def test_a_probe_is_named_and_shows_its_configuration():
    probe = replace(TRIALS[1], proposal=replace(TRIALS[1].proposal, label="probe", inherited=0.5))
    again = replace(probe, number=2, proposal=replace(probe.proposal, purpose=Purpose.FINAL, of=1))
    page = report(STUDY, (TRIALS[0], probe, again), ANSWER, a_plan())

    assert rows(page, "Trials")[1][2] == "probe: lora@attention.query 4 in block 0"
    assert rows(page, "Trials")[2][2] == "lora@attention.query 4 in block 0"
    assert rows(page, "Pareto front")[0][2] == "probe: lora@attention.query 4 in block 0"


def test_an_answer_without_a_comparison_has_a_report_too():
    alone = (a_trial(0, 0.9, predictions=[int(y) for y in TRUTH], purpose=Purpose.SEARCH),)
    found = answer(STUDY, alone, TRUTH, accuracy)

    page = report(STUDY, alone, found, a_plan())

    assert len(rows(page, "Finalists")) == 1
    assert "Searched minus baseline" not in page


def test_a_space_too_large_for_a_float_is_reported():
    """Forty blocks of every method hold more than 1e308 configurations."""
    deep = bert_shaped("deep", blocks=40, width=8, feedforward=16, parameters=10**6)
    study = replace(STUDY, backbone=deep, space=read_space("unified").on(deep))

    assert study.space.size > 10**308
    page = report(study, (), ANSWER, a_plan())
    assert f"unified, {Decimal(study.space.size):.3g} configurations" in page
