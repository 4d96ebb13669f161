"""LayerNorm tuning against the `peft` library, and LNFit against the form that S3PET writes."""

import pytest
import torch
from transformers import AutoModel

from autopeft.search_spaces.catalog import slots_of
from tests.builders import BERT_BASE
from tests.methods.inside import hidden, inside, shake
from tests.models import padded_inputs, tiny

BOTH = {"layer_norm@attention.norm": 1, "layer_norm@ffn.norm": 1}


def output_of_peft(folder, state, inputs):
    """Return what the peft library makes of the same values and inputs."""
    from peft import LNTuningConfig, get_peft_model

    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    model = get_peft_model(model, LNTuningConfig(target_modules=r".*layer\..*LayerNorm")).eval()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == len(state)
    paths = {"attention.norm": "attention.output", "ffn.norm": "output"}
    with torch.no_grad():
        for name, value in state.items():
            block, slot, part = name.split("/")
            path = f"layer.{block}.{paths[slot.partition('@')[2]]}.LayerNorm.ln_tuning_layers."
            [found] = [p for n, p in trained.items() if path in n and n.endswith(part)]
            found.copy_(value)
        return sum(p.numel() for p in trained.values()), model(**inputs).last_hidden_state


def test_the_same_values_give_the_same_output_as_in_peft(tmp_path):
    small, inputs = tiny(tmp_path, "bert"), padded_inputs("bert")
    with inside(small, BOTH) as injection:
        shake(injection)
        found, count = hidden(small, inputs), injection.count()
        trained, expected = output_of_peft(small.files.path, injection.state(), inputs)

    seen = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[seen], expected[seen], rtol=1e-4, atol=1e-5)
    assert count == trained == 2 * 2 * 2 * 32


def test_norms_of_bert_base_hold_two_vectors_each_and_those_of_llama_one(tmp_path):
    costs = {s.name: s.unit for s in slots_of(BERT_BASE) if s.method in {"layer_norm", "ln_fit"}}
    llama = {s.name: s.unit for s in slots_of(tiny(tmp_path, "llama").backbone)}

    assert costs["layer_norm@ffn.norm"] == 2 * 768
    assert costs["ln_fit@ffn.norm"] == 768
    assert llama["layer_norm@final.norm"] == llama["ln_fit@final.norm"] == 32


@pytest.mark.parametrize("family", ["bert", "mt5", "gemma2"])
def test_ln_fit_is_s3pets_additive_scale(tmp_path, family):
    """(w + d) · normed(x) + b is what the norm gives, plus d · normed(x)."""
    small = tiny(tmp_path, family)
    site = "attention.norm" if family != "mt5" else "encoder.attention.norm"
    place = small.backbone.site(site)
    norm = small.model.get_submodule(small.backbone.module_path(place, 0))
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    centred = x - x.mean(-1, keepdim=True) if family == "bert" else x
    normed = centred / centred.square().mean(-1, keepdim=True).sqrt()
    before, difference = norm(x), torch.linspace(-1, 1, 32)

    with inside(small, {f"ln_fit@{site}": 1}) as injection:
        injection.state()[f"0/ln_fit@{site}/weight"].add_(difference)
        after = norm(x)

    torch.testing.assert_close(after, before + difference * normed, rtol=1e-4, atol=1e-4)


def test_weight_and_bias_of_a_norm_can_be_trained_by_different_methods(tmp_path):
    """As S3PET's switches do."""
    small = tiny(tmp_path, "bert")

    with inside(small, {"ln_fit@ffn.norm": 1, "bitfit@ffn.norm": 1}) as injection:
        shake(injection)
        parts, found = injection.state(), hidden(small)
    both = {
        f"{block}/layer_norm@ffn.norm/{part}": parts[f"{block}/{method}@ffn.norm/{part}"].clone()
        for block in range(2)
        for method, part in (("ln_fit", "weight"), ("bitfit", "bias"))
    }

    with inside(small, {"layer_norm@ffn.norm": 1}) as injection:
        injection.load(both)
        torch.testing.assert_close(hidden(small), found)
