import numpy as np
import pytest

from autopeft.errors import DataError
from autopeft.tasks.labels import (
    as_classes,
    as_numbers,
    check_not_constant,
    class_names,
    kind_of,
)
from autopeft.tasks.table import Table


def table(*labels):
    return Table(path="data.csv", columns={"label": labels}, digest="")


@pytest.mark.parametrize(
    "labels", [["yes", "no"], ["1", "0"], ["true", "false"], ["1.0", "2.0"], ["1", "many"]]
)
def test_words_and_few_whole_numbers_are_classes(labels):
    assert kind_of(labels * 20, "label") == "classification"


def test_numbers_with_decimals_are_regression():
    assert kind_of(["1", "2.5", "4"] * 20, "label") == "regression"


def test_many_whole_numbers_are_classes_if_they_are_a_small_share_of_the_rows():
    """25 of 500 rows are 5%."""
    assert kind_of([str(row % 25) for row in range(500)], "label") == "classification"


@pytest.mark.parametrize(
    "labels",
    [
        [str(row % 25) for row in range(400)],
        [str(row / 7) for row in range(100)] + ["unknown"],
    ],
)
def test_many_distinct_numbers_that_could_be_either_are_left_to_the_user(labels):
    with pytest.raises(DataError, match=r"mostly numbers, .* say --task classification or --task"):
        kind_of(labels, "grade")


def test_whole_numbers_are_the_same_class_with_and_without_decimal_zeros():
    """A missing value elsewhere makes pandas write 1 as 1.0."""
    assert as_classes(["1", "1.0", "-2.00", "007"]) == ("1", "1", "-2", "007")


def test_labels_that_are_not_all_whole_numbers_are_left_as_they_are():
    assert as_classes(["1.0", "1.1"]) == ("1.0", "1.1")
    assert as_classes(["1.0", "x"]) == ("1.0", "x")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["b", "a", "b"], ("a", "b")),
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["2", "nan", "10"], ("10", "2", "nan")),
    ],
)
def test_classes_are_in_the_order_of_numbers_or_else_of_the_alphabet(labels, names):
    """The language code nan is no number to sort by."""
    assert class_names(labels, ["train"] * 3, "label") == names


def test_a_label_that_train_does_not_have_is_refused_by_name():
    given = ["train", "train", "validation", "test"]

    with pytest.raises(DataError, match="no row of train has the label 'c', 'd' that validation"):
        class_names(["a", "b", "d", "c"], given, "label")


def test_a_single_class_is_refused():
    with pytest.raises(DataError, match="all rows have the label 'a' in column 'mood': give at"):
        check_not_constant(["a", "a"], "mood")
    with pytest.raises(DataError, match="all rows have the label 'a'"):
        class_names(["a", "a"], ["train", "train"], "mood")


def test_a_label_that_stands_for_none_is_refused():
    """Trainers pass over it, so it would be no class to them."""
    match = r"column 'mood' has the label -100 in 1 of 4 rows, .*: remove those rows, or call the"

    with pytest.raises(DataError, match=match):
        class_names(as_classes(["0", "1", "1", "-100.0"]), ["train"] * 4, "mood")


def test_numbers_are_read_as_floats():
    numbers = as_numbers(table("1", "2.5", "-1e2"), "label")

    np.testing.assert_array_equal(numbers, [1.0, 2.5, -100.0])
    assert numbers.dtype == np.float64


@pytest.mark.parametrize("wrong", ["nan", "inf", "-Infinity", "n/a", "1,5"])
def test_what_is_no_finite_number_is_refused_with_its_row(wrong):
    with pytest.raises(DataError, match=r"'label' of data.csv has no finite number in row 2, as"):
        as_numbers(table("1.5", wrong), "label")
