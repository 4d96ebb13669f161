import pytest

from autopeft.tasks.kinds import is_of_images, other_kinds
from autopeft.tasks.table import Image, Table

PATHS = ("a.png", "b/c.JPG")


def table(*names, lists=(), images=(), **columns):
    return Table(
        path="a.csv",
        columns=dict.fromkeys(names, ("x", "y")) | columns,
        nested=(*lists, *images),
        lists=dict.fromkeys(lists, (("a", "b"), ("c",))),
        images=dict.fromkeys(images, (Image(name="a.png"), Image(name="b.png"))),
        digest="",
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (table("label", images=["image"]), True),
        (table("label", "id", images=["IMG"]), True),
        (table("label", file_name=PATHS), True),
        (table("label", text=PATHS, image=PATHS), True),
        (table("label", image=(*PATHS, None)), True),
        (table("label", image=(*PATHS, "words")), False),
        (table("label", image=(None, None)), False),
        (table("label", "text", images=["image"]), False),
        (table("label", "words", images=["hash"]), False),
        (table("label", "text"), False),
    ],
)
def test_images_are_known_by_name_and_content_unless_there_is_a_text(data, expected):
    assert is_of_images(data, None, None) is expected


def test_what_is_named_as_text_tells():
    data = table("label", "text", images=["image", "hash"])

    assert is_of_images(data, "hash", None)
    assert not is_of_images(data, "text", None)


def test_a_second_text_stands_beside_texts_alone():
    assert not is_of_images(table("label", "other", images=["image"]), None, "other")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (table("text", "label"), ()),
        (table("id", lists=["mots", "étiquettes"]), ("tokens",)),
        (table("Words", "POS_tags"), ("tokens",)),
        (table("prompt", "completion"), ("causal_lm", "seq2seq")),
        (table("source", "target"), ("seq2seq",)),
        (table("a", "b", here=PATHS), ("image",)),
    ],
)
def test_other_kinds_are_known_by_names_and_content(data, expected):
    assert other_kinds(data) == expected
