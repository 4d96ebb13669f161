"""A study in a file that Optuna reads."""

from dataclasses import replace

import optuna
import pytest

from autopeft.errors import OutputError
from autopeft.search_spaces.configuration import Configuration
from autopeft.strategies.optuna_file import write_optuna
from autopeft.trial import Purpose, State, Trial
from tests.contracts.store import a_measurement, a_proposal, a_study, an_answer


def trials():
    """One of each way in which a trial ends, and one that has not."""
    proposal = a_proposal()
    outside = replace(
        proposal, configuration=Configuration(((4,), (4,))), purpose=Purpose.BASELINE, label="lora"
    )
    paused = replace(Trial(number=2, proposal=proposal).done(a_measurement(0.4)))
    return [
        Trial(number=0, proposal=proposal).done(a_measurement(0.9)),
        Trial(number=1, proposal=outside).done(a_measurement(0.8)),
        replace(paused, state=State.PAUSED),
        replace(Trial(number=3, proposal=proposal), state=State.FAILED, failure="nan"),
        Trial(number=4, proposal=proposal),
    ]


def loaded(file, study):
    return optuna.load_study(study_name=study.id, storage=f"sqlite:///{file}")


def test_optuna_reads_back_what_was_measured(tmp_path):
    study = a_study()

    file = write_optuna(study, trials(), an_answer(), tmp_path / "optuna.db")
    found = loaded(file, study)

    assert [t.state.name for t in found.trials] == ["COMPLETE", "COMPLETE", "PRUNED", "FAIL"]
    assert found.best_value == 0.9
    assert found.best_params == {"block 0": 1, "block 1": 2, "learning rate of lora": 1e-3}
    assert found.best_trial.distributions["block 0"].choices == (0, 1, 2)
    assert found.best_trial.user_attrs["parameters"] == 24
    assert found.best_trial.user_attrs["trains"] == "lora@attention.query 1-2"
    assert found.user_attrs["answer"] == an_answer().sentence()
    assert found.metric_names == ["accuracy"]


def test_a_baseline_outside_of_the_space_has_its_rates_alone(tmp_path):
    study = a_study()

    baseline = loaded(write_optuna(study, trials(), None, tmp_path / "o.db"), study).trials[1]

    assert set(baseline.params) == {"learning rate of lora"}
    assert baseline.user_attrs["label"] == "lora"


def test_several_objectives_keep_their_natural_direction(tmp_path):
    study = replace(a_study(), objectives=("score", "params"))

    found = loaded(write_optuna(study, trials()[:1], None, tmp_path / "o.db"), study)

    assert [direction.name for direction in found.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert found.trials[0].values == [0.9, 24.0]


def test_a_file_is_replaced(tmp_path):
    study = a_study()

    for count in (4, 1):
        write_optuna(study, trials()[:count], None, tmp_path / "o.db")

    assert len(loaded(tmp_path / "o.db", study).trials) == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"cannot write .*o\.db: .*; give another --out"):
        write_optuna(a_study(), trials(), None, tmp_path / "nowhere" / "o.db")
