"""A packed training equals the same training alone, whatever it is packed with."""

import pytest
import torch

from autopeft.search_spaces.catalog import METHODS
from autopeft.training.loop import DivergedError
from autopeft.training.packing.turns import Wanted, together
from autopeft.training.pausing import Paused
from autopeft.trial import Measurement
from tests.models import (
    FAMILIES,
    FEW,
    MANY,
    SEQUENCE_TO_SEQUENCE,
    VISION,
    Bench,
    opinions,
    save_tiny,
    write_rows,
)
from tests.training.packing.packs import (
    alone,
    assert_equal,
    everywhere,
    in_rows,
    packed,
    wanted,
)

ONE_PASS, IN_TURN = {"most": 2**30, "small": 2**30}, {"most": 0}
LORA = {"lora@attention.query": 2, "lora@ffn.output": 2}
QUICK = ("bert", "llama")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return Bench(save_tiny(folder / "model"), write_rows(folder / "data.csv", opinions(80)))


def families():
    """Return those that read texts; two of them in every run."""
    texts = [family for family in FAMILIES if family not in {*VISION, *SEQUENCE_TO_SEQUENCE}]
    slow = pytest.mark.slow
    return [
        pytest.param(family, marks=() if family in QUICK else slow)
        for family in texts
        if not family.startswith("clip")
    ]


@pytest.fixture(scope="module", params=families())
def family(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    data = write_rows(folder / "data.csv", opinions(48))
    return Bench(save_tiny(folder / "model", request.param), data)


def methods():
    slow = pytest.mark.slow
    return [
        pytest.param(name, marks=slow if method.family == "opaque" else ())
        for name, method in METHODS.items()
    ]


@pytest.mark.parametrize(
    "most",
    [
        pytest.param(ONE_PASS, id="in one pass"),
        pytest.param(IN_TURN, id="in turn", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("method", methods())
def test_every_method_gives_in_a_pack_what_it_gives_alone(family, method, most):
    """At all of its sites, beside LoRA: what is alone in its lane is so too."""
    sizes = everywhere(family.slots, method)
    if not any(sizes.values()):
        pytest.skip(f"{family.backbone.architecture} has no place for {method}")
    linear = next(slot.name for slot in family.slots if slot.method == "lora")
    trainings = [wanted(family, sizes), wanted(family, {linear: 2}), wanted(family, sizes)]

    found_together = packed(family, trainings, **most)

    for one, found in zip(trainings, found_together, strict=True):
        assert_equal(found, alone(family, one))


def test_different_methods_sizes_rates_seeds_and_batches_go_together(bench):
    """With another seed or batch size a lane has other data: it is padded to the longest."""
    rates = dict.fromkeys(METHODS, 3e-3)
    trainings = [
        wanted(bench, MANY),
        wanted(bench, LORA, seed=1),
        wanted(bench, LORA, batch_size=8, learning_rates=rates),
        wanted(bench, {"serial_adapter@ffn.output": 4, "bitfit@block": 1}, seed=2, epochs=2),
        wanted(bench, {}),
        wanted(bench, {"lora@attention.query": 5, "adalora@ffn.input": 3}, weight_decay=0.1),
    ]

    found_together = packed(bench, trainings, **ONE_PASS)

    for one, found in zip(trainings, found_together, strict=True):
        assert_equal(found, alone(bench, one))


@pytest.mark.parametrize("seed", [3, 4])
def test_padding_is_each_ones_own_where_the_first_batch_has_none(bench, seed):
    """Models leave a mask out where nothing is padded, as in the first text of these batches."""
    trainings = [wanted(bench, {"prefix@attention": 2}, seed=seed, batch_size=8)] * 2

    found_together = packed(bench, trainings, **ONE_PASS)

    for one, found in zip(trainings, found_together, strict=True):
        assert_equal(found, alone(bench, one))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_below_all_of_them_is_shared(bench, precision):
    """The block that one changes is computed for the others, who change later ones or none."""
    trainings = [
        wanted(bench, in_rows(bench, sizes, rows), precision=precision)
        for sizes, rows in ((LORA, {1}), (FEW, {1}), (LORA, {0, 1}), ({}, ()))
    ]
    tolerance = 1e-5 if precision == "fp32" else 2e-2

    for most in (ONE_PASS, IN_TURN):
        found_together = packed(bench, trainings, **most)
        for one, found in zip(trainings, found_together, strict=True):
            assert abs(found.measurement.loss - alone(bench, one).measurement.loss) < tolerance


def test_in_turn_a_packed_training_is_equal_to_the_bit(bench):
    """With dropout too: every lane has random numbers of its own."""
    trainings = [
        wanted(bench, MANY, dropout=0.1),
        wanted(bench, LORA, seed=4, dropout=0.2),
        wanted(bench, LORA),
        wanted(bench, in_rows(bench, LORA, {1})),
    ]

    found_together = packed(bench, trainings, **IN_TURN)

    for one, found in zip(trainings, found_together, strict=True):
        expected = alone(bench, one)
        assert found.measurement == expected.measurement
        torch.testing.assert_close(found.weights, expected.weights, rtol=0, atol=0)


def test_the_operators_of_a_pass_of_several_are_recorded_for_each_of_them(bench):
    """A lane's own are run in its first step and in scoring; in turn there are no others."""
    lora, adapter = {"lora@attention.query": 2}, {"serial_adapter@ffn.output": 2}
    grouped, own = "grouped_lora_linear (eager)", "lora_linear (eager)"

    def operators(*sizes, **way):
        trainings = [Wanted(proposal=wanted(bench, one).proposal) for one in sizes]
        return [
            set(turn.event.operators)
            for turn in together(bench.trainer, bench.slots, trainings, **way)
            if isinstance(turn.event, Measurement)
        ]

    assert all(found >= {grouped, own} for found in operators(lora, lora, **ONE_PASS))
    for found in (operators(lora, lora, **IN_TURN), operators(lora, **ONE_PASS)):
        assert all(own in names and grouped not in names for names in found)
    with_lora, without = operators(lora, adapter, **ONE_PASS)
    assert own in with_lora
    assert own not in without
    assert "bottleneck (eager)" in without
    assert "bottleneck (eager)" not in with_lora


def test_one_that_ends_early_leaves_the_others_alone(bench):
    trainings = [
        wanted(bench, LORA, epochs=2),
        wanted(bench, MANY, epochs=2, share=0.3),
        wanted(bench, FEW, epochs=3),
    ]

    found_together = packed(bench, trainings, **ONE_PASS)

    assert [found.measurement.steps for found in found_together] == [6, 2, 9]
    for one, found in zip(trainings, found_together, strict=True):
        assert_equal(found, alone(bench, one))


def test_one_that_diverges_leaves_the_others_alone(bench):
    wild = dict.fromkeys(METHODS, 1e18)
    trainings = [
        wanted(bench, LORA, epochs=4),
        wanted(bench, MANY, epochs=40, learning_rates=wild, head_learning_rate=1e18),
        wanted(bench, FEW, epochs=4),
    ]

    first, lost, last = packed(bench, trainings, **ONE_PASS)

    assert isinstance(lost, DivergedError)
    assert_equal(first, alone(bench, trainings[0]))
    assert_equal(last, alone(bench, trainings[2]))


def test_those_that_paused_in_a_pack_go_on_in_another(bench, tmp_path):
    """Beside one that begins: each ends as if it had never stopped."""
    states = [Paused(tmp_path / f"{number}.safetensors", "a trial") for number in range(2)]
    tables = LORA, MANY
    whole = [alone(bench, wanted(bench, sizes, epochs=2)) for sizes in (*tables, FEW)]

    half = [
        wanted(bench, sizes, epochs=2, share=0.5, paused=state)
        for sizes, state in zip(tables, states, strict=True)
    ]
    halves = packed(bench, half, **ONE_PASS)
    rest = [
        wanted(bench, sizes, epochs=2, paused=state)
        for sizes, state in zip(tables, states, strict=True)
    ]
    found_together = packed(bench, [*rest, wanted(bench, FEW, epochs=2)], **ONE_PASS)

    assert [found.measurement.steps for found in halves] == [3, 3]
    assert list(tmp_path.iterdir()) == []
    for found, expected in zip(found_together, whole, strict=True):
        assert_equal(found, expected)


def test_whoever_stops_in_the_middle_leaves_nothing_behind(bench):
    expected = alone(bench, wanted(bench, LORA))
    before = torch.get_rng_state()
    weights = {name: value.clone() for name, value in bench.trainer.whole.state_dict().items()}

    turns = together(bench.trainer, bench.slots, [wanted(bench, MANY), wanted(bench, FEW)])
    for _ in range(3):
        next(turns)
    turns.close()

    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(bench.trainer.whole.state_dict(), weights, rtol=0, atol=0)
    assert alone(bench, wanted(bench, LORA)).measurement == expected.measurement


def test_lanes_take_turns_and_time_is_each_ones_own(bench):
    trainings = [wanted(bench, LORA), wanted(bench, FEW)]

    turns = list(together(bench.trainer, bench.slots, trainings))

    assert [turn.place for turn in turns] == [0, 1] * 4
    seconds = [turn.event.seconds for turn in turns[-2:]]
    assert all(0 < one < 60 for one in seconds)
