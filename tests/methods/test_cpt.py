"""Words of the data in front of the input, held against the `peft` library."""

from dataclasses import replace

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from autopeft.errors import BackboneError
from autopeft.methods.cpt import Context
from autopeft.methods.inject import injected
from autopeft.search_spaces.catalog import slots_of
from autopeft.training.fisher import choose_masks, squared_gradients
from tests.methods.filling import filled, hidden
from tests.methods.giving import given, shake, state_of
from tests.models import (
    SCALES,
    VISION,
    Bench,
    opinions,
    padded_inputs,
    save_tiny,
    seen,
    table,
    tiny,
    write_rows,
)

LENGTH = 3
SLOT = {"cpt@embeddings": LENGTH}
BALL = 0.1 * (32 / 2048) ** 0.5
TOKENS = torch.tensor([7, 5, 9])


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cpt")
    return Bench(save_tiny(folder / "model"), write_rows(folder / "opinions.csv", opinions(60)))


def context_of(model):
    [context] = [module for module in model.modules() if isinstance(module, Context)]
    return context


def information(numbers, words=24):
    """Let these words have the largest information, the first the most."""
    squared_VD = torch.zeros(words, 32)
    for place, number in enumerate(numbers):
        squared_VD[number] = len(numbers) - place
    return squared_VD


@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt2", "llama", "gemma2", "gemma3_text"])
def test_a_fresh_context_is_the_same_as_its_words_before_the_text(tmp_path, family):
    """With all that a model does to words: positions, types, scales."""
    small = tiny(tmp_path, family)
    inputs = padded_inputs(family)
    inputs.pop("token_type_ids", None)
    with filled(small, SLOT), torch.no_grad():
        context_of(small.model).choose(information(TOKENS))
        found = small.model(**inputs).last_hidden_state
    longer = {
        "input_ids": torch.cat([TOKENS.expand(3, -1), inputs["input_ids"]], dim=1),
        "attention_mask": torch.cat(
            [torch.ones(3, LENGTH, dtype=torch.long), inputs["attention_mask"]], dim=1
        ),
    }
    with torch.no_grad():
        expected = small.model(**longer).last_hidden_state[:, LENGTH:]

    torch.testing.assert_close(seen(found, inputs), seen(expected, inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama"])
def test_it_is_the_context_of_peft(tmp_path, family):
    """Of a causal language model, the only kind that the library has it for."""
    small = tiny(tmp_path, family)
    inputs = padded_inputs(family)
    with given(small, cpt_at_embeddings=LENGTH) as injection, torch.no_grad():
        context_of(small.model).choose(information(TOKENS))
        found = small.model(**inputs).last_hidden_state
        delta = state_of(injection)["0/cpt@embeddings/delta"]

    whole = AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, attn_implementation="eager"
    )
    config = peft.CPTConfig(
        task_type="CAUSAL_LM", cpt_token_ids=TOKENS.tolist(), cpt_tokens_type_mask=[2] * LENGTH
    )
    theirs = peft.get_peft_model(whole, config).eval()
    # much longer than the ball is wide: the library puts it back as well
    theirs.prompt_encoder["default"].delta_embedding.weight.data = 100 * delta
    with torch.no_grad():
        logits = theirs(**inputs).logits[:, LENGTH:]
        expected = whole.get_output_embeddings()(found)

    torch.testing.assert_close(seen(logits, inputs), seen(expected, inputs), rtol=1e-4, atol=1e-5)


def test_no_word_moves_further_than_its_ball(tmp_path):
    """However far a step has gone; what lies inside stays where it is."""
    small = tiny(tmp_path, "bert")
    with filled(small, SLOT) as injection, torch.no_grad():
        context = context_of(small.model)
        start = context()
        injection.named()["0/cpt@embeddings/delta"][0] = 1.0
        injection.named()["0/cpt@embeddings/delta"][1] = 1e-4
        moved = (context() - start).norm(dim=1)
        kept = state_of(injection)["0/cpt@embeddings/delta"].norm(dim=1)

    expected = torch.tensor([BALL, 1e-4 * 32**0.5, 0])
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(kept, expected, rtol=1e-4, atol=1e-6)


def test_the_words_are_those_of_the_data_that_the_loss_depends_on_most(bench):
    """Held against the information of every word; the context itself counts for nothing."""
    train = bench.trainer.parts["train"]
    with bench.tuned(SLOT) as tuned:
        [choice] = tuned.injection.choices()
        choose_masks(tuned.model, tuned.injection, train, 0, sample=5)
        tokens = tuned.injection.state()["0/cpt@embeddings/tokens"].clone()
        assert not choice.weight.requires_grad

    rows = np.random.default_rng(0).permutation(len(train))[:5]
    with bench.tuned(SLOT) as tuned:  # the same words stand in before any are chosen
        [choice] = tuned.injection.choices()
        [found] = squared_gradients(tuned.model, [choice.weight], train, rows)
    read = {word for row in rows for word in train.batch([row]).inputs["input_ids"][0].tolist()}

    assert set(found.sum(1).nonzero().flatten().tolist()) == read
    assert tokens.tolist() == found.sum(1).sort(descending=True).indices[:LENGTH].tolist()


def test_it_is_trained_beside_the_task(bench):
    """The head too; the words are chosen on the way."""
    measured = bench.run({"cpt@embeddings": LENGTH, "lora@attention.query": 1})

    assert measured.parameters == LENGTH * 32 + 2 * 1 * (32 + 32)


def test_a_context_that_is_not_chosen_is_not_trained(bench):
    with bench.tuned(SLOT) as tuned:
        tuned.model.train()
        with pytest.raises(
            RuntimeError,
            match=r"a context is trained before its words are chosen: call choose_masks first",
        ):
            tuned.model.loss(bench.trainer.parts["train"].batch([0, 1]))


def test_saved_weights_bring_their_words_along(tmp_path):
    """Under another seed, and with words that are chosen for good."""
    small = tiny(tmp_path, "bert")
    with filled(small, SLOT) as injection:
        context_of(small.model).choose(information(TOKENS))
        shake(injection)
        expected = hidden(small)
        state = state_of(injection)

    with filled(small, SLOT, seed=9) as injection:
        assert (hidden(small) - expected).abs().max() > 1e-3
        injection.load(state)
        torch.testing.assert_close(hidden(small), expected)
        small.model.train()
        small.model(**padded_inputs("bert"))


def test_a_context_longer_than_the_vocabulary_begins_again(tmp_path):
    small = tiny(tmp_path, "gpt2")
    with filled(small, {"cpt@embeddings": 26}) as injection:
        context_of(small.model).choose(information([4, 6]))
        tokens = injection.state()["0/cpt@embeddings/tokens"].tolist()

    assert tokens[:2] == tokens[24:] == [4, 6]
    assert sorted(tokens[:24]) == list(range(24))


def test_the_global_random_numbers_are_untouched(tmp_path):
    small = tiny(tmp_path, "bert")
    before = torch.get_rng_state()
    with filled(small, SLOT):
        hidden(small)

    assert torch.equal(torch.get_rng_state(), before)


def test_it_goes_beside_prompts(tmp_path):
    small = tiny(tmp_path, "bert")
    with given(small, cpt_at_embeddings=LENGTH, prompt_tuning_at_embeddings=2) as injection:
        out = small.model(**padded_inputs("bert")).last_hidden_state

        assert out.shape == (3, 9, 32)
        assert injection.count() == (LENGTH + 2) * 32


def test_half_precision_gives_finite_gradients_in_full(tmp_path):
    small = tiny(tmp_path, "gpt2")
    with given(small, cpt_at_embeddings=LENGTH) as injection:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = small.model(**padded_inputs("gpt2")).last_hidden_state
        out.float().square().sum().backward()

        for parameter in injection.named().values():
            assert parameter.grad.dtype is torch.float32
            assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("family", [*VISION, "clip", "clip_text_model"])
def test_where_there_are_no_words_to_stand_among_it_is_not_offered(tmp_path, family):
    small = tiny(tmp_path, family)

    assert not [slot for slot in slots_of(small.backbone) if slot.method == "cpt"]


def test_an_unknown_model_without_words_is_refused_with_a_way_out(tmp_path):
    """Its shape does not tell what it reads."""
    small = tiny(tmp_path, "vit")
    backbone = replace(small.backbone, architecture="unheard_of")
    slots = slots_of(backbone)
    configuration = table(slots, backbone.blocks, {})
    column = [slot.name for slot in slots].index("cpt@embeddings")
    first = tuple(LENGTH if i == column else 0 for i in range(len(slots)))
    configuration = replace(configuration, sizes=(first, *configuration.sizes[1:]))
    with (
        pytest.raises(
            BackboneError,
            match="unheard_of reads no embedded words: leave cpt out, or take prompt_tuning",
        ),
        injected(small.model, backbone, slots, configuration, SCALES, torch.Generator()),
    ):
        pass
