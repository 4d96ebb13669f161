"""Prompts as keys and values of a block, held against tokens that are appended and cut off."""

import pytest
import torch

from autopeft.methods.inject import injected
from autopeft.search_spaces.catalog import slots_of
from tests.methods.giving import given, state_of
from tests.models import SCALES, padded_inputs, table, tiny

LENGTH = 3


def literal(small, state):
    """Run a ViT as the paper does: each block gets its own prompts, behind the first token."""
    model = small.model
    hidden = model.embeddings(**padded_inputs(small.backbone.architecture))
    for number in range(small.backbone.blocks):
        prompts = state[f"{number}/deep_prompt@attention/vectors"].expand(len(hidden), -1, -1)
        hidden = torch.cat([hidden[:, :1], prompts, hidden[:, 1:]], dim=1)
        block = small.model.get_submodule(
            small.backbone.site("attention").path.partition(".{block}")[0]
        )[number]
        hidden = block(hidden)
        hidden = torch.cat([hidden[:, :1], hidden[:, 1 + LENGTH :]], dim=1)
    return model.layernorm(hidden)


@pytest.mark.parametrize("family", ["vit", "dinov2"])
def test_what_comes_out_is_what_the_paper_computes(tmp_path, family):
    """Appended to the tokens of each block and dropped behind it."""
    small = tiny(tmp_path, family)
    with given(small, deep_prompt_at_attention=LENGTH) as injection, torch.no_grad():
        found = small.model(**padded_inputs(family)).last_hidden_state
        state = state_of(injection)
    with torch.no_grad():
        expected = literal(small, state)

    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_in_a_post_norm_block_the_prompts_are_read_as_they_are(tmp_path):
    """BERT's blocks on tokens with prompts in front, and without what comes out for them."""
    small = tiny(tmp_path, "bert")
    inputs = padded_inputs("bert")
    with given(small, deep_prompt_at_attention=LENGTH) as injection, torch.no_grad():
        found = small.model(**inputs).last_hidden_state
        state = state_of(injection)
    mask = torch.cat([torch.ones(3, LENGTH), inputs["attention_mask"]], dim=1).bool()
    with torch.no_grad():
        ids = {name: value for name, value in inputs.items() if name != "attention_mask"}
        hidden = small.model.embeddings(**ids)
        for number, block in enumerate(small.model.encoder.layer):
            prompts = state[f"{number}/deep_prompt@attention/vectors"].expand(3, -1, -1)
            hidden = block(torch.cat([prompts, hidden], 1), attention_mask=mask[:, None, None])
            hidden = (hidden if isinstance(hidden, torch.Tensor) else hidden[0])[:, LENGTH:]

    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[real], hidden[real], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "qwen3", "phi3", "modernbert"])
def test_keys_and_values_are_made_as_the_block_makes_them(tmp_path, family):
    """A prompt equal to what stands at a position of rotation zero acts as a second such token."""
    small = tiny(tmp_path, family)
    inputs = padded_inputs(family)
    ids = {name: value[:1, :1] for name, value in inputs.items() if name != "attention_mask"}
    site = small.backbone.site("attention")
    number = 0
    block = small.model.get_submodule(site.path.partition(".{block}")[0])[number]
    noted = []
    handle = block.register_forward_pre_hook(
        lambda _m, args, kwargs: noted.append(args[0] if args else kwargs["hidden_states"]),
        with_kwargs=True,
    )
    with torch.no_grad():
        before = small.model(**ids).last_hidden_state
        handle.remove()
        slots = slots_of(small.backbone)
        configuration = table(slots, small.backbone.blocks, {"deep_prompt@attention": 2})
        generator = torch.Generator().manual_seed(0)
        with injected(
            small.model, small.backbone, slots, configuration, SCALES, generator
        ) as injection:
            injection.state()["0/deep_prompt@attention/vectors"].copy_(noted[0][0].expand(2, -1))
            hook = block.register_forward_hook(lambda _m, _a, out: noted.append(out))
            small.model(**ids)
            hook.remove()
        hook = block.register_forward_hook(lambda _m, _a, out: noted.append(out))
        after = small.model(**ids).last_hidden_state
        hook.remove()

    one, other = (out if isinstance(out, torch.Tensor) else out[0] for out in noted[1:])
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert torch.equal(before, after)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_the_prompts_go_through_what_adapts_the_projections(tmp_path, family):
    """LoRA on the values acts on them too, as it would on tokens, whichever came first."""
    small = tiny(tmp_path, family)
    lora = {"lora_at_attention.value": 2}
    with given(small, deep_prompt_at_attention=2, **lora) as injection, torch.no_grad():
        attention = small.model.get_submodule(
            small.backbone.module_path(small.backbone.site("attention"), 0)
        )
        prompt = attention.get_submodule("autopeft_deep_prompt")
        prompt.make(attention, (prompt.vectors,), {})
        adapted = prompt().values
        for name, value in injection.state().items():
            if name.endswith("/up"):
                value.zero_()
        prompt.make(attention, (prompt.vectors,), {})
        plain = prompt().values

    assert (adapted - plain).abs().max() > 1e-3
