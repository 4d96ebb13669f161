"""The attention that prefixes and prompts need, in place of transformers' own."""

import pytest
import torch
from transformers import AutoConfig, AutoModel

from autopeft.errors import BackboneError
from autopeft.methods.attending import ATTENTION
from autopeft.training.loop import dropout
from tests.methods.giving import given, state_of
from tests.models import EVERY, VISION, padded_inputs, save_tiny, seen, tiny

WITHOUT_SDPA = {"deberta-v2", "gemma2"}
"""DeBERTa has an attention of its own; transformers' ``sdpa`` knows no soft cap."""

WINDOWS = {
    "mistral": {"sliding_window": 3},
    "gemma2": {"sliding_window": 3},
    "gemma3_text": {"sliding_window": 3, "layer_types": ["sliding_attention", "full_attention"]},
    "modernbert": {"local_attention": 4, "global_attn_every_n_layers": 2},
    "phi3": {"sliding_window": 3},
}
"""Models of which a query sees a few neighbours only."""


def pair(folder, attention):
    """Load a model with our attention and with one of transformers'."""
    ours, theirs = (
        AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation=name).eval()
        for name in (ATTENTION, attention)
    )
    assert (ours.config._attn_implementation, theirs.config._attn_implementation) == (
        ATTENTION, attention,
    )  # fmt: skip
    return ours, theirs


def agree(models, inputs):
    """On real tokens; what stands at padding is never read."""
    with torch.no_grad():
        found, expected = (seen(model(**inputs).last_hidden_state, inputs) for model in models)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", EVERY)
def test_without_a_prefix_it_is_the_attention_of_transformers(tmp_path, family, attention):
    """Padded, and without a mask: a causal model stays causal then."""
    if attention == "sdpa" and family in WITHOUT_SDPA:
        pytest.skip("transformers refuses it")
    models = pair(save_tiny(tmp_path, family), attention)
    inputs = padded_inputs(family)

    agree(models, inputs)
    if family not in VISION:
        masks = {"attention_mask", "decoder_attention_mask"}
        agree(models, {name: value[:1] for name, value in inputs.items() if name not in masks})


@pytest.mark.parametrize("family", WINDOWS)
def test_windows_stay_as_narrow_as_they_are(tmp_path, family):
    models = pair(save_tiny(tmp_path / "narrow", family, **WINDOWS[family]), "eager")
    wide, _ = pair(save_tiny(tmp_path / "wide", family), "eager")
    inputs = padded_inputs(family)
    alone = {"input_ids": inputs["input_ids"][:1]}

    agree(models, inputs)
    agree(models, alone)
    with torch.no_grad():
        narrow, whole = (m(**alone).last_hidden_state for m in (models[0], wide))
    assert (narrow - whole).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_prefix_lets_no_token_see_a_later_one(tmp_path, family, masked):
    """With a mask and without one, where the order alone says what is hidden."""
    small = tiny(tmp_path, family)
    ids = padded_inputs(family)["input_ids"][:1]
    other = ids.clone()
    other[0, 5:] = 8
    mask = {"attention_mask": torch.ones_like(ids)} if masked else {}

    with given(small, prefix_at_attention=3), torch.no_grad():
        before = small.model(input_ids=ids, **mask).last_hidden_state
        after = small.model(input_ids=other, **mask).last_hidden_state

    torch.testing.assert_close(before[:, :5], after[:, :5], rtol=1e-6, atol=1e-6)
    assert (before[:, 5:] - after[:, 5:]).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "bart"])
def test_dropout_acts_on_a_model_that_is_trained_only(tmp_path, family):
    """The attention takes the module's own probability, and none while predicting."""
    small = tiny(tmp_path, family)
    inputs = padded_inputs(family)
    attentions = [m for m in small.model.modules() if "Attention" in type(m).__name__]
    with dropout(small.model, 0.0), torch.no_grad(), torch.random.fork_rng(devices=[]):
        before = small.model(**inputs).last_hidden_state
        assert torch.equal(small.model.train()(**inputs).last_hidden_state, before)
        for attention in attentions:
            with_dropout(attention)
        trained = small.model(**inputs).last_hidden_state
        assert torch.equal(small.model.eval()(**inputs).last_hidden_state, before)

    assert not torch.equal(trained, before)


def with_dropout(attention):
    """Switch on the dropout of the weights alone, as a layer or a number."""
    for name in ("dropout", "attn_dropout", "attention_dropout"):
        held = getattr(attention, name, None)
        if isinstance(held, torch.nn.Dropout):
            held.p = 0.5
        elif held is not None:
            setattr(attention, name, 0.5)


@pytest.mark.parametrize("family", ["bert", "llama", "vit"])
def test_several_methods_may_look_at_one_module(tmp_path, family):
    """Their keys stand one after another; to the softmax the order means nothing."""
    small = tiny(tmp_path, family)
    inputs = padded_inputs(family)
    both = {"prefix_at_attention": 2, "deep_prompt_at_attention": 3, "prefix_gate_at_attention": 2}
    with given(small, **both, llama_adapter_at_attention=2) as injection, torch.no_grad():
        together = small.model(**inputs).last_hidden_state
        state = state_of(injection)
        for name, value in injection.state().items():
            if "llama_adapter" in name and name.endswith("gate"):
                value.zero_()
        without = small.model(**inputs).last_hidden_state
    with given(small, **both) as injection, torch.no_grad():
        injection.load({n: v for n, v in state.items() if "llama_adapter" not in n})
        alone = small.model(**inputs).last_hidden_state

    torch.testing.assert_close(without, alone, rtol=1e-5, atol=1e-5)
    assert (together - alone).abs().max() > 1e-3


def test_attention_with_sinks_is_refused():
    """Rather than computed without them."""
    config = AutoConfig.for_model(
        "gpt_oss", vocab_size=24, hidden_size=32, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, intermediate_size=16, num_local_experts=2,
        num_experts_per_tok=1, pad_token_id=0,
    )  # fmt: skip
    model = AutoModel.from_config(config, attn_implementation=ATTENTION).eval()

    with pytest.raises(BackboneError, match="GptOssAttention has attention sinks, which autopeft "):
        model(input_ids=torch.ones(1, 3, dtype=torch.long))


METHODS = ("prefix", "prefix_mlp", "prefix_gate", "deep_prompt", "llama_adapter")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "mt5", "vit"])
def test_half_precision_gives_finite_gradients_in_full(tmp_path, family, method):
    """Under autocast, which leaves parameters alone."""
    small = tiny(tmp_path, family)
    inputs = padded_inputs(family)
    with given(small, **{f"{method}_at_attention": 3}) as injection:
        single = small.model(**inputs).last_hidden_state
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = small.model(**inputs).last_hidden_state
        half.float().square().sum().backward()
        trained = injection.scaffold() or injection.named().values()

        assert (half - single).abs().mean() < 0.1, "values are of order 1, bf16 has 8 bits"
        assert all(p.grad.dtype is torch.float32 for p in trained)
        assert all(torch.isfinite(p.grad).all() for p in trained)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_keys_that_are_cached_change_nothing(tmp_path, family, method):
    """What is learned is seen at every step, and is no part of the cache."""
    small = tiny(tmp_path, family)
    ids = padded_inputs(family)["input_ids"][:1]
    with given(small, **{f"{method}_at_attention": 3}), torch.no_grad():
        whole = small.model(input_ids=ids).last_hidden_state
        first = small.model(input_ids=ids[:, :5], use_cache=True)
        then = small.model(input_ids=ids[:, 5:6], past_key_values=first.past_key_values)
        last = small.model(input_ids=ids[:, 6:7], past_key_values=then.past_key_values)

    torch.testing.assert_close(first.last_hidden_state, whole[:, :5], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(then.last_hidden_state, whole[:, 5:6], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(last.last_hidden_state, whole[:, 6:7], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["bert", "modernbert", "llama"])
def test_padding_changes_nothing(tmp_path, family, method):
    """The shortest sequence, once among longer ones and once alone and without a mask."""
    small = tiny(tmp_path, family)
    inputs = padded_inputs(family)
    alone = {name: value[2:, :3] for name, value in inputs.items() if name != "attention_mask"}
    with given(small, **{f"{method}_at_attention": 5}), torch.no_grad():
        together = small.model(**inputs).last_hidden_state[2, :3]
        single = small.model(**alone).last_hidden_state[0]

    torch.testing.assert_close(together, single, rtol=1e-4, atol=1e-5)
