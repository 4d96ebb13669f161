"""A training that pauses goes on as if it had never stopped."""

from dataclasses import replace

import pytest
import torch

from autopeft.training import pausing
from autopeft.training.pausing import Paused
from autopeft.trial import Fidelity, Measurement
from tests.models import FEW, MANY, Bench, opinions, save_tiny, write_rows

HALF = Fidelity(share=0.5)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return Bench(save_tiny(folder / "model"), write_rows(folder / "data.csv", opinions(80)))


def measured(bench, fidelity, paused=None, sizes=MANY, **changes):
    with bench.tuned(sizes, epochs=2, dropout=0.1, **changes) as tuned:
        *_, found = bench.trainer.measure(tuned, 3, fidelity, paused=paused)
    assert isinstance(found, Measurement)
    return replace(found, seconds=0.0)


@pytest.fixture
def paused(tmp_path):
    return Paused(tmp_path / "kept" / "7.safetensors", "what is trained")


def test_what_goes_on_ends_equal_to_the_bit_with_what_never_stopped(bench, paused):
    """With dropout, whose random numbers go on too."""
    whole = measured(bench, Fidelity())

    half = measured(bench, HALF, paused)
    with bench.tuned(MANY, epochs=2, dropout=0.1) as tuned:
        steps = list(bench.trainer.measure(tuned, 3, Fidelity(), paused=paused))

    assert half.steps == 3
    assert len(steps) == 3 + 1  # the other half, and the measurement
    assert replace(steps[-1], seconds=0.0) == whole
    assert half == measured(bench, HALF)


def test_a_state_is_kept_while_it_is_needed(bench, paused, tmp_path):
    measured(bench, HALF, paused)
    assert [file.name for file in (tmp_path / "kept").iterdir()] == ["7.safetensors"]

    measured(bench, Fidelity(), paused)
    assert list((tmp_path / "kept").iterdir()) == []


def broken(file):
    file.write_bytes(file.read_bytes()[:50])


def gone(file):
    file.unlink()


@pytest.mark.parametrize("harm", [broken, gone])
def test_without_its_state_it_is_trained_anew_and_ends_equal(bench, paused, tmp_path, harm):
    measured(bench, HALF, paused)
    harm(tmp_path / "kept" / "7.safetensors")

    assert measured(bench, Fidelity(), paused) == measured(bench, Fidelity())


@pytest.mark.parametrize("change", [{"sizes": FEW}, {}])
def test_the_state_of_something_else_is_not_taken(bench, tmp_path, change):
    file = tmp_path / "7.safetensors"
    measured(bench, HALF, Paused(file, "one thing"), **change)

    other = Paused(file, "one thing" if change else "another")

    assert measured(bench, Fidelity(), other) == measured(bench, Fidelity())


@pytest.mark.parametrize("sizes", [{"dylora@attention.query": 4}, {"adalora@attention.query": 4}])
def test_a_method_that_counts_steps_is_trained_anew(bench, paused, tmp_path, sizes):
    measured(bench, HALF, paused, sizes)

    assert not (tmp_path / "kept").exists()
    assert measured(bench, Fidelity(), paused, sizes) == measured(bench, Fidelity(), None, sizes)


def test_the_oldest_states_go_when_there_are_too_many(bench, tmp_path, monkeypatch):
    first, second = (Paused(tmp_path / f"{n}.safetensors", "it") for n in (1, 2))
    measured(bench, HALF, first)
    size = (tmp_path / "1.safetensors").stat().st_size
    monkeypatch.setattr(pausing, "MOST_BYTES", size * 3 // 2)

    measured(bench, HALF, second)

    assert [file.name for file in tmp_path.iterdir()] == ["2.safetensors"]


def test_a_place_that_cannot_be_written_to_stops_no_training(bench, tmp_path):
    (tmp_path / "kept").write_text("a file where a folder should be")

    found = measured(bench, HALF, Paused(tmp_path / "kept" / "7.safetensors", "it"))

    assert found.steps == 3
    assert torch.is_grad_enabled()
