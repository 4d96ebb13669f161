import numpy as np
import pytest

from autopeft.errors import DataError
from autopeft.study import Columns
from autopeft.tasks.rows import (
    Rows,
    join_rows,
    label_names,
    parts_of,
    targets_of,
    without_split,
)
from autopeft.tasks.table import Table

COLUMNS = Columns(text="text", label="label")


def table(path="data.csv", **columns):
    return Table(path=path, columns=columns, digest="")


def rows(texts, labels):
    return Rows(texts=texts, pairs=None, labels=labels, given=("train",) * len(texts))


def test_rows_are_joined_in_the_order_of_the_files():
    train = table(text=("a", "b"), other=("A", "B"), label=("x", "y"))
    test = table(text=("c",), other=("C",), label=("x",))

    joined = join_rows(
        {"train": train, "test": test}, Columns(text="text", pair="other", label="label")
    )

    assert joined == Rows(
        texts=("a", "b", "c"),
        pairs=("A", "B", "C"),
        labels=("x", "y", "x"),
        given=("train", "train", "test"),
    )
    assert joined.content == [("a", "A"), ("b", "B"), ("c", "C")]


def test_a_split_column_gives_the_parts():
    data = table(text=("a", "b", "c"), label=("x", "y", "x"), split=("Train", "dev", "test"))

    joined = join_rows({"train": data}, Columns(text="text", label="label", split="split"))

    assert joined.given == ("train", "validation", "test")


def test_an_unknown_word_in_the_split_column_is_refused_with_its_row():
    data = table(text=("a", "b", "c"), label=("x", "y", "x"), split=("train", "holdout", "test"))

    with pytest.raises(DataError, match="names no part in row 2, such as 'holdout': write train, "):
        join_rows({"train": data}, Columns(text="text", label="label", split="split"))


def test_a_split_column_without_train_is_refused():
    data = table(text=("a", "b"), label=("x", "y"), split=("validation", "test"))

    with pytest.raises(DataError, match=r"'split' of data.csv gives no row to train: write train"):
        join_rows({"train": data}, Columns(text="text", label="label", split="split"))


def test_a_found_split_column_yields_to_files_of_their_own():
    columns = Columns(text="text", label="label", split="split")
    one, two = table(), table()

    assert without_split(columns, {"train": one}, None) == columns
    assert without_split(columns, {"train": one, "test": two}, None).split is None


def test_a_named_split_column_and_files_of_their_own_contradict_each_other():
    columns = Columns(text="text", label="label", split="fold")

    with pytest.raises(DataError, match="given twice, by column 'fold' and by files of their own"):
        without_split(columns, {"train": table(), "test": table()}, "fold")


def test_classes_become_indices_in_the_order_of_their_names():
    data = table(text=("a", "b", "c"), label=("10", "9", "10.0"))
    joined = join_rows({"train": data}, COLUMNS)

    names = label_names(joined, COLUMNS, "classification")
    targets = targets_of(joined, {"train": data}, COLUMNS, names)

    assert names == ("9", "10")
    np.testing.assert_array_equal(targets, [1, 0, 1])
    assert targets.dtype == np.int64


def test_regression_has_no_names_and_its_labels_are_numbers():
    data = table(text=("a", "b"), label=("0.5", "2"))
    joined = join_rows({"train": data}, COLUMNS)

    names = label_names(joined, COLUMNS, "regression")
    targets = targets_of(joined, {"train": data}, COLUMNS, names)

    assert names == ()
    np.testing.assert_array_equal(targets, [0.5, 2.0])


def test_regression_on_equal_labels_is_refused():
    with pytest.raises(DataError, match=r"all rows have the label '1\.5' in column 'label'"):
        label_names(rows(("a", "b"), ("1.5", "1.5")), COLUMNS, "regression")


def test_a_class_with_two_texts_is_refused_by_its_name():
    data = rows(tuple(map(str, range(12))), ("x",) * 10 + ("y",) * 2)

    with pytest.raises(DataError, match=r"class 'y' has too few distinct texts \(2\)"):
        parts_of(data, np.array([0] * 10 + [1] * 2), ("x", "y"), seed=0)


def test_regression_with_two_texts_is_refused():
    data = rows(("a", "b") * 6, ("1.5",) * 12)

    with pytest.raises(DataError, match=r"the data has too few distinct texts \(2\)"):
        parts_of(data, np.arange(12.0), (), seed=0)


def test_the_parts_of_a_regression_are_alike_in_their_labels():
    """Stratified: 100 values in ten bins, so each part's mean is within one bin of 49.5."""
    data = rows(tuple(map(str, range(100))), ("",) * 100)
    values = np.arange(100.0)

    parts = np.array(parts_of(data, values, (), seed=0))

    for part, size in (("train", 60), ("validation", 20), ("test", 20)):
        assert (parts == part).sum() == size
        assert abs(values[parts == part].mean() - 49.5) < 5
