"""Language models: which tokens count, that none sees the next one, and that they learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

from autopeft.errors import BackboneError, DataError
from autopeft.tasks.parts import Passages
from autopeft.training.batches import Batch
from autopeft.training.heads.language import (
    LanguageModel,
    encode_continuations,
    encode_translations,
)
from autopeft.training.heads.tokens import IGNORED
from autopeft.training.model_files import find_model
from autopeft.training.pretrained import load_backbone, load_tokenizer
from autopeft.trial import Fidelity
from tests.kinds import (
    bench_of,
    continued,
    plain_tokenizer,
    save_causal,
    save_translator,
    write_json,
)
from tests.models import WORDS

CAUSAL = ("gpt2", "llama", "opt", "gemma2")
TRANSLATORS = ("t5", "bart")
OUT = IGNORED


def passages(*texts, answers=None):
    return Passages(texts=texts, answers=answers)


def ids(text):
    return tuple(WORDS.index(word) for word in text.split())


@pytest.fixture
def tokenizer():
    tokenizer = plain_tokenizer()
    tokenizer.eos_token, tokenizer.pad_token = "[SEP]", "[PAD]"
    return tokenizer


class TestContinuations:
    def test_all_of_a_text_is_learned_but_its_first_token(self, tokenizer):
        found = encode_continuations(tokenizer, passages("plain0 good1 bad2"), 16, "completion")

        assert found.ids == (ids("plain0 good1 bad2"),)
        assert found.targets == ((OUT, *ids("good1 bad2")),)

    def test_a_completion_is_learned_with_its_end_and_its_prompt_is_not(self, tokenizer):
        part = passages("plain0 plain1", answers=("good1",))

        found = encode_continuations(tokenizer, part, 16, "completion")

        assert found.ids == (ids("plain0 plain1 good1 [SEP]"),)
        assert found.targets == ((OUT, OUT, *ids("good1 [SEP]")),)

    def test_the_prompt_is_learned_too_where_it_is_asked_for(self, tokenizer):
        part = passages("plain0 plain1", answers=("good1",))

        found = encode_continuations(tokenizer, part, 16, "all")

        assert found.targets == ((OUT, *ids("plain1 good1 [SEP]")),)

    def test_a_long_text_loses_its_end(self, tokenizer):
        found = encode_continuations(tokenizer, passages("plain0 plain1 plain2"), 2, "completion")

        assert found.ids == (ids("plain0 plain1"),)

    def test_a_long_prompt_loses_its_beginning_so_that_the_completion_stays(self, tokenizer):
        """Its first token stays, which may be one that every text begins with."""
        part = passages("plain0 plain1 plain2 plain3", answers=("good1 good2",))

        found = encode_continuations(tokenizer, part, 5, "completion")

        assert found.ids == (ids("plain0 plain3 good1 good2 [SEP]"),)
        assert found.targets == ((OUT, OUT, *ids("good1 good2 [SEP]")),)

    def test_a_completion_that_is_too_long_alone_loses_its_end(self, tokenizer):
        part = passages("plain0 plain1", answers=("good1 good2 good3",))

        found = encode_continuations(tokenizer, part, 3, "completion")

        assert found.ids == (ids("plain0 good1 good2"),)

    def test_tokens_that_the_tokenizer_puts_around_a_text_stay_outside(self, tokenizer):
        from tokenizers import processors

        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )

        part = passages("plain0", answers=("good1",))

        found = encode_continuations(tokenizer, part, 16, "completion")
        assert found.ids == (ids("[CLS] plain0 good1 [SEP]"),)
        assert found.targets == ((OUT, OUT, *ids("good1 [SEP]")),)

    def test_texts_of_one_token_teach_nothing(self, tokenizer):
        with pytest.raises(DataError, match="no text has a token to learn: texts need two tokens"):
            encode_continuations(tokenizer, passages("plain0", "plain1"), 16, "completion")

    def test_a_tokenizer_that_does_not_know_places_is_refused(self):
        class Slow:
            is_fast = False
            model_max_length = 8

        with pytest.raises(BackboneError, match=r"knows where a token comes from: save the model"):
            encode_continuations(Slow(), passages("a", answers=("b",)), 16, "completion")


class TestTranslations:
    def test_both_sides_are_sequences_of_their_own(self, tmp_path):
        tokenizer = load_tokenizer(find_model(str(save_translator(tmp_path))), "seq2seq")
        part = passages("plain0 plain1", "plain2", answers=("good1", "bad0 bad1 bad2"))

        found = encode_translations(tokenizer, part, 3)

        assert found.ids == (ids("plain0 plain1 [SEP]"), ids("plain2 [SEP]"))
        assert found.targets == (ids("good1 [SEP]"), ids("bad0 bad1 [SEP]"))
        assert found.lengths.tolist() == [3, 3]


class Uniform(torch.nn.Module):
    """A causal model that finds ``good1`` twice as likely as any other word."""

    def __init__(self):
        super().__init__()
        self.config = type("Config", (), {"is_encoder_decoder": False})

    def forward(self, input_ids, attention_mask, use_cache):
        logits = torch.zeros(*input_ids.shape, len(WORDS))
        logits[..., WORDS.index("good1")] = np.log(2)
        return type("Out", (), {"logits": logits})


class TestJudging:
    def test_likelihood_tokens_and_match_are_kept_of_every_example(self, tokenizer):
        part = passages("plain0", "plain0 plain1", answers=("good1 good1", "good1 bad0"))
        tokenizer.eos_token = None
        batch = encode_continuations(tokenizer, part, 16, "completion").batch([0, 1])

        found = LanguageModel(Uniform()).judge(batch)

        whole = np.log(len(WORDS) + 1)
        expected = [[2 * (np.log(2) - whole), 2, 1], [np.log(2) - 2 * whole, 2, 0]]
        np.testing.assert_allclose(found.predictions, expected, rtol=1e-6)
        assert found.predictions.dtype is torch.float32
        assert found.loss.item() == pytest.approx(-(expected[0][0] + expected[1][0]) / 4)
        assert found.weight == 4

    def test_an_example_without_a_token_matches_nothing(self, tokenizer):
        batch = encode_continuations(
            tokenizer, passages("plain0 good1", "plain0"), 16, "completion"
        ).batch([0, 1])

        assert LanguageModel(Uniform()).judge(batch).predictions[1].tolist() == [0, 0, 0]


def save(folder, family):
    saver = save_translator if family in TRANSLATORS else save_causal
    return saver(folder, family)


def whole(folder, family):
    kind = "seq2seq" if family in TRANSLATORS else "causal_lm"
    return load_backbone(find_model(str(save(folder, family))), kind)


@pytest.mark.parametrize("family", CAUSAL)
def test_no_token_sees_the_one_that_it_shall_predict(tmp_path, family):
    """With padding in the batch and without: the masks are made differently."""
    model = LanguageModel(whole(tmp_path, family))
    for padding in (0, 2):
        mask = torch.ones(2, 6, dtype=torch.long)
        mask[1, 6 - padding :] = 0
        first = torch.tensor([[4, 5, 6, 7, 8, 9], [5, 4, 7, 6, 9, 8]])
        later = first.clone()
        later[:, 3:] = 12
        likelihoods = []
        for tokens in (first, later):
            labels = torch.full_like(tokens, OUT)
            labels[:, 1:3] = tokens[:, 1:3]
            batch = Batch(
                inputs={"input_ids": tokens, "attention_mask": mask},
                labels=labels,
                rows=np.arange(2),
            )
            with torch.no_grad():
                likelihoods.append(model.judge(batch).predictions)
        torch.testing.assert_close(*likelihoods)


@pytest.mark.parametrize("family", [*CAUSAL, *TRANSLATORS])
def test_padding_never_counts(tmp_path, family):
    """An example alone, and beside one that is longer on both sides."""
    folder = save(tmp_path, family)
    kind = "seq2seq" if family in TRANSLATORS else "causal_lm"
    files = find_model(str(folder))
    tokenizer, model = load_tokenizer(files, kind), LanguageModel(load_backbone(files, kind))
    part = passages("plain0", "plain1 " * 7, answers=("good1", "bad1 " * 5))
    if kind == "seq2seq":
        data = encode_translations(tokenizer, part, 32)
    else:
        data = encode_continuations(tokenizer, part, 32, "completion")

    with torch.no_grad():
        alone, beside = (model.judge(data.batch(rows)).predictions[0] for rows in ([0], [0, 1]))

    torch.testing.assert_close(alone, beside, rtol=1e-5, atol=1e-5)


def test_the_end_token_counts_where_it_ends_a_text_and_not_where_it_pads(tmp_path):
    """GPT-2 has no padding token and pads with its end token: only the mask tells them apart."""
    tokenizer = load_tokenizer(find_model(str(save_causal(tmp_path))), "causal_lm")
    part = passages("plain0", "plain1 plain2", answers=("good1", "bad1 bad2"))

    batch = encode_continuations(tokenizer, part, 16, "completion").batch([0, 1])

    end = WORDS.index("[SEP]")
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == end
    assert batch.inputs["input_ids"][0].tolist() == [*ids("plain0 good1"), end, end, end]
    assert batch.labels[0].tolist() == [OUT, *ids("good1"), end, OUT, OUT]
    assert batch.inputs["attention_mask"][0].tolist() == [1, 1, 1, 0, 0]


@pytest.mark.parametrize("family", TRANSLATORS)
def test_the_loss_is_that_of_transformers(tmp_path, family):
    model = whole(tmp_path, family)
    labels = torch.tensor([[4, 5, 3], [6, 3, OUT]])
    inputs = {"input_ids": torch.tensor([[8, 9, 3]] * 2), "attention_mask": torch.ones(2, 3).long()}
    batch = Batch(inputs=inputs, labels=labels, rows=np.arange(2))

    with torch.no_grad():
        expected = model(**inputs, labels=labels).loss
        found = LanguageModel(model).loss(batch)

    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("family", CAUSAL)
def test_the_loss_of_causal_models_is_that_of_transformers(tmp_path, family):
    model = whole(tmp_path, family)
    tokens = torch.tensor([[4, 5, 6, 7], [8, 9, 10, 11]])
    labels = torch.where(torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]]).bool(), tokens, OUT)
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}

    with torch.no_grad():
        expected = model(**inputs, labels=labels).loss
        found = LanguageModel(model).loss(Batch(inputs=inputs, labels=labels, rows=np.arange(2)))

    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("family", TRANSLATORS)
def test_a_match_is_what_greedy_decoding_gives(tmp_path, family):
    """What the model generates itself matches to the letter; with one other token it does not."""
    model = whole(tmp_path, family)
    model.generation_config.forced_eos_token_id = None
    inputs = {"input_ids": torch.tensor([[8, 9, 3]]), "attention_mask": torch.ones(1, 3).long()}
    with torch.no_grad():
        made = model.generate(**inputs, max_new_tokens=4, do_sample=False, num_beams=1)[:, 1:]
        batch = Batch(inputs=inputs, labels=made, rows=np.arange(1))
        wrong = replace(batch, labels=torch.where(torch.arange(made.shape[1]) == 1, 10, made))
        judged = [LanguageModel(model).judge(b).predictions[0, 2].item() for b in (batch, wrong)]

    assert judged == [1.0, 0.0]


def seqs(bench):
    """Return LoRA at what it is usually put at, in every stack."""
    places = ("attention.query", "attention.value", "ffn.input")
    return {s.name: 4 for s in bench.slots if s.method == "lora" and s.place in places}


RATES = {"learning_rates": {"lora": 1e-2}, "epochs": 8}


@pytest.mark.parametrize("family", [*CAUSAL, *TRANSLATORS])
def test_completions_are_learned(tmp_path, family):
    """The last word of the prompt decides them. The model's own head is not trained."""
    data = write_json(tmp_path / "data.jsonl", continued(120))
    kind = "seq2seq" if family in TRANSLATORS else "causal_lm"
    bench = bench_of(save(tmp_path / "model", family), data, kind)
    sizes = seqs(bench)
    before = {name: p.clone() for name, p in bench.trainer._whole.named_parameters()}

    begun = bench.run(sizes, fidelity=Fidelity(share=0.01), **RATES)
    measured = bench.run(sizes, **RATES)

    assert measured.score > begun.score + 0.5
    assert measured.score == pytest.approx(-measured.loss, rel=1e-5)
    assert measured.head_parameters == 0
    assert measured.parameters == bench.table(sizes).parameters(bench.slots)
    assert all(torch.equal(p, before[n]) for n, p in bench.trainer._whole.named_parameters())


def test_the_loss_on_prompts_changes_what_is_learned_and_not_what_is_scored(tmp_path):
    data = write_json(tmp_path / "data.jsonl", continued(120))
    model = save_causal(tmp_path / "model")
    benches = [bench_of(model, data, "causal_lm", loss=loss) for loss in ("completion", "all")]
    sizes = seqs(benches[0])

    first, second = ([b.trainer.parts[p].targets for b in benches] for p in ("train", "validation"))
    scores = [bench.run(sizes, **RATES).score for bench in benches]

    assert first[0] != first[1]
    assert second[0] == second[1]
    assert scores[0] != scores[1]


def test_nothing_trained_is_measured_all_the_same(tmp_path):
    """A language model without a method has not even a head: it is scored as it is."""
    data = write_json(tmp_path / "data.jsonl", continued(40))
    bench = bench_of(save_causal(tmp_path / "model"), data, "causal_lm")

    first, again = bench.run({}), bench.run({}, epochs=2, seed=1)

    assert (first.parameters, first.head_parameters, first.steps) == (0, 0, 0)
    assert first.score == again.score


def test_a_plain_text_is_scored_on_all_its_tokens(tmp_path):
    data = write_json(tmp_path / "data.jsonl", continued(60))
    bench = bench_of(save_causal(tmp_path / "model"), data, "causal_lm", text="prompt")

    measured = bench.run(seqs(bench), **RATES)

    kept = np.frombuffer(measured.predictions, "<f4").reshape(-1, 3)
    lengths = bench.trainer.parts["validation"].lengths
    assert kept[:, 1].tolist() == (lengths - 1).tolist()
    model = bench.trainer._whole
    row = next(i for i, n in enumerate(lengths) if n > 2)
    tokens = torch.tensor([bench.trainer.parts["validation"].ids[row]])
    with torch.no_grad():
        likely = log_softmax(model(input_ids=tokens).logits[0, :-1].float(), -1)
    plain = likely.gather(1, tokens[0, 1:, None]).sum().item()
    untrained = np.frombuffer(bench.run({}).predictions, "<f4").reshape(-1, 3)
    assert untrained[row, 0] == pytest.approx(plain, rel=1e-5)
