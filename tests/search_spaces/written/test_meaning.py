"""What no backbone could make sense of is refused when a space is read, with its line."""

import pytest

from autopeft.errors import SpaceError
from autopeft.search_spaces.written.meaning import meanings
from autopeft.search_spaces.written.reading import known_spaces, parse_space


def group(slots: str, rest: str = "sizes: [0, 1]") -> str:
    return f"  - {{slots: [{slots}], {rest}}}\n"


LORA = group("lora@attention.query")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (group("lorra@attention.query"),
         (r"line 2: there is no slot 'lorra@attention\.query': there is no method 'lorra'; did you "
         r"mean 'lora'\? 'autopeft methods' lists them")),
        (group("wxyz@ffn"), r"there is no method 'wxyz'; 'autopeft methods' lists them"),
        (group("lora"), r"there is no slot 'lora': write where it sits too, such as lora@"),
        (LORA + group("lora@attention.qury"),
         (r"line 3: there is no slot 'lora@attention\.qury': no model has such a site; did you "
         r"mean 'attention\.query'\? the sites of 'lora' are attention\.query, ")),
        (group("lora@decoder.attention.qury"), r"'lora@decoder\.attention\.qury': no model has"),
        (group("lora@attention.ffn.input"), r"'lora@attention\.ffn\.input': no model has"),
        (group("lorra@ffn", "sizes: [1], optional: true"), r"there is no method 'lorra'"),
        (LORA + group("'gate@*'", "follows: ['lorra@*']"), r"there is no slot 'lorra@\*'"),
        (group("bitfit@block", "sizes: [5]"),
         (r"line 2: its sizes above 0 begin at 5, and bitfit@block takes 0 to 1 here, as a switch: "
         r"write \[0, 1\] or \[1\]")),
        (group("'ln_fit@*'", "sizes: [0, 7]"), r"begin at 7, and ln_fit@\* takes 0 to 1 here"),
        (group("lora@ffn.input", "sizes: [1], depth: [0]"),
         r"line 2: 'depth' is a depth of no blocks, so the group is nowhere: write such as depth:"),
        (group("lora@ffn.input", "sizes: [1], last: [0, 0.0]"),
         r"line 2: 'last' is a depth of no blocks, so the group is nowhere: write such as last:"),
        (LORA + group("'lora@*'"),
         (r"line 3: the slot 'lora@attention\.query' is in two groups, as 'lora@\*' here and "
         r"'lora@attention\.query' in the one at own\.yaml, line 2 both name it; leave it in one")),
        (group("'lora@encoder.*'") + group("lora@attention.query"), r"the slot 'lora@attention"),
        (group("gate@attention.query"),
         (r"line 2: gate@attention\.query never trains anything: all that it names acts on other "
         r"methods, which no group names; add such as lora@attention\.query")),
        (group("gate@attention.query") + group("lora@attention.key"), r"query never trains"),
    ],
)  # fmt: skip
def test_what_no_backbone_has_is_refused_without_one(groups, message):
    with pytest.raises(SpaceError, match=message):
        parse_space(f"groups:\n{groups}", "own.yaml")


@pytest.mark.parametrize(
    "groups",
    [
        group("lora@decoder.cross.query") + group("lora@encoder.attention.query"),
        group("'lora@dec*'"),
        group("'lora@encoder.*'") + group("'lora@decoder.*'"),
        group("'*@block'", "sizes: [0, 1, 4]"),
        group("lora@ffn.input", "sizes: [1], depth: [0, 1/2]"),
        group("'lora@*'") + group("lora@cross.query", "sizes: [2], optional: true"),
        group("gate@attention.query") + LORA,
        LORA + group("'gate@*'", "follows: ['lora@*']"),
    ],
)
def test_what_depends_on_the_backbone_is_left_to_it(groups):
    assert parse_space(f"groups:\n{groups}", "own.yaml").groups


def test_alternatives_may_share_a_slot_with_another_group():
    """Which of them is meant is known on a backbone only."""
    other = group("'lora@*.qu*'")
    text = "{slots: {first_of: [[lora@attention.qkv], [lora@attention.query]]}, sizes: [1]}"

    assert parse_space(f"groups:\n  - {text}\n{other}", "own.yaml").groups


def test_every_slot_that_a_known_space_names_means_something():
    for space in known_spaces():
        assert all(meanings(p) for g in space.groups for one in g.slots for p in one)
