import pytest

from autopeft.errors import DataError, OptionError
from autopeft.study import Columns
from autopeft.tasks.conventions import conventional_columns
from autopeft.tasks.table import Table

NAMES = {
    "prompt": ("a", "b"),
    "completion": ("c", "d"),
    "other": ("e", "f"),
    "split": ("train", "test"),
}


def table(*names, **columns):
    return Table(path="a.csv", columns=dict.fromkeys(names, ("x", "y")) | columns, digest="")


@pytest.mark.parametrize(
    ("kind", "names", "text", "label"),
    [
        ("causal_lm", ["id", "text"], "text", None),
        ("causal_lm", ["only"], "only", None),
        ("causal_lm", ["text", "Prompt", "Completion"], "Prompt", "Completion"),
        ("causal_lm", ["instruction", "output", "id"], "instruction", "output"),
        ("seq2seq", ["id", "source", "target"], "source", "target"),
        ("seq2seq", ["document", "summary"], "document", "summary"),
        ("tokens", ["id", "tokens", "pos_tags", "ner_tags"], "tokens", "ner_tags"),
        ("tokens", ["sentence", "tags"], "sentence", "tags"),
        ("image", ["image", "label"], "image", "label"),
        ("image", ["file_name", "class", "id"], "file_name", "class"),
    ],
)
def test_conventional_names_are_found(kind, names, text, label):
    assert conventional_columns(kind, table(*names)) == Columns(text=text, label=label)


def test_a_split_is_found_beside_them():
    found = conventional_columns("causal_lm", table(**NAMES))

    assert found == Columns(text="prompt", label="completion", split="split")


def test_a_named_column_is_kept_and_its_partner_found():
    data = table("article", "highlights", "text", "summary")

    assert conventional_columns("seq2seq", data, text="article").label == "highlights"
    assert conventional_columns("seq2seq", data, label="summary").text == "text"


def test_of_two_columns_the_other_one_is_taken():
    assert conventional_columns("seq2seq", table("de", "en"), text="de").label == "en"
    assert conventional_columns("seq2seq", table("de", "en"), label="de").text == "en"


def test_a_text_that_is_named_alone_is_learned_as_it_stands():
    assert conventional_columns("causal_lm", table(**NAMES), text="prompt").label is None


@pytest.mark.parametrize(
    ("kind", "use"),
    [("causal_lm", "text"), ("seq2seq", "text"), ("tokens", "words"), ("image", "image")],
)
def test_what_cannot_be_told_is_asked_for(kind, use):
    match = rf"which column of a\.csv is the {use} \('a', 'b', 'c'\): name the columns with --text"
    with pytest.raises(DataError, match=match):
        conventional_columns(kind, table("a", "b", "c"))


def test_a_label_that_cannot_be_told_is_asked_for():
    with pytest.raises(DataError, match=r"which column of a\.csv is the tags"):
        conventional_columns("tokens", table("tokens", "b", "c"))


def test_a_column_cannot_have_two_uses():
    with pytest.raises(DataError, match=r"column 'a' of a\.csv cannot have two uses: name the"):
        conventional_columns("seq2seq", table("a", "b"), text="a", label="a")


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(DataError, match=r"a\.csv has no column 'c': name one of 'a', 'b'"):
        conventional_columns("seq2seq", table("a", "b"), text="c")


@pytest.mark.parametrize("kind", ["tokens", "causal_lm", "seq2seq", "image"])
def test_a_second_text_does_not_fit(kind):
    with pytest.raises(OptionError, match=f"--text-pair does not fit --task {kind}, which takes"):
        conventional_columns(kind, table("a", "b"), pair="b")
