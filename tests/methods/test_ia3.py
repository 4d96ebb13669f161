"""(IA)³ against the `peft` library, and by hand."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from transformers import AutoModel

from autopeft.methods.ia3 import RescaledInput
from tests.builders import BERT_BASE
from tests.methods.filling import count, filled, hidden, shake
from tests.models import padded_inputs, tiny

PLAIN = {"ia3@attention.key": 1, "ia3@attention.value": 1, "ia3@ffn.output": 1}
BERT = {
    "ia3@attention.key": "encoder.layer.{}.attention.self.key",
    "ia3@attention.value": "encoder.layer.{}.attention.self.value",
    "ia3@ffn.output": "encoder.layer.{}.output.dense",
}


def peft_model(folder, targets, feedforward):
    from peft import IA3Config, get_peft_model

    model = AutoModel.from_pretrained(folder, dtype=torch.float32)
    config = IA3Config(target_modules=targets, feedforward_modules=feedforward)
    return get_peft_model(model, config).eval()


def copy_into(model, path, factors):
    layer = model.get_submodule(f"base_model.model.{path}")
    with torch.no_grad():
        own = layer.ia3_l["default"]
        own.copy_(factors.view_as(own))


@pytest.mark.parametrize("merged", [False, True], ids=["beside", "merged"])
def test_the_same_factors_give_the_same_output_as_in_peft(tmp_path, merged):
    """By name, peft takes the output of attention as well; there its factors stay at one."""
    small = tiny(tmp_path, "bert")
    ours = deepcopy(small.model)
    with filled(small, PLAIN, model=ours) as injection:
        state = shake(injection)
        found = hidden(small, ours)
        injection.merge()

    theirs = peft_model(tmp_path, ["key", "value", "output.dense"], ["output.dense"])
    for name, factors in state.items():
        block, slot, _ = name.split("/")
        copy_into(theirs, BERT[slot].format(block), factors)
    expected = hidden(small, theirs.merge_and_unload() if merged else theirs)

    torch.testing.assert_close(hidden(small, ours) if merged else found, expected)
    assert (found - hidden(small)).abs().max() > 0.01, "the factors must matter"


def test_a_slice_of_a_fused_matrix_is_as_in_peft_with_ones_elsewhere(tmp_path):
    """GPT-2 has one matrix for queries, keys and values; peft rescales it as a whole."""
    small = tiny(tmp_path, "gpt2")
    with filled(small, PLAIN) as injection:
        state = shake(injection)
        found = hidden(small)

    theirs = peft_model(tmp_path, ["c_attn", "mlp.c_proj"], ["mlp.c_proj"])
    for block in range(2):
        key, value, inside = (state[f"{block}/{slot}/factors"] for slot in PLAIN)
        copy_into(theirs, f"h.{block}.attn.c_attn", torch.cat([torch.ones(32), key, value]))
        copy_into(theirs, f"h.{block}.mlp.c_proj", inside)

    torch.testing.assert_close(found, hidden(small, theirs))


def test_factors_on_the_inside_multiply_what_the_matrix_reads():
    """W (l * a) + b: 2 · (3 · 1) + 1 · (-1 · 2) + 5."""
    base = nn.Linear(2, 1)
    with torch.no_grad():
        base.weight.copy_(torch.tensor([[2.0, 1.0]]))
        base.bias.fill_(5.0)

    layer = RescaledInput(base, nn.Parameter(torch.tensor([3.0, -1.0])))

    assert layer(torch.tensor([1.0, 2.0])).item() == 9.0


def test_it_costs_a_factor_for_each_key_value_and_inner_activation():
    """BERT-base: 12 blocks of 768 + 768 + 3072, as `adapters` 1.3 counts it."""
    assert count(BERT_BASE, PLAIN) == 12 * (768 + 768 + 3072) == 55_296


def test_what_is_rescaled_keeps_its_type(tmp_path):
    """Keys and queries meet in one product, which takes one type."""
    small = tiny(tmp_path, "bert")
    with filled(small, PLAIN) as injection, torch.autocast("cpu", torch.bfloat16):
        shake(injection)
        key = small.model.get_submodule("encoder.layer.0.attention.self.key")

        assert key(torch.randn(2, 32)).dtype == torch.bfloat16
        assert torch.isfinite(small.model(**padded_inputs("bert")).last_hidden_state).all()
