"""A model of two towers, which has no single last hidden state."""

import pytest
import torch

from autopeft.methods.inject import injected
from autopeft.search_spaces.catalog import slots_of
from tests.models import SCALES, padded_inputs, table, tiny


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("clip"), "clip")


def run(clip):
    out = clip.model(**padded_inputs("clip"))
    text, vision = out.text_model_output, out.vision_model_output
    return text.last_hidden_state, vision.last_hidden_state


def inside(clip, sizes):
    slots = slots_of(clip.backbone)
    generator = torch.Generator().manual_seed(0)
    configuration = table(slots, clip.backbone.blocks, sizes)
    return injected(clip.model, clip.backbone, slots, configuration, SCALES, generator)


def test_each_tower_takes_methods_of_its_own_width(clip):
    sizes = {"lora@text.attention.query": 2, "lora@vision.attention.query": 3}

    with inside(clip, sizes) as injection:
        assert injection.count() == 2 * 2 * (24 + 24) + 2 * 3 * (32 + 32)


def test_a_method_in_one_tower_leaves_the_other_alone(clip):
    with torch.no_grad():
        text, vision = run(clip)
        with inside(clip, {"prefix@vision.attention": 2}):
            same_text, other_vision = run(clip)

    assert torch.equal(same_text, text)
    assert not torch.allclose(other_vision, vision)


def test_gradients_reach_both_towers(clip):
    sizes = {"lora@text.ffn.output": 2, "lora@vision.ffn.output": 2}
    with inside(clip, sizes) as injection:
        for value in injection.state().values():
            value.add_(0.1)
        generator = torch.Generator().manual_seed(1)
        (sum((h * torch.randn(h.shape, generator=generator)).sum() for h in run(clip))).backward()

        for group in injection.by_method().values():
            assert all(p.grad is not None and p.grad.ne(0).any() for p in group)
