from dataclasses import replace

import pytest

from autopeft.search_spaces.catalog import slots_of
from autopeft.study import Where
from autopeft.training.estimate import estimate
from autopeft.training.model_files import find_model
from autopeft.training.shape import read_backbone
from autopeft.training.trainer import Trainer
from autopeft.trial import Fidelity
from tests.models import (
    ENCODERS,
    MINILM,
    opinions,
    recipe_of,
    save_tiny,
    sentiment_rows,
    table,
    task_of,
    write_rows,
)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Return the arguments of an estimate on a real model, but for the recipe."""
    data = write_rows(tmp_path_factory.mktemp("data") / "data.csv", sentiment_rows(120))
    return task_of(data), read_backbone(find_model(MINILM)), Where(model=MINILM, data=data)


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_architecture_can_be_estimated(tmp_path, family, precision):
    where = Where(
        model=str(save_tiny(tmp_path / "model", family)),
        data=write_rows(tmp_path / "data.csv", opinions(60)),
    )
    backbone = read_backbone(find_model(where.model))

    found = estimate(task_of(where.data), backbone, where, recipe_of(epochs=3, precision=precision))

    assert found.steps == 9
    assert found.seconds > 0
    assert 5 <= found.tokens <= 12
    assert found.memory > 4 * backbone.parameters


def test_time_grows_with_the_epochs_and_memory_with_the_batch(real):
    short, long, wide = (
        estimate(*real, recipe_of(**recipe))
        for recipe in ({"epochs": 1}, {"epochs": 50}, {"batch_size": 64})
    )

    assert long.seconds > 5 * short.seconds
    assert (short.steps, long.steps, wide.steps) == (5, 250, 2)
    assert wide.memory > short.memory + 50_000_000


def test_it_loads_no_weights(real, tmp_path):
    """A file of the right name and nothing in it is enough."""
    task, _, where = real
    folder = save_tiny(tmp_path / "model", max_position_embeddings=160)
    (folder / "model.safetensors").write_bytes(b"")
    where = replace(where, model=str(folder))

    found = estimate(task, read_backbone(find_model(where.model)), where, recipe_of())

    assert found.seconds > 0


def test_dropout_is_that_of_the_recipe_and_not_of_the_backbone(real):
    """Its masks take memory, and on a CPU it takes much of the time."""
    without, with_dropout = (estimate(*real, recipe_of(dropout=p)).memory for p in (0.0, 0.1))

    assert with_dropout > without


@pytest.mark.slow
def test_time_is_right_within_a_small_factor_on_a_real_model(real):
    """A machine that is shared allows no more than that."""
    task, backbone, where = real
    recipe = recipe_of()
    trainer = Trainer.open(task, backbone, where, test=False, threads=1)
    slots = slots_of(backbone)
    lora = table(slots, 6, {"lora@attention.query": 8, "lora@attention.value": 8})
    with trainer.tuned(slots, lora, recipe, 0) as tuned:
        *_, measured = trainer.measure(tuned, 0, Fidelity())

    assert 1 / 4 < estimate(task, backbone, where, recipe).seconds / measured.seconds < 4
