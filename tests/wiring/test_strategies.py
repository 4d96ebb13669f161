"""Strategies by name, and their options."""

import pytest

from autopeft.errors import OptionError, SpaceError
from autopeft.strategies.baselines import BaselinesFirst
from autopeft.wiring.strategies import STRATEGIES, check_space, options_of, strategy_of
from tests.builders import MINI_LM, SMALL_SPACE, a_study, space_on


class Nothing:
    """An inheritance, or structures, that there are none of."""

    problem = "the supernet was given up"

    def prepare(self):
        yield from ()

    def scores(self, configurations):
        yield from ()


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_that_is_named_can_be_had(name):
    found = strategy_of(a_study(strategy=name), Nothing())

    assert isinstance(found, BaselinesFirst)
    assert found.ask() is not None


def test_what_a_strategy_needs_must_be_given():
    with pytest.raises(ValueError, match="the strategy autopeft needs its inheritance"):
        strategy_of(a_study(strategy="autopeft"))


def test_a_strategy_that_there_is_none_of_is_refused():
    message = "there is no strategy 'oracle': there are autopeft, tpe, "
    with pytest.raises(OptionError, match=message):
        options_of("oracle", ())
    with pytest.raises(OptionError, match=message):
        strategy_of(a_study(strategy="oracle"))


def test_options_are_read():
    assert options_of("autopeft", ["probes=8", " evaluations = 50"]) == {
        "probes": "8", "evaluations": "50",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("strategy", "option", "message"),
    [
        ("autopeft", "probes", "cannot read the option 'probes': write it as KEY=VALUE"),
        ("autopeft", "=3", "cannot read the option '=3'"),
        ("autopeft", "proofs=3", "has no option 'proofs': there are evaluations, probes"),
        ("autopeft", "probes=two", "the option probes must be a whole number from 5, not 'two'"),
        ("autopeft", "probes=4", "must be a whole number from 5, not '4'"),
        ("random", "probes=3", "the strategy 'random' has no options, and got probes"),
    ],
)
def test_an_option_that_cannot_be_is_refused(strategy, option, message):
    with pytest.raises(OptionError, match=message):
        options_of(strategy, [option])


@pytest.mark.parametrize(
    ("strategy", "options", "space", "error", "message"),
    [
        ("evolution", {"mutation": "noah"}, SMALL_SPACE, OptionError, "'small' has none: take"),
        ("s3pet", {}, space_on(MINI_LM, "noah"), SpaceError, "deep_prompt adds cannot be weighed"),
        ("bipeft", {}, space_on(MINI_LM, "noah"), SpaceError, "deep_prompt adds cannot be weighed"),
    ],
)
def test_a_space_that_a_strategy_cannot_search_is_refused_before_anything_is_loaded(
    strategy, options, space, error, message
):
    with pytest.raises(error, match=message):
        check_space(strategy, options, space)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_space_that_a_strategy_can_search_is_not_refused(strategy):
    check_space(strategy, {}, SMALL_SPACE)
