"""LoRA against the `peft` library, and what its own file promises."""

import pytest
import torch
from transformers import AutoModel

from autopeft.methods import lora
from autopeft.methods.inject import injected
from autopeft.methods.places import Block
from autopeft.search_spaces.catalog import slots_of
from autopeft.training.model_files import find_model
from autopeft.training.pretrained import load_backbone, load_tokenizer
from autopeft.training.shape import read_backbone
from tests.models import MINILM, Tiny, padded_inputs, table, tiny

RANK, SCALE = 4, 2.0
PLAIN = {"lora@attention.query": RANK, "lora@attention.value": RANK}


def shaken(small, configuration, inputs):
    """Return the output with random factors in place, and the factors."""
    generator = torch.Generator().manual_seed(3)
    slots = slots_of(small.backbone)
    with injected(
        small.model, small.backbone, slots, configuration, {"lora": SCALE}, generator
    ) as injection:
        for value in injection.state().values():
            value.add_(0.05 * torch.randn(value.shape, generator=generator))
        with torch.no_grad():
            hidden = small.model(**inputs).last_hidden_state
        return hidden, {name: value.clone() for name, value in injection.state().items()}


def output_of_peft(folder, state, inputs):
    """Return what the peft library makes of the same weights, factors and inputs."""
    from peft import LoraConfig, get_peft_model

    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    config = LoraConfig(r=RANK, lora_alpha=SCALE * RANK, target_modules=["query", "value"])
    model = get_peft_model(model, config).eval()
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in state.items():
            block, slot, factor = name.split("/")
            place = slot.removeprefix("lora@attention.")
            path = f"base_model.model.encoder.layer.{block}.attention.self.{place}"
            matrix, theirs = ("A", value) if factor == "down" else ("B", value.T)
            parameters[f"{path}.lora_{matrix}.default.weight"].copy_(theirs)
        return model(**inputs).last_hidden_state


def assert_as_in_peft(small, inputs):
    hidden, state = shaken(
        small, table(slots_of(small.backbone), small.backbone.blocks, PLAIN), inputs
    )
    expected = output_of_peft(small.files.path, state, inputs)

    seen = inputs["attention_mask"].bool()
    torch.testing.assert_close(hidden[seen], expected[seen], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        frozen = small.model(**inputs).last_hidden_state
    assert (hidden - frozen)[seen].abs().max() > 0.05, "the factors must matter"


def test_the_same_factors_give_the_same_output_as_in_peft(tmp_path):
    """To rounding: peft multiplies in another order."""
    assert_as_in_peft(tiny(tmp_path, "bert"), padded_inputs("bert"))


def test_the_same_factors_give_the_same_output_as_in_peft_on_a_real_model():
    files = find_model(MINILM)
    small = Tiny(files=files, backbone=read_backbone(files), model=load_backbone(files))
    texts = ["The battery died.", "Great for the jawbone, and better than I had hoped for."]
    assert_as_in_peft(small, dict(load_tokenizer(files)(texts, padding=True, return_tensors="pt")))


def test_the_scale_does_not_depend_on_the_rank(tmp_path):
    """Rank 2 padded with zero rows to rank 5 is the same map."""
    small, inputs = tiny(tmp_path, "bert"), padded_inputs("bert")
    slots = slots_of(small.backbone)
    narrow, state = shaken(small, table(slots, 2, {"lora@ffn.input": 2}), inputs)

    wide = table(slots, 2, {"lora@ffn.input": 5})
    with injected(
        small.model, small.backbone, slots, wide, {"lora": SCALE}, torch.Generator()
    ) as injection:
        padding = {name: torch.zeros(3, value.shape[1]) for name, value in state.items()}
        injection.load({name: torch.cat([v, padding[name]]) for name, v in state.items()})
        with torch.no_grad():
            found = small.model(**inputs).last_hidden_state

    torch.testing.assert_close(found, narrow, rtol=1e-5, atol=1e-5)


def test_it_merges_into_the_frozen_matrix():
    """As the file says: W + s · Uᵀ D."""
    generator = torch.Generator().manual_seed(0)
    base = torch.nn.Linear(7, 5)
    layer = lora.LoraLinear(base, 3, SCALE, generator)
    with torch.no_grad():
        layer.up.normal_(generator=generator)
    x = torch.randn(4, 7, generator=generator)

    merged = base.weight + SCALE * layer.up.T @ layer.down

    torch.testing.assert_close(layer(x), x @ merged.T + base.bias)


def test_a_place_that_is_no_matrix_is_a_mistake_of_the_program(tmp_path):
    small = tiny(tmp_path, "bert")
    block = Block(small.model, small.backbone, 0)

    with pytest.raises(TypeError, match=r"LoRA needs a linear layer at ffn\.norm, found LayerNorm"):
        lora.attach(block, "ffn.norm", 4, 1.0, torch.Generator())
