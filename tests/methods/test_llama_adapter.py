"""Learned prompts behind a gate, held against the `peft` library."""

import pytest
import torch
from peft import AdaptionPromptConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tests.methods.giving import given, state_of, tiny_with
from tests.models import padded_inputs, seen, tiny

LENGTH = 3


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_it_is_the_adaption_prompt_of_peft(tmp_path, family):
    """Also where queries share keys; this `peft` asks that heads fill the width."""
    small = tiny_with(tmp_path, family, head_dim=8)
    inputs = padded_inputs(family)
    with given(small, llama_adapter_at_attention=LENGTH) as injection, torch.no_grad():
        found = seen(small.model(**inputs).last_hidden_state, inputs)
        state = state_of(injection)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    config = AdaptionPromptConfig(
        task_type="CAUSAL_LM", adapter_len=LENGTH, adapter_layers=2, target_modules="self_attn"
    )
    tuned = get_peft_model(model, config).eval()
    for number, layer in enumerate(tuned.get_base_model().model.layers):
        layer.self_attn.adaption_prompt.data = state[f"{number}/llama_adapter@attention/vectors"][
            None
        ]
        layer.self_attn.adaption_gate.data = state[f"{number}/llama_adapter@attention/gate"]
    with torch.no_grad():
        expected = seen(tuned.get_base_model().model(**inputs).last_hidden_state, inputs)

    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "gemma2", "vit"])
def test_behind_a_closed_gate_it_changes_nothing(tmp_path, family):
    """To the bit, and only the gate has a gradient then."""
    small = tiny(tmp_path, family)
    inputs = padded_inputs(family)
    with torch.no_grad():
        before = small.model(**inputs).last_hidden_state
    with given(small, llama_adapter_at_attention=LENGTH) as injection:
        for name, value in injection.state().items():
            if name.endswith("gate"):
                value.zero_()
        after = small.model(**inputs).last_hidden_state
        after.square().sum().backward()

        assert torch.equal(before, after)
        for name, parameter in injection.named().items():
            assert parameter.grad.ne(0).any() == name.endswith("gate")


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_an_adapter_beside_the_attention_still_reads_the_tokens(tmp_path, family):
    """GPT-2 makes queries and keys, also of prompts, with one matrix. The gate is closed here."""
    small = tiny(tmp_path, family)
    inputs = padded_inputs(family)
    beside = {"parallel_adapter_at_attention": 2}
    with given(small, llama_adapter_at_attention=LENGTH, **beside) as injection, torch.no_grad():
        for name, value in injection.state().items():
            if name.endswith("attention/gate"):
                value.zero_()
        found = small.model(**inputs).last_hidden_state
        state = {n: v for n, v in state_of(injection).items() if "llama_adapter" not in n}
    with given(small, **beside, seed=3) as injection, torch.no_grad():
        injection.load(state)
        expected = small.model(**inputs).last_hidden_state

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
