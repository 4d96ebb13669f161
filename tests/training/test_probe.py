"""A probe gives the same numbers for the same model, and others for another."""

import pytest
import torch
from transformers import AutoModel

from autopeft.training.fingerprint import fingerprint, is_other
from autopeft.training.probe import apart, drift, inputs_for, numbers_of, scores_of
from tests.models import config_of, save_tiny


def model_of(family, seed=0):
    torch.manual_seed(seed)
    return AutoModel.from_config(config_of(family)).eval()


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5", "bart", "vit"])
def test_a_model_gives_the_same_numbers_again(family):
    model = model_of(family)

    assert len(numbers_of(model)) == 24
    assert numbers_of(model) == numbers_of(model)
    assert apart(numbers_of(model), numbers_of(model_of(family, seed=1))) is not None


def test_a_model_that_is_being_trained_is_left_so():
    model = model_of("bert").train()

    numbers_of(model)

    assert model.training


def test_a_model_without_numbers_gives_none():
    with torch.device("meta"):
        model = AutoModel.from_config(config_of("bert"))

    assert numbers_of(model) == ()


def test_rounding_is_not_a_difference():
    assert apart((1.0, -2.0), (1.0005, -2.0)) is None
    assert apart((1.0, -2.0), (1.1, -2.0)) == pytest.approx(0.1)
    assert apart((1.0,), (1.0, 2.0)) is not None


def test_drift_counts_rows_whose_best_is_elsewhere():
    before = torch.tensor([[1.0, 0.0], [0.0, 1.0]])

    found = drift(before, torch.tensor([[1.0, 0.5], [0.0, -1.0]]))

    assert (found.largest, found.same, found.scale) == (2.0, 0.5, 0.5)
    assert found.mean == pytest.approx(2.5 / 4)


def test_padding_has_no_part_in_the_scores():
    model = model_of("bert")
    inputs = inputs_for(model.config)

    assert len(scores_of(model, inputs)) == int(inputs["attention_mask"].sum())


def test_models_of_one_shape_are_told_apart_in_any_precision():
    one, two = model_of("bert"), model_of("bert", seed=1)
    known = fingerprint(one)

    assert is_other(known, fingerprint(two))
    assert not is_other(known, fingerprint(model_of("bert").to(torch.bfloat16)))
    assert not is_other("{}", known)


def test_a_pooler_that_no_file_has_makes_no_other_model(tmp_path):
    folder = save_tiny(tmp_path / "model")
    one, two = (AutoModel.from_pretrained(folder) for _ in range(2))
    torch.nn.init.normal_(two.pooler.dense.weight)

    assert not is_other(fingerprint(one), fingerprint(two))


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_what_is_no_number_is_close_to_nothing(odd):
    assert apart([1.0, 2.0], [1.0, odd]) == float("inf")
    assert apart([1.0, odd], [1.0, 2.0]) == float("inf")
    assert apart([odd], [odd]) == float("inf")
    assert apart([1.0, 2.0], [1.0, 2.0]) is None
