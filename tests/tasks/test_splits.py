from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.errors import DataError
from autopeft.tasks.splits import assign_parts, check_texts, part_named, quantile_bins

ROWS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=1, max_size=120)
SIZES = st.lists(st.integers(3, 60), min_size=1, max_size=4)
SEEDS = st.integers(0, 2**32 - 1)
QUICK = settings(max_examples=25, deadline=None)  # a quarter of a second, on a shared machine


def alone(rows):
    return ["train"] * rows


@QUICK
@given(ROWS, SEEDS)
def test_rows_of_equal_text_share_a_part_whatever_their_labels(rows, seed):
    """So no text that was trained on is tested on."""
    texts, strata = zip(*rows, strict=True)

    parts = assign_parts(alone(len(rows)), texts, strata, seed=seed)

    assert len(parts) == len(rows)
    assert len(set(zip(texts, parts, strict=True))) == len(set(texts))


@QUICK
@given(ROWS, SEEDS)
def test_the_same_seed_gives_the_same_parts(rows, seed):
    texts, strata = zip(*rows, strict=True)

    first, second = (assign_parts(alone(len(rows)), texts, strata, seed=seed) for _ in range(2))

    assert first == second


def test_another_seed_gives_other_parts():
    texts, strata = range(100), [0, 1] * 50

    assert assign_parts(alone(100), texts, strata, seed=0) != assign_parts(
        alone(100), texts, strata, seed=1
    )


@QUICK
@given(SIZES, SEEDS)
def test_each_class_is_shared_out_60_20_20_to_within_one_row(sizes, seed):
    """With texts that do not repeat. No class is without a row in any part."""
    strata = [name for name, size in enumerate(sizes) for _ in range(size)]

    parts = assign_parts(alone(len(strata)), range(len(strata)), strata, seed=seed)

    counts = Counter(zip(strata, parts, strict=True))
    for name, size in enumerate(sizes):
        assert abs(counts[name, "validation"] - size / 5) < 1
        assert abs(counts[name, "test"] - size / 5) < 1
        assert all(counts[name, part] for part in ("train", "validation", "test"))


@QUICK
@given(st.lists(st.integers(1, 6), min_size=3, max_size=40), SEEDS)
def test_no_part_is_empty_when_there_are_three_texts_however_often_they_repeat(repeats, seed):
    texts = [name for name, times in enumerate(repeats) for _ in range(times)]

    parts = assign_parts(alone(len(texts)), texts, [0] * len(texts), seed=seed)

    assert set(parts) == {"train", "validation", "test"}


@pytest.mark.parametrize("there", ["validation", "test"])
def test_what_is_given_stays_and_the_missing_part_gets_a_quarter_of_train(there):
    given_parts = ["train"] * 80 + [there] * 30
    missing = {"validation": "test", "test": "validation"}[there]

    parts = assign_parts(given_parts, range(110), [0] * 110, seed=0)

    assert parts[80:] == (there,) * 30
    assert Counter(parts[:80]) == {"train": 60, missing: 20}


def test_nothing_moves_when_every_part_is_given_even_if_a_text_repeats():
    given_parts = ("train",) * 10 + ("validation", "test")

    assert assign_parts(given_parts, ["same"] * 12, [0] * 12, seed=0) == given_parts


def test_a_class_whose_texts_are_too_few_for_all_parts_stays_in_train():
    """This is left over where a rarer class claims the texts that both share."""
    parts = assign_parts(alone(12), range(12), [0] * 10 + [1] * 2, seed=0)

    assert parts[10:] == ("train", "train")


def test_too_few_rows_are_refused():
    with pytest.raises(DataError, match=r"has 9 rows to train on, too few .* at least 10"):
        check_texts(alone(9), range(9), ["the data"] * 9)


def test_a_class_with_fewer_texts_than_parts_is_refused_by_name():
    """Eleven rows, but only two texts of the class."""
    owners = ["class 'good'"] * 10 + ["class 'rare'"] * 3
    texts = [*range(10), "a", "a", "b"]

    with pytest.raises(DataError, match=r"class 'rare' has too few distinct texts \(2\) to be cut"):
        check_texts(alone(13), texts, owners)


def test_two_texts_are_enough_for_two_parts_and_one_is_not():
    given_parts = [*alone(11), "test"]
    owners = ["class 'good'"] * 9 + ["class 'rare'"] * 2 + ["class 'good'"]

    check_texts(given_parts, range(12), owners)
    with pytest.raises(DataError, match="into train and validation: add texts until there are 2"):
        check_texts(given_parts, [*range(10), 9, 11], owners)


def test_repeated_texts_do_not_matter_when_every_part_is_given():
    check_texts([*alone(10), "validation", "test"], ["same"] * 12, ["the data"] * 12)


def test_quantile_bins_are_equally_full_and_in_the_order_of_the_values():
    values = np.random.default_rng(0).normal(size=200)

    bins = np.array(quantile_bins(values, range(200)))

    assert Counter(bins.tolist()) == dict.fromkeys(range(10), 20)
    assert (np.diff(bins[np.argsort(values)]) >= 0).all()


def test_rows_of_equal_text_are_in_the_same_quantile_bin():
    bins = quantile_bins(np.array([0.0, 9.0, *range(20)]), ["a", "a", *range(20)])

    assert bins[0] == bins[1]


def test_few_values_make_a_single_quantile_bin():
    assert set(quantile_bins(np.arange(9.0), range(9))) == {0}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["train", "Training"], "train"),
        (["validation", "valid", "VAL", "dev"], "validation"),
        (["test", "testing", "eval"], "test"),
        (["", "fold 1", "holdout"], None),
    ],
)
def test_a_part_is_known_by_its_usual_names_in_any_case(words, part):
    assert [part_named(word) for word in words] == [part] * len(words)
