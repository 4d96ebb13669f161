"""What makes a pack: what has something to share, as far as memory reaches."""

import math

import pytest

from autopeft.training.packing.cost import SMALL, packs
from autopeft.training.room import Room
from tests.models import FEW, MANY, Bench, opinions, save_tiny, write_rows
from tests.training.packing.packs import in_rows, wanted

UPPER = {"lora@attention.query": 2}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return Bench(save_tiny(folder / "model"), write_rows(folder / "data.csv", opinions(80)))


def divided(bench, trainings):
    return packs(bench.trainer, bench.slots, [one.proposal for one in trainings])


def test_small_batches_go_together(bench):
    assert divided(bench, [wanted(bench, FEW), wanted(bench, MANY, seed=1)]) == [[0, 1]]


def test_larger_ones_go_together_where_lora_is_all_that_they_have(bench):
    """Of 1.5 halves of the bound, above that of other methods."""
    example = bench.trainer.parts["train"].lengths.mean() * bench.backbone.width
    large = {"batch_size": int(0.75 * SMALL / example)}
    lora, adapter = {"lora@attention.query": 2}, {"serial_adapter@ffn.output": 2}

    trainings = [wanted(bench, sizes, **large) for sizes in (lora, adapter, lora | adapter, lora)]

    assert divided(bench, trainings) == [[0, 3], [1], [2]]


def test_with_dropout_a_trial_shares_nothing_and_is_alone(bench):
    trainings = [wanted(bench, FEW), wanted(bench, FEW, dropout=0.1), wanted(bench, MANY)]

    assert divided(bench, trainings) == [[0, 2], [1]]


def test_a_method_that_cannot_pass_with_others_is_alone_unless_it_has_blocks_below(bench):
    prompts = {"prompt_tuning@embeddings": 2}
    above = in_rows(bench, {"poly@attention.query": 2}, {1})

    trainings = [wanted(bench, prompts), wanted(bench, above), wanted(bench, UPPER)]

    assert divided(bench, trainings) == [[0], [1, 2]]


@pytest.fixture
def bench_of_room(bench, monkeypatch):
    """Give the trainer other memory for one test."""

    def changed(room):
        monkeypatch.setattr(bench.trainer, "room", room)
        return bench

    return changed


def test_what_is_trained_by_all_of_a_pack_has_its_share_of_memory(bench_of_room):
    """A quarter of what may be used: under a limit that is what it leaves."""
    bench = bench_of_room(Room())
    trainings = [wanted(bench, MANY) for _ in range(5)]
    each = 16 * trainings[0].proposal.configuration.parameters(bench.slots)
    two = math.ceil(4 * 2.5 * each)

    for room in (
        Room(available=lambda: math.ceil(two / 0.9)),
        Room(share=1 / 2, available=lambda: math.ceil(2 * two / 0.9)),
        Room(300 * 2**20 + two, resident=lambda: 0),
    ):
        assert divided(bench_of_room(room), trainings) == [[0, 1], [2, 3], [4]]
    assert divided(bench_of_room(Room(1)), trainings) == [[0], [1], [2], [3], [4]]
