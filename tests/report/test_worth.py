"""What is said of importances and ablations."""

from dataclasses import replace

from autopeft.report.content import Bars, Table, Text, Warned
from autopeft.report.mattering import Importance
from autopeft.report.worth import ablated, mattered
from tests.report.studies import ABLATION, IMPORTANCE, STUDY


def of(kind, parts):
    return [part for part in parts if isinstance(part, kind)]


def test_what_is_beyond_chance_is_named():
    parts = mattered(IMPORTANCE)

    assert parts[0] == Text("Scores vary most with lora@attention.query (40%).")
    assert [row[3] for row in of(Table, parts)[0].rows] == ["yes", "no", "no"]
    assert next(bar.label for bar in of(Bars, parts)[0].bars) == "lora@attention.query"
    assert "From 40 trials measured at 100% of a training" in parts[-1].text


def test_it_is_said_where_nothing_is_beyond_chance_or_nothing_is_known():
    nothing = replace(IMPORTANCE, shares=IMPORTANCE.shares[1:])
    few = Importance(trials=7, at=1.0, problem="7 trials are too few.")

    assert "these trials do not tell what matters" in mattered(nothing)[0].text
    assert mattered(few) == (Text("7 trials are too few."),)
    assert mattered(None) == ()


def test_an_ablation_says_what_each_group_is_worth_with_its_interval():
    parts = ablated(STUDY, ABLATION)
    table = of(Table, parts)[0]

    assert [row[0] for row in table.rows] == [
        "without lora", "without block 0", "without block 1", "without ia3",
    ]  # fmt: skip
    assert [row[4] for row in table.rows] == [
        "needed", "no difference beyond noise", "better without", "not measured",
    ]  # fmt: skip
    assert table.rows[0][3] == "0.300 [0.200, 0.400]"
    assert table.rows[3][3] == "diverged: the loss is nan"
    assert [bar.label for bar in of(Bars, parts)[0].bars] == ["lora", "block 0", "block 1"]
    assert "over 40 validation examples and the seeds" in parts[0].text
    assert of(Warned, parts) == []
    assert ablated(STUDY, None) == ()


def test_one_seed_and_data_that_is_gone_are_told():
    parts = ablated(STUDY, replace(ABLATION, seeds=(1,), examples=0))

    assert "over the seeds alone, since the data could not be read again" in parts[0].text
    assert "no noise between seeds" in of(Warned, parts)[0].text


def test_an_ablation_of_which_nothing_could_be_measured_has_no_picture():
    failed = replace(ABLATION, effects=ABLATION.effects[3:])

    assert of(Bars, ablated(STUDY, failed)) == []
