import pytest

from autopeft.errors import DataError
from autopeft.tasks.table import Table, first_rows, number

TABLE = Table(
    path="reviews.csv",
    columns={"text": ("a", None, "c"), "label": ("1", "0", "1")},
    nested=("tokens",),
    digest="",
)


def test_a_filled_column_is_returned_as_it_is():
    assert TABLE.filled("label") == ("1", "0", "1")


def test_a_missing_column_is_answered_with_those_that_exist():
    with pytest.raises(DataError, match=r"reviews.csv has no column 'txt': .* 'text', 'label'"):
        TABLE.cells("txt")


def test_a_column_of_lists_is_refused():
    with pytest.raises(DataError, match=r"column 'tokens' of reviews.csv holds lists or objects"):
        TABLE.cells("tokens")


def test_an_empty_cell_is_refused_with_its_row():
    with pytest.raises(DataError, match=r"column 'text' of reviews.csv is empty in row 2: fill"):
        TABLE.filled("text")


def test_of_many_rows_the_first_three_are_named():
    assert first_rows([4, 5, 6, 7]) == "4 rows (the first: 4, 5, 6)"


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1.0), ("-.5", -0.5), ("1e3", 1000.0), ("1_0", None), ("one", None)]
)
def test_a_number_is_what_people_write_as_one(text, value):
    """Python's underscores are not."""
    assert number(text) == value
