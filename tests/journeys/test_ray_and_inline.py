"""The same study gives the same answers whoever runs its trials."""

import pytest

from autopeft.records import to_json
from autopeft.storage.memory import MemoryStore
from autopeft.study import DataFiles, Limits
from autopeft.wiring.conclude import conclude
from autopeft.wiring.request import Request, study_of
from autopeft.wiring.sockets import run
from tests.journeys.commands import MODEL, sample


def outcomes(study, executor):
    """Run a study and return what was measured, times apart."""
    store = MemoryStore()
    running = run(study, Limits(trials=10), store=store, executor=executor, threads=1)
    for _ in running:
        pass
    answer, _ = conclude(study, store)
    trials = [to_json(trial) for trial in store.trials(study.id)]
    for trial in trials:
        del trial["measurement"]["seconds"]
    return trials, answer


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_ray_and_inline_agree(tmp_path):
    """Every proposal, prediction and score is equal, and so is the answer."""
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
        )
    )

    assert outcomes(study, "ray") == outcomes(study, "inline")
