"""The report of a study."""

from dataclasses import replace
from decimal import Decimal

import pytest

from autopeft.plan import VERSION, Expected, Plan, Provenance
from autopeft.report import report
from autopeft.search_spaces.written.reading import read_space
from autopeft.selection import answer
from autopeft.trial import Purpose, Trial
from tests.builders import TASK, WHERE, a_proposal, a_study, a_trial, bert_shaped
from tests.test_selection import TRUTH, accuracy, baseline, final, searched

STUDY = a_study()
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
    assert table[0] == ["0", "baseline", "plain LoRA", "lora 0.001", "32", "0.7500", "1.5"]
    assert table[1][2:6] == ["lora@attention.query 4 in block 0", "lora 0.001", "64", "0.9000"]
    assert [row[5] for row in table[2:5]] == ["ValueError: a ¦ b", "MemoryError", "waiting"]
    assert [row[1] for row in table[5:]] == ["final of 1", "final of 0"]


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

    assert "| log_likelihood | perplexity | s |" in page
    assert table[1][5:7] == ["-0.9000", "2.46"]
    assert table[3][6] == ""
    assert {len(row) for row in table} == {8}
    assert {len(row) for row in rows(page, "Finalists")} == {7}


def test_sites_that_were_found_by_structure_are_said_to_be():
    strange = replace(STUDY, backbone=replace(STUDY.backbone, architecture="mpnet"))
    page = report(strange, TRIALS, ANSWER, a_plan())

    assert "where its sites are was found by its structure: `autopeft backbone" in page
    assert "by its structure" not in PAGE


@pytest.mark.parametrize("heading", ["What was asked", "Finalists", "Trials"])
def test_every_row_of_a_table_has_as_many_cells_as_its_head(heading):
    widths = {len(row) for row in rows(PAGE, heading)}

    assert len(widths) == 1


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
