"""The empirical Fisher information, and the masks that are chosen by it."""

import numpy as np
import pytest
import torch

from autopeft.methods.masks import SparseDelta
from autopeft.training.fisher import choose_masks, squared_gradients
from tests.models import Bench, opinions, save_tiny, write_rows

SIZES = {"fish_mask@attention.value": 1, "fish_mask@ffn.output": 1}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fisher")
    return Bench(save_tiny(folder / "model"), write_rows(folder / "opinions.csv", opinions(60)))


def test_information_is_the_mean_of_squared_gradients_not_the_square_of_their_mean(bench):
    """Against three examples, one after another, by hand."""
    train, rows = bench.trainer.parts["train"], np.array([4, 1, 7])
    with bench.tuned({"fish_mask@ffn.output": 1}) as tuned:
        weight = tuned.injection.choices()[0].weight
        [found] = squared_gradients(tuned.model, [weight], train, rows)
        weight.requires_grad_(requires_grad=True)
        gradients = []
        for row in rows:
            weight.grad = None
            tuned.model.loss(train.batch([row])).backward()
            gradients.append(weight.grad.clone())
        weight.requires_grad_(requires_grad=False)
        weight.grad = None

    expected = torch.stack(gradients).square().mean(0)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, torch.stack(gradients).mean(0).square())


def test_masks_are_chosen_by_the_data_and_can_then_be_trained(bench):
    with bench.tuned(SIZES) as tuned:
        train = bench.trainer.parts["train"]
        choose_masks(tuned.model, tuned.injection, train, 0, sample=5)
        rows = np.random.default_rng(0).permutation(len(train))[:5]
        choice = tuned.injection.choices()[0]
        [information] = squared_gradients(tuned.model, [choice.weight], train, rows)
        delta = next(m for m in tuned.model.modules() if isinstance(m, SparseDelta))
        torch.nn.init.ones_(delta.values)
        chosen = delta.delta().bool()

        assert information[chosen].min() >= information[~chosen].max()
        tuned.model.train()
        tuned.model.loss(train.batch([0, 1])).backward()
        assert delta.values.grad.ne(0).any()
        assert all(not choice.weight.requires_grad for choice in tuned.injection.choices())
        assert all(choice.weight.grad is None for choice in tuned.injection.choices())


def test_the_sample_is_that_of_the_seed(bench):
    places = []
    for seed in (0, 0, 1):
        with bench.tuned({"fish_mask@ffn.input": 2}) as tuned:
            train = bench.trainer.parts["train"]
            choose_masks(tuned.model, tuned.injection, train, seed, sample=4)
            places.append(tuned.injection.state()["0/fish_mask@ffn.input/places"].clone())

    assert torch.equal(places[0], places[1])
    assert not torch.equal(places[0], places[2])


def test_where_no_method_asks_the_data_nothing_is_computed(bench):
    with bench.tuned({"lora@attention.query": 1}) as tuned:
        tuned.model.train()

        choose_masks(tuned.model, tuned.injection, bench.trainer.parts["train"], 0)

        assert tuned.model.training  # not even dropout was switched off
