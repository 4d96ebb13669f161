"""Objectives and rungs, as they are written."""

import pytest

from autopeft.errors import OptionError
from autopeft.wiring.aims import check_rungs, objectives_of, rungs_of


def test_objectives_are_read_in_the_order_in_which_they_are_named():
    assert objectives_of("score") == ("score",)
    assert objectives_of("score, latency,params") == ("score", "latency", "params")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("score,speed", "there is no objective 'speed': there are score, params, flops"),
        ("params", "name score first"),
        ("score,score", "every other objective once"),
        ("", "there is no objective ''"),
    ],
)
def test_objectives_that_cannot_be_are_refused(text, message):
    with pytest.raises(OptionError, match=message):
        objectives_of(text)


def test_rungs_are_read_and_end_with_the_whole_training():
    assert rungs_of("1/9,1/3", "tpe", 90) == (0.111111, 0.333333, 1.0)
    assert rungs_of("0.5, 1", "tpe", 90) == (0.5, 1.0)
    assert rungs_of("1", "autopeft", 90) == (1.0,)


def test_only_the_default_strategy_stops_trials_unless_it_is_asked_for():
    assert rungs_of(None, "autopeft", 90) == (0.333333, 1.0)
    assert rungs_of(None, "tpe", 90) == (1.0,)


@pytest.mark.parametrize("text", ["", "0,1", "2", "1/3,1/9", "1/3,1/3", "a", "1/0", "-1/3", "nan"])
def test_rungs_that_are_no_ascending_shares_are_refused(text):
    with pytest.raises(OptionError, match="write ascending shares of a training"):
        rungs_of(text, "tpe", 90)


def test_a_usual_rung_of_hardly_a_step_is_left_out():
    """A third of 45 steps are fifteen, which is one too few."""
    assert rungs_of(None, "autopeft", 48) == (0.333333, 1.0)
    assert rungs_of(None, "autopeft", 45) == (1.0,)
    assert rungs_of("1/9", "autopeft", 45) == (0.111111, 1.0)


def test_a_rung_of_less_than_a_step_is_refused():
    message = "the rung 0.01 is less than one step: the whole training has 90"
    with pytest.raises(OptionError, match=message):
        rungs_of("0.01", "tpe", 90)


@pytest.mark.parametrize("text", [None, "1e-9", "1/9,1/3"])
def test_what_only_the_data_can_refuse_is_not_refused_before(text):
    check_rungs(text)
