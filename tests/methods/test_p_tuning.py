"""Prompts that a network computes while they are trained, held against the `peft` library."""

import torch
from peft import PromptEncoderConfig, get_peft_model
from transformers import AutoModel

from tests.methods.giving import given, state_of
from tests.models import padded_inputs, seen, tiny

LENGTH = 3


def output(small):
    with torch.no_grad():
        return small.model(**padded_inputs(small.backbone.architecture)).last_hidden_state


def test_it_is_the_prompt_encoder_of_peft(tmp_path):
    """With the same seeds and layers."""
    small = tiny(tmp_path, "gpt2")
    inputs = padded_inputs("gpt2")
    with given(small, p_tuning_at_embeddings=LENGTH) as injection:
        found = seen(output(small), inputs)
        seeds, *layers = (p.detach().clone() for p in injection.scaffold())
    model = AutoModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    config = PromptEncoderConfig(
        task_type="FEATURE_EXTRACTION", num_virtual_tokens=LENGTH, encoder_hidden_size=32
    )
    tuned = get_peft_model(model, config)
    encoder = tuned.prompt_encoder["default"]
    encoder.embedding.weight.data = seeds
    for parameter, value in zip(encoder.mlp_head.parameters(), layers, strict=True):
        parameter.data = value
    with torch.no_grad():
        expected = tuned(**inputs).last_hidden_state[:, LENGTH:]

    torch.testing.assert_close(found, seen(expected, inputs), rtol=1e-4, atol=1e-5)


def test_what_is_kept_are_plain_prompts(tmp_path):
    small = tiny(tmp_path, "bert")
    with given(small, p_tuning_at_embeddings=LENGTH) as injection:
        expected, state = output(small), state_of(injection)
        assert injection.count() == LENGTH * 32
        assert sum(p.numel() for p in injection.scaffold()) == LENGTH * 32 + 3 * 32 * 33

    with given(small, prompt_tuning_at_embeddings=LENGTH, seed=5) as injection:
        injection.load({name.replace("p_tuning", "prompt_tuning"): v for name, v in state.items()})
        torch.testing.assert_close(output(small), expected, rtol=1e-5, atol=1e-5)


def test_training_moves_the_network_and_so_the_prompts(tmp_path):
    small = tiny(tmp_path, "bert")
    with given(small, p_tuning_at_embeddings=LENGTH) as injection:
        before = state_of(injection)
        trained = [p for group in injection.by_method().values() for p in group]
        steps = torch.optim.SGD(trained, lr=0.01)
        small.model(**padded_inputs("bert")).last_hidden_state.square().sum().backward()
        steps.step()

        assert all(p.grad.ne(0).any() for p in injection.scaffold())
        assert all(before[name].ne(v).any() for name, v in injection.state().items())
