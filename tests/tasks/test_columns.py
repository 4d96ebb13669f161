import pytest

from autopeft.errors import DataError
from autopeft.study import Columns
from autopeft.tasks.columns import find_columns
from autopeft.tasks.table import Table

LONG = [f"This is the sentence number {number}." for number in range(8)]
OTHER = [f"Another sentence, of number {number}." for number in range(8)]
FEW = ["yes", "no"] * 4
IDS = [str(number) for number in range(8)]
PARTS = ["train"] * 6 + ["dev", "test"]


def table(**columns):
    return Table(
        path="data.csv",
        columns={name: tuple(cells) for name, cells in columns.items()},
        digest="",
    )


@pytest.mark.parametrize("text", ["text", "Sentence", "REVIEW", "content"])
@pytest.mark.parametrize("label", ["label", "Labels", "target", "sentiment", "y"])
def test_conventional_names_are_found_in_any_case(text, label):
    data = table(**{"id": IDS, label: FEW, text: LONG})

    assert find_columns(data) == Columns(text=text, label=label)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("sentence1", "sentence2"),
        ("premise", "hypothesis"),
        ("question", "answer"),
        ("question", "sentence"),
        ("Text_A", "Text_B"),
    ],
)
def test_pairs_are_found_by_their_names(first, second):
    data = table(**{first: LONG, second: OTHER, "label": FEW})

    assert find_columns(data) == Columns(text=first, pair=second, label="label")


def test_a_named_text_stays_alone_even_beside_a_usual_partner():
    """Otherwise nobody could search on the first sentences alone."""
    data = table(sentence1=LONG, sentence2=OTHER, label=FEW)

    assert find_columns(data, text="sentence1") == Columns(text="sentence1", label="label")


def test_a_column_called_text_wins_over_a_pair():
    data = table(question=LONG, answer=OTHER, text=LONG, label=FEW)

    assert find_columns(data) == Columns(text="text", label="label")


def test_to_a_named_pair_its_usual_partner_is_found():
    data = table(text=OTHER, premise=LONG, hypothesis=OTHER, label=FEW)

    assert find_columns(data, pair="hypothesis") == Columns(
        text="premise", pair="hypothesis", label="label"
    )


def test_named_columns_are_taken_before_conventional_names():
    data = table(text=LONG, notes=OTHER, label=FEW, mood=FEW)

    assert find_columns(data, text="notes", label="mood") == Columns(text="notes", label="mood")


def test_without_conventional_names_the_only_long_and_the_only_few_valued_column_are_found():
    data = table(id=IDS, was_gesagt_wurde=LONG, stimmung=FEW, constant=["x"] * 8)

    assert find_columns(data) == Columns(text="was_gesagt_wurde", label="stimmung")


@pytest.mark.parametrize("name", ["split", "Subset", "partition"])
def test_a_split_column_is_found_if_it_names_parts(name):
    data = table(**{"text": LONG, "label": FEW, name: PARTS})

    assert find_columns(data) == Columns(text="text", label="label", split=name)


def test_a_subset_that_names_no_part_is_no_split():
    data = table(text=LONG, label=FEW, subset=["amazon", "imdb"] * 4)

    assert find_columns(data) == Columns(text="text", label="label")


def test_a_split_of_any_name_can_be_named():
    data = table(text=LONG, label=FEW, fold=PARTS)

    assert find_columns(data, split="fold") == Columns(text="text", label="label", split="fold")


def test_a_named_column_must_exist():
    with pytest.raises(DataError, match=r"data.csv has no column 'txt': name one of 'text', 'la"):
        find_columns(table(text=LONG, label=FEW), text="txt")


@pytest.mark.parametrize("uses", [{"label": "text"}, {"pair": "text"}, {"split": "text"}])
def test_a_column_cannot_have_two_uses(uses):
    with pytest.raises(DataError, match=r"column 'text' of data.csv cannot have two uses: name"):
        find_columns(table(text=LONG, label=FEW), text="text", **uses)


def test_two_columns_that_look_like_text_are_left_to_the_user():
    with pytest.raises(DataError, match=r"which column of data.csv is the text \('a', 'b', 'label"):
        find_columns(table(a=LONG, b=OTHER, label=FEW))


def test_columns_of_lists_are_named_too():
    data = Table(path="data.jsonl", columns={"id": ("1", "2")}, nested=("words",), digest="")

    with pytest.raises(DataError, match=r"is the text \('id', 'words'\): name the columns"):
        find_columns(data)


@pytest.mark.parametrize("others", [{}, {"a": FEW, "b": FEW}])
def test_a_label_that_cannot_be_told_is_left_to_the_user(others):
    with pytest.raises(DataError, match=r"is the label .*: name the columns with --text, --label"):
        find_columns(table(text=LONG, **others))
