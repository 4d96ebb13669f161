import numpy as np
import pytest
import torch

from autopeft.study import DataFiles
from autopeft.tasks.parts import Texts
from autopeft.tasks.reading import load_parts
from autopeft.training.batches import Encoded, encode, ordered_batches, training_batches
from autopeft.training.model_files import find_model
from autopeft.training.pretrained import load_tokenizer
from tests.models import MINILM, SENTIMENT, WORDS, task_of, tokenizer_of


def encoded(lengths, *, types=False):
    """Return examples of these lengths; row 3 holds tokens 30, 31, 32 ..."""
    return Encoded(
        ids=tuple(tuple(10 * row + i for i in range(n)) for row, n in enumerate(lengths)),
        types=tuple(tuple(i % 2 for i in range(n)) for n in lengths) if types else None,
        labels=np.arange(len(lengths)) % 3,
        padding=7,
    )


def part(*texts, pairs=None):
    return Texts(texts=texts, pairs=pairs, labels=np.zeros(len(texts), dtype=np.int64))


@pytest.mark.parametrize(("count", "size"), [(1, 4), (64, 8), (65, 8), (1000, 16), (50, 64)])
def test_an_epoch_has_every_row_exactly_once(count, size):
    rng = np.random.default_rng(0)
    data = encoded(rng.integers(1, 40, size=count))

    batches = list(training_batches(data, size, rng))

    assert sorted(np.concatenate(batches)) == list(range(count))
    assert len(batches) == -(-count // size)
    assert sorted(map(len, batches), reverse=True)[:-1] == [size] * (len(batches) - 1)


def test_the_generator_alone_decides_the_order():
    data = encoded(np.random.default_rng(1).integers(1, 40, size=500))
    first, same, other = (
        np.concatenate(list(training_batches(data, 8, np.random.default_rng(seed))))
        for seed in (5, 5, 6)
    )

    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_the_second_epoch_has_another_order_than_the_first():
    data, rng = (
        encoded(np.random.default_rng(1).integers(1, 40, size=500)),
        np.random.default_rng(5),
    )

    first, second = (np.concatenate(list(training_batches(data, 8, rng))) for _ in range(2))

    assert not np.array_equal(first, second)


def test_short_texts_do_not_come_first():
    """Rows are sorted to make batches, and the batches shuffled: their lengths have no trend."""
    data, rng = encoded(np.arange(1, 257)), np.random.default_rng(0)

    means = np.array([data.lengths[rows].mean() for rows in training_batches(data, 8, rng)])

    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


def test_much_less_is_padding_than_in_random_order_on_the_demo_data():
    files = DataFiles(train=str(SENTIMENT))
    train = load_parts(task_of(files), files, ["train"])["train"]
    data = encode(load_tokenizer(find_model(MINILM)), train, 128)
    rng = np.random.default_rng(0)

    def padding(batches):
        filled = sum(data.lengths[rows].max() * len(rows) for rows in batches)
        return 1 - data.lengths.sum() / filled

    random = np.array_split(rng.permutation(len(data)), len(data) // 32)

    assert padding(random) > 0.5
    assert padding(training_batches(data, 32, rng)) < 0.1


def test_a_batch_is_padded_on_the_right_to_its_own_longest_row():
    batch = encoded([2, 4, 1, 9], types=True).batch([1, 0, 2])

    assert batch.inputs["input_ids"].tolist() == [[10, 11, 12, 13], [0, 1, 7, 7], [20, 7, 7, 7]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]
    assert batch.inputs["token_type_ids"].tolist() == [[0, 1, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert batch.labels.tolist() == [1, 0, 2]
    assert batch.rows.tolist() == [1, 0, 2]
    assert batch.inputs["input_ids"].dtype is torch.int64


def test_a_model_that_knows_no_types_is_given_none():
    assert set(encoded([2, 4]).batch([0]).inputs) == {"input_ids", "attention_mask"}


def test_prediction_takes_every_row_once_and_the_shortest_first():
    data = encoded([9, 2, 5, 2, 7])

    batches = list(ordered_batches(data, 2))

    assert [batch.rows.tolist() for batch in batches] == [[1, 3], [2, 4], [0]]
    assert [batch.inputs["input_ids"].shape[1] for batch in batches] == [2, 7, 9]


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_texts_become_the_ids_of_their_words(family):
    found = encode(tokenizer_of(family), part("plain0 good3", "bad1"), 16)

    names = [[WORDS[token] for token in ids] for ids in found.ids]
    assert names == [["[CLS]", "plain0", "good3", "[SEP]"], ["[CLS]", "bad1", "[SEP]"]]
    assert found.lengths.tolist() == [4, 3]
    assert found.padding == 0


def test_a_pair_is_one_sequence_whose_types_tell_the_texts_apart():
    found = encode(tokenizer_of("bert"), part("plain0", pairs=("good3 good2",)), 16)

    names = [WORDS[token] for token in found.ids[0]]
    assert names == ["[CLS]", "plain0", "[SEP]", "good3", "good2", "[SEP]"]
    assert found.types == ((0, 0, 0, 1, 1, 1),)


@pytest.mark.parametrize("pairs", [None, ("plain1 " * 20,)])
def test_long_texts_are_cut_to_the_length_that_was_asked_for(pairs):
    found = encode(tokenizer_of("bert"), part("plain0 " * 30, pairs=pairs), 10)

    assert found.lengths.tolist() == [10]
    assert WORDS[found.ids[0][-1]] == "[SEP]"


def test_no_text_is_longer_than_the_model_can_take():
    tokenizer = tokenizer_of("bert")
    tokenizer.model_max_length = 6

    assert encode(tokenizer, part("plain0 " * 30), 128).lengths.tolist() == [6]


def test_prediction_is_bounded_in_tokens_with_padding():
    """8 tokens: 2, 3 and 3 are padded to 9 in all, which is too many; 9 alone has to be."""
    data = encoded([9, 3, 2, 3, 4])

    batches = list(ordered_batches(data, tokens=8))

    assert [batch.rows.tolist() for batch in batches] == [[2, 1], [3, 4], [0]]
    assert all(batch.inputs["input_ids"].numel() <= 9 for batch in batches)


def test_short_examples_are_bounded_in_number():
    data = encoded([1] * 7)

    assert [len(batch.rows) for batch in ordered_batches(data, 3, tokens=100)] == [3, 3, 1]
