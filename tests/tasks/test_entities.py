import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.tasks.entities import entities, has_entities


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O O", []),
        ("B-PER I-PER O", [("PER", 0, 2)]),
        ("B-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("I-PER I-PER", [("PER", 0, 2)]),
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
        ("B-PER O I-PER", [("PER", 0, 1), ("PER", 2, 3)]),
        ("B-PER E-PER I-PER", [("PER", 0, 2), ("PER", 2, 3)]),
        ("S-PER I-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("I-PER S-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("NOUN NOUN O VERB", [("NOUN", 0, 2), ("VERB", 3, 4)]),
        ("", []),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_entities_are_those_of_the_usual_schemes(tags, expected):
    assert entities(tags.split()) == frozenset(expected)


@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B"]), max_size=12))
def test_entities_cover_every_word_inside_once_and_no_other(tags):
    covered = [word for _, first, last in entities(tags) for word in range(first, last)]

    assert sorted(covered) == [place for place, tag in enumerate(tags) if tag != "O"]


def test_prefixes_tell_entities_from_other_tags():
    assert has_entities(["O", "I-PER"])
    assert not has_entities(["O", "NOUN", "BIG", "I"])
