"""Which class fills which socket."""

import pytest

from autopeft.errors import OptionError, StudyError
from autopeft.executors.inline import InlineExecutor
from autopeft.storage.memory import MemoryStore
from autopeft.storage.processes import Process
from autopeft.study import Limits
from autopeft.wiring.sockets import executor_of, run, shared_of
from autopeft.wiring.watched import Watch, WatchedInheritance
from tests.builders import a_measurement, a_study


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


def test_a_pack_that_cannot_be_is_refused():
    with pytest.raises(OptionError, match="--pack must be at least 1, not 0"):
        executor_of("inline", 1, 0)


@pytest.mark.parametrize("name", ["random", "tpe", "gp", "s4"])
def test_most_strategies_go_by_measured_trials_alone(tmp_path, name):
    assert shared_of(a_study(strategy=name), tmp_path, 1, None) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["autopeft", "evolution", "s3pet", "bipeft"])
def test_what_a_strategy_shares_is_built_without_loading_anything(tmp_path, name):
    shared = shared_of(a_study(strategy=name), tmp_path, 1, None)

    assert shared is not None
    assert list(tmp_path.iterdir()) == []


class SlowWeights:
    """Takes ten minutes to prepare, with a word every minute; ``meanwhile`` runs after each."""

    problem = ""

    def __init__(self, clock, meanwhile):
        self.clock, self.meanwhile = clock, meanwhile

    def prepare(self):
        for minute in range(1, 11):
            self.clock["now"] += 60.0
            yield minute / 10
            self.meanwhile()

    def scores(self, configurations):
        return (float(-number) for number, _ in enumerate(configurations))


class AtOnce:
    def evaluate(self, trials):
        for trial in trials:
            yield trial.done(a_measurement(0.5))


def test_a_study_stays_held_while_a_supernet_is_prepared_for_minutes():
    """A process of another host may take over a study that was silent for two minutes."""
    clock, host, refused = {"now": 1e9}, ["here"], []
    store = MemoryStore(
        clock=lambda: clock["now"],
        process=lambda: Process(host=host[0], namespace="", pid=7, started=0),
    )
    study = a_study(strategy="evolution", options={"evaluations": "8"}, finals=0)

    def another_host_tries():
        host[0] = "there"
        with pytest.raises(StudyError, match="is being run by process 7 on host here"):
            store.lease(study.id).__enter__()
        host[0] = "here"
        refused.append(clock["now"])

    shared = WatchedInheritance(SlowWeights(clock, another_host_tries), Watch())

    list(run(study, Limits(trials=8), store=store, evaluator=AtOnce(), shared=shared))

    assert len(refused) == 10
    assert any(t.proposal.inherited is not None for t in store.trials(study.id))
