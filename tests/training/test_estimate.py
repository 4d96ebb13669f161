from dataclasses import replace

import pytest

from autopeft.search_spaces.catalog import slots_of
from autopeft.study import Where
from autopeft.tasks.reading import read_task
from autopeft.training.estimate import estimate
from autopeft.training.model_files import find_model
from autopeft.training.shape import read_backbone
from autopeft.training.trainer import Trainer
from autopeft.trial import Fidelity
from tests.kinds import continued, save_model, tagged, write_json, write_pictures
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


@pytest.mark.parametrize(
    ("kind", "family", "task"),
    [
        ("tokens", "bert", {}),
        ("causal_lm", "gpt2", {}),
        ("causal_lm", "llama", {"loss": "all"}),
        ("causal_lm", "gemma2", {"text": "prompt"}),
        ("seq2seq", "t5", {}),
        ("seq2seq", "bart", {}),
        ("image", "vit", {"head": "cls"}),
        ("image", "dinov2", {}),
        ("image", "clip", {}),
    ],
)
def test_every_kind_of_task_can_be_estimated(tmp_path, kind, family, task):
    if kind == "image":
        data = write_pictures(tmp_path / "data", 40)
    else:
        rows = tagged(40) if kind == "tokens" else continued(40)
        data = write_json(tmp_path / "data.jsonl", rows)
    where = Where(model=str(save_model(tmp_path / "model", kind, family)), data=data)
    backbone = read_backbone(find_model(where.model))

    found = estimate(read_task(data, kind=kind, **task), backbone, where, recipe_of(epochs=3))

    assert found.steps == 6
    assert found.seconds > 0
    assert found.memory > 4 * backbone.parameters


def test_more_blocks_take_more_time_and_memory(tmp_path):
    """What a second block adds is taken for every further one."""
    data = write_rows(tmp_path / "data.csv", opinions(60))
    found = []
    for blocks in (2, 40):
        model = save_tiny(tmp_path / str(blocks), num_hidden_layers=blocks)
        backbone = read_backbone(find_model(str(model)))
        where = Where(model=str(model), data=data)
        found.append(estimate(task_of(data), backbone, where, recipe_of()))

    weights = 4 * 38 * 12_000  # bytes, of 38 blocks with at least so many parameters
    assert found[1].seconds > 3 * found[0].seconds
    assert found[1].memory - found[0].memory > weights / 2


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


def test_under_a_limit_it_tells_of_pieces_and_of_blocks_that_run_twice(real):
    """Pieces are no smaller than they need to be, and what is free is taken whole."""
    task, backbone, where = real
    recipe = recipe_of(batch_size=64)
    free = estimate(task, backbone, where, recipe)
    spare = 300 * 2**20
    room = 2 * free.memory  # of which a tenth or so is spared
    ample = estimate(task, backbone, where, recipe, room)

    tight = estimate(task, backbone, where, recipe, free.memory + spare - 30_000_000)
    narrow = estimate(task, backbone, where, recipe, spare + 400_000_000)

    assert (ample.examples, ample.twice, ample.memory) == (64, False, free.memory)
    assert (tight.examples, tight.twice) == (32, False)
    assert tight.memory < free.memory - 30_000_000
    assert (narrow.examples, narrow.twice) == (0, True)
    assert narrow.memory > 400_000_000
