"""Sparse differences: which elements are chosen, what they do, and what is kept of them."""

import pytest
import torch

from autopeft.methods.masks import SparseDelta, smallest
from autopeft.methods.places import Block
from autopeft.search_spaces.catalog import slots_of
from tests.builders import BERT_BASE
from tests.methods.inside import hidden, inside, shake
from tests.models import tiny

MASKS = ("magnitude_mask", "fish_mask")


def test_the_smallest_scores_are_found_and_of_equal_ones_the_first():
    scores = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0]])

    assert smallest(scores, 1).tolist() == [5]
    assert smallest(scores, 3).tolist() == [1, 3, 5]
    assert smallest(scores, 4).tolist() == [1, 3, 4, 5]
    assert smallest(scores, 6).tolist() == list(range(6))


def test_a_sparse_difference_is_zero_but_at_its_places():
    delta = SparseDelta(2, 3, torch.tensor([1, 5])).eval()
    with torch.no_grad():
        delta.values.copy_(torch.tensor([10.0, -1.0]))

    assert delta.delta().tolist() == [[0, 10, 0], [0, 0, -1]]
    assert delta(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[20, -3]]


def test_a_mask_that_is_not_chosen_yet_acts_but_cannot_be_trained():
    delta = SparseDelta(2, 3, -1 - torch.tensor([1, 5]))
    with torch.no_grad():
        delta.values.copy_(torch.tensor([10.0, -1.0]))
        assert delta(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[20, -3]]

    with pytest.raises(
        RuntimeError, match=r"trained before its elements are chosen: call choose_masks first"
    ):
        delta(torch.ones(1, 3))


@pytest.mark.parametrize("method", MASKS)
def test_a_size_trains_as_many_elements_as_lora_of_that_rank(method):
    slots = {slot.name: slot for slot in slots_of(BERT_BASE)}

    for site in ("attention.query", "ffn.input"):
        mask, lora = slots[f"{method}@{site}"], slots[f"lora@{site}"]
        assert mask.parameters(8) == lora.parameters(8)
    assert slots[f"{method}@ffn.input"].most == 768 * 3072 // (768 + 3072)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_magnitude_mask_holds_the_smallest_weights(tmp_path, family):
    """Also of a slice of GPT-2's fused matrix, which is stored the other way round."""
    small = tiny(tmp_path, family)
    if family == "gpt2":
        weight = small.model.h[0].attn.c_attn.weight.T[64:]
    else:
        weight = small.model.encoder.layer[0].attention.self.value.weight
    count = 3 * (32 + 32)
    threshold = weight.abs().flatten().sort().values[count - 1]

    with inside(small, {"magnitude_mask@attention.value": 3}):
        [delta, _] = [m for m in small.model.modules() if isinstance(m, SparseDelta)]
        torch.nn.init.ones_(delta.values)
        chosen = delta.delta().bool()

    assert (chosen == (weight.abs() <= threshold)).all()
    assert chosen.sum() == count


def test_a_mask_that_was_chosen_by_data_is_kept_with_its_values(tmp_path):
    """Without its places, the values of a FISH mask would mean nothing."""
    small = tiny(tmp_path, "bert")
    sizes = {"fish_mask@ffn.input": 2}
    with inside(small, sizes) as injection:
        for choice in injection.choices():
            choice.choose(torch.rand(choice.weight.shape))
        shake(injection)
        expected = hidden(small)
        state = {name: value.clone() for name, value in injection.state().items()}

    with inside(small, sizes, seed=9) as injection:
        injection.load(state)
        assert torch.equal(hidden(small), expected)
        small.model.train()
        small.model(**small.model.dummy_inputs)  # what is loaded is chosen, and can be trained on
        small.model.eval()
    assert set(state) == {
        f"{block}/fish_mask@ffn.input/{part}" for block in range(2) for part in ("values", "places")
    }
    assert not any((value < 0).any() for name, value in state.items() if name.endswith("places"))


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_fish_mask_holds_the_elements_of_largest_information(tmp_path, family):
    small = tiny(tmp_path, family)
    with inside(small, {"fish_mask@attention.key": 1}) as injection:
        choice = injection.choices()[0]
        information = torch.rand(choice.weight.shape, generator=torch.Generator().manual_seed(0))
        choice.choose(information)
        scores = information.T[32:64] if family == "gpt2" else information
        places = injection.state()["0/fish_mask@attention.key/places"]

    assert choice.weight is Block(small.model, small.backbone, 0).original("attention.key").weight
    assert sorted(places.tolist()) == sorted(scores.flatten().topk(64).indices.tolist())
