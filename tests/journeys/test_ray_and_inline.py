"""The same study gives the same answers whoever runs its trials."""

import pytest

from autopeft.records import to_json
from autopeft.storage.memory import MemoryStore
from autopeft.study import DataFiles, Limits
from autopeft.wiring.conclude import conclude
from autopeft.wiring.request import Request, study_of
from autopeft.wiring.sockets import evaluator_of, run
from tests.journeys.commands import MODEL, sample


def outcomes(study, executor, folder):
    """Run a study and return what was measured, times apart."""
    store, evaluator = MemoryStore(), evaluator_of(study, 1, 1, folder / executor)
    for _ in run(study, Limits(trials=10), store=store, executor=executor, evaluator=evaluator):
        pass
    answer, _ = conclude(study, store)
    trials = [to_json(trial) for trial in store.trials(study.id)]
    for trial in trials:
        for measured in (*trial["rungs"], trial["measurement"]):
            del measured["seconds"]
    return trials, answer


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_ray_and_inline_agree(tmp_path):
    """Every proposal, pause, prediction and score is equal, and so is the answer."""
    study = study_of(
        Request(
            model=MODEL,
            data=DataFiles(train=str(sample(tmp_path))),
            budget="1%",
            space="autopeft",
            strategy="tpe",
            seed=0,
            epochs=1,
            finals=1,
            rungs="1/3",
        )
    )

    found = outcomes(study, "ray", tmp_path)
    assert found == outcomes(study, "inline", tmp_path)
    assert {len(trial["rungs"]) for trial in found[0]} == {0, 1}
