"""A packed training equals the same training alone for every kind of task and data."""

from dataclasses import replace

import numpy as np
import pytest

from tests.kinds import bench_of, continued, save_model, tagged, write_json, write_pictures
from tests.models import save_tiny
from tests.training.packing.packs import alone, assert_equal, in_rows, packed, wanted

ONE_PASS, IN_TURN = {"most": 2**30, "small": 2**30}, {"most": 0}


def of_json(folder, kind, family, rows, **task):
    data = write_json(folder / "data.jsonl", rows)
    return bench_of(save_model(folder / "model", kind, family), data, kind, **task)


def of_images(folder):
    data = write_pictures(folder / "data", 48)
    return bench_of(save_tiny(folder / "model", "vit"), data, "image")


KINDS = {
    "images": of_images,
    "tokens": lambda folder: of_json(folder, "tokens", "bert", tagged(48)),
    "gpt2": lambda folder: of_json(folder, "causal_lm", "gpt2", continued(48)),
    "llama": lambda folder: of_json(folder, "causal_lm", "llama", continued(48)),
    "t5": lambda folder: of_json(folder, "seq2seq", "t5", continued(48)),
    "bart": lambda folder: of_json(folder, "seq2seq", "bart", continued(48)),
}
SLOW = ("llama", "bart")


@pytest.fixture(
    scope="module",
    params=[pytest.param(k, marks=pytest.mark.slow if k in SLOW else ()) for k in KINDS],
)
def bench(request, tmp_path_factory):
    return KINDS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("way", [ONE_PASS, IN_TURN], ids=["in one pass", "in turn"])
def test_what_trains_together_ends_as_alone(bench, way):
    """From the first block, above others, with data in another order, and nothing but the head."""
    methods = {slot.method: slot.name for slot in bench.slots}
    lora, adapter = {methods["lora"]: 2}, {methods["parallel_adapter"]: 3}
    last = bench.backbone.blocks - 1
    trainings = [
        wanted(bench, lora),
        wanted(bench, lora | adapter, seed=1, batch_size=8),
        wanted(bench, in_rows(bench, lora, {last})),
        wanted(bench, {methods["bitfit"]: 1}),
    ]

    found_together = packed(bench, trainings, **way)

    for one, found in zip(trainings, found_together, strict=True):
        expected = alone(bench, one)
        assert_equal(found if bench.task.labels else rounded(found, expected), expected)


def rounded(found, expected):
    """Return a training with the other's predictions, where they are numbers and close to its."""
    one, other = found.measurement, expected.measurement
    predicted = [np.frombuffer(m.predictions, "<f4") for m in (one, other)]
    np.testing.assert_allclose(*predicted, rtol=1e-3, atol=1e-5)
    assert one.score == pytest.approx(other.score, rel=1e-4)
    same = replace(one, score=other.score, predictions=other.predictions)
    return replace(found, measurement=same)
