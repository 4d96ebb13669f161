"""Which class fills which socket."""

import pytest

from autopeft.errors import OptionError
from autopeft.executors.inline import InlineExecutor
from autopeft.wiring.sockets import executor_of, shared_of
from tests.builders import a_study


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


@pytest.mark.parametrize("name", ["random", "tpe", "gp", "s4"])
def test_most_strategies_go_by_measured_trials_alone(tmp_path, name):
    assert shared_of(a_study(strategy=name), tmp_path, 1, None) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["autopeft", "evolution", "s3pet", "bipeft"])
def test_what_a_strategy_shares_is_built_without_loading_anything(tmp_path, name):
    shared = shared_of(a_study(strategy=name), tmp_path, 1, None)

    assert shared is not None
    assert list(tmp_path.iterdir()) == []
