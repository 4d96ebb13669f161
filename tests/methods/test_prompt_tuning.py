"""Learned vectors in front of the input, held against the `peft` library."""

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from autopeft.errors import BackboneError
from autopeft.methods.attending import ATTENTION
from tests.methods.giving import given, state_of, tiny_with
from tests.models import FAMILIES, SEQUENCE_TO_SEQUENCE, VISION, padded_inputs, seen, tiny

LENGTH = 3


def in_peft(folder, vectors, kind="FEATURE_EXTRACTION"):
    """Give the model to `peft`, with the same prompts."""
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    config = PromptTuningConfig(task_type=kind, num_virtual_tokens=LENGTH)
    tuned = get_peft_model(model.eval(), config)
    tuned.prompt_encoder["default"].embedding.weight.data = vectors
    return tuned.eval()


@pytest.mark.parametrize("family", ["bert", "electra", "roberta", "albert", "gpt2", "opt", "llama"])
def test_it_is_the_prompt_of_peft(tmp_path, family):
    """Which returns the prompts' outputs too, and takes no token types: all are zero."""
    small = tiny(tmp_path, family)
    inputs = {n: v for n, v in padded_inputs(family).items() if n != "token_type_ids"}
    with given(small, prompt_tuning_at_embeddings=LENGTH) as injection, torch.no_grad():
        found = small.model(**inputs).last_hidden_state
        (vectors,) = state_of(injection).values()
    with torch.no_grad():
        expected = in_peft(tmp_path, vectors)(**inputs).last_hidden_state

    assert found.shape == (3, 9, 32)
    assert expected.shape == (3, 9 + LENGTH, 32)
    torch.testing.assert_close(
        seen(found, inputs), seen(expected[:, LENGTH:], inputs), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("family", SEQUENCE_TO_SEQUENCE)
def test_the_decoder_attends_to_what_the_encoder_makes_of_prompts(tmp_path, family):
    """Written with a longer input: the encoder's, and the mask of both."""
    small = tiny(tmp_path, family)
    inputs = padded_inputs(family)
    with given(small, prompt_tuning_at_embeddings=LENGTH) as injection, torch.no_grad():
        found = small.model(**inputs)
        (vectors,) = state_of(injection).values()
    with torch.no_grad():
        words = small.model.get_input_embeddings()(inputs["input_ids"])
        scale = getattr(small.model.encoder, "embed_scale", 1.0)
        inputs["inputs_embeds"] = torch.cat([vectors.expand(3, -1, -1), words * scale], dim=1)
        inputs["attention_mask"] = torch.cat(
            [torch.ones(3, LENGTH, dtype=torch.long), inputs["attention_mask"]], dim=1
        )
        del inputs["input_ids"]
        expected = small.model(**inputs)

    assert found.encoder_last_hidden_state.shape[1] == 9
    mask = inputs["decoder_attention_mask"].bool()
    torch.testing.assert_close(
        found.last_hidden_state[mask], expected.last_hidden_state[mask], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("family", VISION)
def test_on_images_it_is_the_shallow_prompt_of_vpt(tmp_path, family):
    """The prompts behind the first token of the finished embeddings, through all blocks."""
    small = tiny(tmp_path, family)
    inputs = padded_inputs(family)
    with given(small, prompt_tuning_at_embeddings=LENGTH) as injection, torch.no_grad():
        found = small.model(**inputs)
        (vectors,) = state_of(injection).values()

    def insert(_module, _args, x):
        return torch.cat([x[:, :1], vectors.expand(3, -1, -1), x[:, 1:]], dim=1)

    handle = small.model.embeddings.register_forward_hook(insert)
    with torch.no_grad():
        expected = small.model(**inputs)
    handle.remove()
    out = expected.last_hidden_state
    out = torch.cat([out[:, :1], out[:, 1 + LENGTH :]], dim=1)

    torch.testing.assert_close(found.last_hidden_state, out, rtol=1e-4, atol=1e-5)
    if expected.pooler_output is not None:
        torch.testing.assert_close(
            found.pooler_output, expected.pooler_output, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("method", ["prompt_tuning", "p_tuning"])
@pytest.mark.parametrize("family", FAMILIES)
def test_callers_see_as_many_tokens_as_they_gave(tmp_path, family, method):
    """In every state between blocks too; with a mask and without one."""
    small = tiny(tmp_path, family)
    inputs = padded_inputs(family)
    masks = {"attention_mask", "decoder_attention_mask"}
    with torch.no_grad():
        before = small.model(**inputs, output_hidden_states=True)
    with given(small, **{f"{method}_at_embeddings": LENGTH}), torch.no_grad():
        after = small.model(**inputs, output_hidden_states=True)
        small.model(**{n: v for n, v in inputs.items() if n not in masks})
        again = small.model(**inputs, output_hidden_states=False)

    kept = [name for name in before if "past" not in name and "cross" not in name]
    assert list(after) == list(before)
    for name in kept:
        many = isinstance(before[name], tuple)
        pairs = (
            zip(before[name], after[name], strict=True) if many else [(before[name], after[name])]
        )
        assert all(one.shape == other.shape for one, other in pairs), name
    torch.testing.assert_close(after.last_hidden_state, again.last_hidden_state)


def test_the_pooler_finds_the_first_word(tmp_path):
    small = tiny(tmp_path, "bert")
    with given(small, prompt_tuning_at_embeddings=LENGTH), torch.no_grad():
        out = small.model(**padded_inputs("bert"))
        expected = small.model.pooler(out.last_hidden_state)

    torch.testing.assert_close(out.pooler_output, expected)


def test_the_pooler_of_clip_finds_the_end_of_the_text(tmp_path):
    """At the place of the highest token, counted without prompts."""
    small = tiny(tmp_path, "clip_text_model")
    inputs = padded_inputs("clip_text_model")
    ends = (inputs["input_ids"] == small.model.config.eos_token_id).int().argmax(1)
    with given(small, prompt_tuning_at_embeddings=LENGTH), torch.no_grad():
        out = small.model(**inputs)

    expected = out.last_hidden_state[torch.arange(3), ends]
    torch.testing.assert_close(out.pooler_output, expected)


def test_both_towers_of_clip_take_prompts(tmp_path):
    small = tiny(tmp_path, "clip")
    inputs = padded_inputs("clip")
    with torch.no_grad():
        before = small.model(**inputs)
    with given(small, prompt_tuning_at_embeddings=LENGTH) as injection, torch.no_grad():
        after = small.model(**inputs)
        shapes = [tuple(value.shape) for value in injection.state().values()]

    assert shapes == [(LENGTH, 24), (LENGTH, 32)]
    for name in ("text_embeds", "image_embeds"):
        assert (before[name] - after[name]).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "bart"])
def test_words_and_prompts_that_need_too_many_positions_are_refused(tmp_path, family):
    """Nine words and thirty-two prompts, of 40 positions; RoBERTa counts its own from one on."""
    small = tiny(tmp_path, family)
    most = 39 if family == "roberta" else 40
    inputs = padded_inputs(family)
    with given(small, prompt_tuning_at_embeddings=most - 9):
        small.model(**inputs)
    with (
        given(small, prompt_tuning_at_embeddings=most - 8),
        pytest.raises(
            BackboneError,
            match=f"a text of 9 tokens and {most - 8} prompts need {most + 1} positions, and the "
            f"model has {most}: cut texts to 8",
        ),
    ):
        small.model(**inputs)


def test_images_have_all_the_room_they_need(tmp_path):
    small = tiny_with(tmp_path, "vit")
    with given(small, prompt_tuning_at_embeddings=60):
        small.model(**padded_inputs("vit"))


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
@pytest.mark.parametrize("method", ["prompt_tuning", "p_tuning"])
def test_words_can_be_written_on_from_a_cache(tmp_path, family, method):
    """Prompts are in the cache once; masks and positions go on behind them."""
    small = tiny(tmp_path, family)
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, attn_implementation=ATTENTION
    ).eval()
    small = type(small)(files=small.files, backbone=small.backbone, model=model.base_model)
    ids = padded_inputs(family)["input_ids"][:2]
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    with given(small, **{f"{method}_at_embeddings": LENGTH}), torch.no_grad():
        written = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=4, min_new_tokens=4, do_sample=False
        )
        for row in range(2):
            tokens, known = ids[row : row + 1], mask[row : row + 1]
            for _ in range(4):
                scores = model(input_ids=tokens, attention_mask=known, use_cache=False,
                               position_ids=_positions(known)).logits[:, -1]  # fmt: skip
                scores[:, 3] = -torch.inf
                tokens = torch.cat([tokens, scores.argmax(-1, keepdim=True)], dim=1)
                known = torch.cat([known, known.new_ones(1, 1)], dim=1)
            assert torch.equal(written[row : row + 1], tokens)


def _positions(mask):
    return (mask.cumsum(1) - 1).clamp(min=0)


@pytest.mark.parametrize("family", ["bart", "mt5"])
def test_answers_can_be_written_to_prompts_and_words(tmp_path, family):
    """The encoder runs by itself then, and the decoder step by step."""
    small = tiny(tmp_path, family)
    model = AutoModelForSeq2SeqLM.from_pretrained(
        tmp_path, dtype=torch.float32, attn_implementation=ATTENTION
    ).eval()
    small = type(small)(files=small.files, backbone=small.backbone, model=model.base_model)
    inputs = {n: v[1:2] for n, v in padded_inputs(family).items() if "decoder" not in n}
    with given(small, prompt_tuning_at_embeddings=LENGTH), torch.no_grad():
        written = model.generate(**inputs, max_new_tokens=4, min_new_tokens=4, num_beams=1)
        ids = written[:, :1]
        for _ in range(4):
            scores = model(**inputs, decoder_input_ids=ids, use_cache=False).logits[:, -1]
            scores[:, 3] = -torch.inf
            ids = torch.cat([ids, scores.argmax(-1, keepdim=True)], dim=1)

    assert torch.equal(written[:, :4], ids[:, :4])


def test_prompts_begin_as_words(tmp_path):
    """Of the vocabulary, drawn by the generator."""
    small = tiny(tmp_path, "bert")
    words = small.model.get_input_embeddings().weight
    with given(small, prompt_tuning_at_embeddings=LENGTH) as injection:
        (vectors,) = injection.state().values()
        noise = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(1))

        distances = torch.cdist(vectors - 0.3 * noise, words)
        assert distances.min(dim=1).values.max() < 1e-4


def test_half_precision_gives_finite_gradients_in_full(tmp_path):
    small = tiny(tmp_path, "gpt2")
    with given(small, prompt_tuning_at_embeddings=LENGTH) as injection:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = small.model(**padded_inputs("gpt2")).last_hidden_state
        out.float().square().sum().backward()

        for parameter in injection.named().values():
            assert parameter.grad.dtype is torch.float32
            assert torch.isfinite(parameter.grad).all()
