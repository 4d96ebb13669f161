"""Which class fills which socket."""

import pytest

from autopeft.errors import OptionError
from autopeft.executors.inline import InlineExecutor
from autopeft.strategies.baselines import BaselinesFirst
from autopeft.wiring.sockets import STRATEGIES, check_strategy, executor_of, strategy_of
from tests.builders import a_study


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_that_is_named_can_be_had(name):
    check_strategy(name)

    assert isinstance(strategy_of(a_study(strategy=name)), BaselinesFirst)


def test_a_strategy_that_there_is_none_of_is_refused():
    with pytest.raises(OptionError, match="there is no strategy 'oracle': there are tpe, random"):
        check_strategy("oracle")
    with pytest.raises(OptionError, match="there is no strategy 'oracle': there are tpe, random"):
        strategy_of(a_study(strategy="oracle"))


def test_one_worker_needs_no_other_process():
    assert isinstance(executor_of("inline", 1), InlineExecutor)


@pytest.mark.parametrize(
    ("name", "workers", "message"),
    [
        ("cloud", 1, "there is no executor 'cloud': there are inline, ray"),
        ("inline", 0, "--workers must be at least 1, not 0"),
        ("inline", 2, "the executor 'inline' has one worker, not 2: add --executor ray"),
    ],
)
def test_an_executor_that_cannot_be_is_refused(name, workers, message):
    with pytest.raises(OptionError, match=message):
        executor_of(name, workers)
