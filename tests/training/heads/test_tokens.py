"""Tags of words: which tokens count, what is kept of a sentence, and that it is learned."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from autopeft.errors import BackboneError
from autopeft.study import Columns, Task
from autopeft.tasks.parts import Sentences
from autopeft.training.heads.tokens import IGNORED, TokenModel, encode_sentences
from autopeft.trial import Fidelity
from tests.kinds import TAGS, bench_of, tagged, write_json
from tests.models import save_tiny, tiny, tokenizer_of

LORA = {"lora@attention.query": 4, "lora@attention.value": 4, "lora@ffn.input": 4}


def sentence(words, tags, *, entities=0):
    return Sentences(words=(tuple(words.split()),), tags=(tuple(tags),), entities=(entities,))


def task(labels=TAGS):
    return Task(
        kind="tokens", metric="token_accuracy", columns=Columns(text="words", label="tags"),
        labels=labels, head="tokens", max_length=32, digest="", split_seed=0, examples=(1, 1, 1),
    )  # fmt: skip


class Fixed(TokenModel):
    """A head that scores every token of every sentence as it is told."""

    def __init__(self, best_BT, labels=TAGS):
        torch.nn.Module.__init__(self)
        self.names = labels
        self.scores_BTC = torch.nn.functional.one_hot(torch.tensor(best_BT), len(labels)).float()

    def forward(self, inputs):
        return self.scores_BTC[:, : inputs["input_ids"].shape[1]]


class TestEncoding:
    def test_only_the_first_token_of_a_word_has_its_tag(self):
        """The tokenizer cuts plain0good1 at the dot: [CLS] plain0 . good1 bad2 [SEP]."""
        found = encode_sentences(tokenizer_of("roberta"), sentence("plain0.good1 bad2", [1, 3]), 16)

        assert len(found.ids[0]) == 6
        assert found.labels(0) == [IGNORED, 1, IGNORED, IGNORED, 3, IGNORED]

    def test_padding_and_special_tokens_are_not_scored(self):
        part = Sentences(
            words=(("plain0",), ("good1", "bad2", "bad3")),
            tags=((0,), (1, 2, 3)),
            entities=(0, 2),
        )

        batch = encode_sentences(tokenizer_of("bert"), part, 16).batch([0, 1])

        out = IGNORED
        assert batch.labels.tolist() == [[out, 0, out, out, out], [out, 1, 2, 3, out]]
        assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]

    def test_words_that_are_cut_off_have_no_token_but_keep_their_tag(self):
        found = encode_sentences(tokenizer_of("bert"), sentence("good0 " * 5, [1, 2, 2, 2, 2]), 4)

        assert found.lengths.tolist() == [4]
        assert found.words[0] == ((1, 1), (2, 2), (2, None), (2, None), (2, None))
        assert found.truth.tolist() == [[5, 0]]

    def test_a_tokenizer_that_does_not_know_words_is_refused(self):
        class Slow:
            is_fast = False

        with pytest.raises(BackboneError, match=r"knows which word a token belongs to: save the m"):
            encode_sentences(Slow(), sentence("good0", [1]), 16)


class TestJudging:
    def judged(self, words, tags, best_T, *, max_length=16):
        part = encode_sentences(tokenizer_of("bert"), sentence(words, tags), max_length)
        return Fixed([best_T]).judge(part.batch([0]))

    def test_a_sentence_is_counted_by_words_and_by_entities(self):
        """True: GOOD 0-2 and BAD 2-3; predicted: GOOD 0-2, then GOOD 2-3."""
        found = self.judged("a b c d", [1, 2, 3, 0], [0, 1, 2, 1, 0, 0])

        assert found.predictions.tolist() == [[3, 1, 2]]
        assert found.predictions.dtype is torch.int32
        assert found.weight == 4

    def test_words_that_were_cut_off_count_as_wrong_and_as_outside(self):
        """The second word is cut: the entity that goes on there is not found."""
        found = self.judged("a b", [1, 2], [0, 1, 0], max_length=3)

        assert found.predictions.tolist() == [[1, 0, 1]]

    def test_a_word_that_was_lost_keeps_its_place(self):
        """A control character leaves no token; the words after it are still where they are."""
        found = self.judged("a \x00 b", [0, 0, 1], [0, 0, 1, 0])

        assert found.predictions.tolist() == [[2, 1, 1]]

    def test_the_loss_is_the_mean_over_the_words_of_a_batch(self):
        part = Sentences(words=(("a",), ("b", "c")), tags=((0,), (1, 3)), entities=(0, 2))
        batch = encode_sentences(tokenizer_of("bert"), part, 16).batch([0, 1])
        model = Fixed([[0, 0, 0, 0], [0, 1, 2, 0]])

        scores = model.scores_BTC[[0, 1, 1], [1, 1, 2]]
        expected = cross_entropy(scores, torch.tensor([0, 1, 3]))
        assert model.loss(batch).item() == pytest.approx(expected.item())
        assert model.judge(batch).loss.item() == pytest.approx(expected.item())


def test_padding_changes_no_score(tmp_path):
    """A short sentence alone, and beside a long one."""
    model = TokenModel(tiny(tmp_path, "bert").model, task(), torch.Generator().manual_seed(0))
    part = Sentences(words=(("good1",), ("bad2",) * 9), tags=((1,), (3,) * 9), entities=(1, 9))
    data = encode_sentences(tokenizer_of("bert"), part, 16)

    with torch.no_grad():
        alone, beside = (model(data.batch(rows).inputs)[0, 1] for rows in ([0], [0, 1]))

    torch.testing.assert_close(alone, beside)


@pytest.mark.parametrize("metric", ["token_accuracy", "entity_f1"])
def test_tags_are_learned(tmp_path, metric):
    """Words tell them, and the word before; always saying the commonest gives 0.4 and 0."""
    data = write_json(tmp_path / "data.jsonl", tagged(120))
    bench = bench_of(save_tiny(tmp_path / "model"), data, "tokens", metric=metric)
    rates = {"learning_rates": {"lora": 1e-2}, "head_learning_rate": 2e-2}

    begun = bench.run(LORA, fidelity=Fidelity(share=0.01), **rates)
    measured = bench.run(LORA, epochs=8, **rates)

    assert measured.score > 0.65
    assert measured.loss < 0.5 * begun.loss
    assert measured.head_parameters == 4 * 33
    assert len(measured.predictions) == 4 * 3 * bench.task.examples[1]
    truth = bench.trainer.parts["validation"].truth
    kept = np.frombuffer(measured.predictions, "<i4").reshape(-1, 3)
    assert (kept[:, 0] <= truth[:, 0]).all()
    assert (kept[:, 1] <= truth[:, 1]).all()
