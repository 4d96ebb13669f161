"""Learned keys and values, held against the `peft` library and against sums written out."""

import pytest
import torch
from peft import PrefixTuningConfig, get_peft_model
from transformers import AutoModel

from tests.methods.giving import given, state_of
from tests.models import padded_inputs, seen, tiny

LENGTH = 3


def in_peft(folder, state, blocks=2):
    """Give the model to `peft`, with the same keys and values."""
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = state["0/prefix@attention/keys"].shape[1]
    tuned = get_peft_model(
        model.eval(),
        PrefixTuningConfig(
            task_type="FEATURE_EXTRACTION",
            num_virtual_tokens=LENGTH,
            num_layers=blocks,
            num_attention_heads=heads,
            token_dim=width,
        ),
    )
    parts = [state[f"{b}/prefix@attention/{n}"] for b in range(blocks) for n in ("keys", "values")]
    tuned.prompt_encoder["default"].embedding.weight.data = torch.cat(parts, dim=1)
    return tuned.eval()


def through_peft(tuned, inputs):
    """Run the model on what `peft` makes of the prefix; tokens keep their positions."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    with torch.no_grad():
        out = tuned.get_base_model()(
            input_ids=ids,
            attention_mask=torch.cat([mask.new_ones(len(mask), LENGTH), mask], dim=1),
            position_ids=torch.arange(ids.shape[1])[None].expand_as(ids),
            past_key_values=tuned.get_prompt(len(ids)),
        )
    return seen(out.last_hidden_state, inputs)


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2"])
def test_it_is_the_prefix_of_peft(tmp_path, family):
    """The same keys and values in, the same out: also where two queries share a key."""
    small = tiny(tmp_path, family)
    inputs = padded_inputs(family)
    with given(small, prefix_at_attention=LENGTH) as injection, torch.no_grad():
        found = seen(small.model(**inputs).last_hidden_state, inputs)
        state = state_of(injection)

    expected = through_peft(in_peft(tmp_path, state), inputs)

    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_it_is_the_prefix_of_peft_on_an_encoder(tmp_path):
    """Through BERT's blocks, after its embeddings: they would move positions by the prefix."""
    small = tiny(tmp_path, "bert")
    inputs = padded_inputs("bert")
    with given(small, prefix_at_attention=LENGTH) as injection, torch.no_grad():
        found = seen(small.model(**inputs).last_hidden_state, inputs)
        tuned = in_peft(tmp_path, state_of(injection))
    embedded = tuned.get_base_model().embeddings(
        input_ids=inputs["input_ids"], token_type_ids=inputs["token_type_ids"]
    )
    mask = inputs["attention_mask"].bool()
    mask = torch.cat([mask.new_ones(len(mask), LENGTH), mask], dim=1)
    added = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    with torch.no_grad():
        hidden = tuned.get_base_model().encoder(
            embedded,
            attention_mask=added[:, None, None],
            past_key_values=tuned.get_prompt(3),
            use_cache=True,
        )

    torch.testing.assert_close(found, seen(hidden.last_hidden_state, inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["bart", "mt5"])
def test_in_front_of_what_the_encoder_says_it_is_written_out(tmp_path, family):
    """The first block's attention from decoder to encoder, on its own inputs."""
    small = tiny(tmp_path, family)
    inputs = padded_inputs(family)
    site = small.backbone.site("decoder.cross")
    path = small.backbone.module_path(site, small.backbone.stacks[1].first)
    module = small.model.get_submodule(path)
    noted = {}

    def note(_module, args, kwargs, out):
        noted.update(args=args, kwargs=kwargs, out=out[0])

    with given(small, prefix_at_cross=LENGTH) as injection, torch.no_grad():
        handle = module.register_forward_hook(note, with_kwargs=True)
        small.model(**inputs)
        handle.remove()
        state = state_of(injection)
        expected = cross_attention(small, noted, inputs["attention_mask"].bool(), state)

    assert state["2/prefix@decoder.cross/keys"].shape == (LENGTH, site.inputs)
    torch.testing.assert_close(noted["out"], expected, rtol=1e-4, atol=1e-5)


def cross_attention(small, noted, mask_BS, state):
    """Write out the attention of the decoder's first block, head by head."""
    number = small.backbone.stacks[1].first

    def linear(name, x):
        site = small.backbone.site(f"decoder.cross.{name}")
        return small.model.get_submodule(small.backbone.module_path(site, number))(x)

    query = linear("query", noted["args"][0] if noted["args"] else noted["kwargs"]["hidden_states"])
    said = noted["kwargs"]["key_value_states"]
    key, value = (
        torch.cat([state[f"{number}/prefix@decoder.cross/{part}"].expand(3, -1, -1), x], dim=1)
        for part, x in (("keys", linear("key", said)), ("values", linear("value", said)))
    )
    seen_BS = torch.cat([mask_BS.new_ones(3, LENGTH), mask_BS], dim=1)
    heads = small.backbone.stacks[1].heads
    width = query.shape[-1] // heads
    scale = 1.0 if small.backbone.architecture == "mt5" else width**-0.5
    outputs = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = query[..., part] @ key[..., part].transpose(1, 2) * scale
        weights = scores.masked_fill(~seen_BS[:, None], -torch.inf).softmax(-1)
        outputs.append(weights @ value[..., part])
    return linear("output", torch.cat(outputs, -1))
