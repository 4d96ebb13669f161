"""Search spaces written as YAML."""

import pytest

from autopeft.errors import SpaceError
from autopeft.search_spaces.reading import known_spaces, parse_space, read_space
from tests.builders import BERT_BASE, MINI_LM, TINY

OWN = """
name: ours
summary: what our team allows
groups:
  - slots: ["lora@attention.*"]
    sizes: [8, 0, 4, 8]
  - slots: [serial_adapter@ffn.norm]
    sizes: {halvings_of_width: 3}
    tie: blocks
switches: true
"""


@pytest.mark.parametrize("space", known_spaces(), ids=lambda space: space.name)
@pytest.mark.parametrize("backbone", [BERT_BASE, MINI_LM, TINY], ids=lambda backbone: backbone.name)
def test_every_known_space_can_be_laid_over_a_bert(space, backbone):
    laid = space.on(backbone)

    assert space.summary
    assert space.paper
    assert laid.size > 1
    assert all(list(gene.choices) == sorted(set(gene.choices)) for gene in laid.genes)


def test_the_known_spaces_are_found_by_name():
    assert [space.name for space in known_spaces()] == ["autopeft", "lora", "unified"]
    assert read_space("lora").name == "lora"


def test_the_unified_space_holds_every_slot():
    space = read_space("unified").on(BERT_BASE)

    assert {cell for gene in space.genes for cell in gene.cells} == {
        (block, column) for block in range(12) for column in range(len(space.slots))
    }


def test_halvings_are_rounded_down_and_repeated_sizes_dropped():
    """384 halved nine times is 0.75, and 0 is absence anyway."""
    space = read_space("autopeft").on(MINI_LM)

    assert space.genes[0].choices == (0, 1, 3, 6, 12, 24, 48, 96, 192, 384)


@pytest.mark.parametrize("suffix", ["yaml", "yml"])
def test_a_file_of_ones_own_is_read_by_its_path(tmp_path, suffix):
    file = tmp_path / f"ours.{suffix}"
    file.write_text(OWN)

    space = read_space(str(file)).on(TINY)

    assert (space.name, space.summary) == ("ours", "what our team allows")
    assert [gene.name for gene in space.genes] == [
        *(f"lora@attention.{site}/{block}"
          for site in ("query", "key", "value", "output") for block in (0, 1)),
        "serial_adapter@ffn.norm",
        "block 0",
        "block 1",
    ]  # fmt: skip
    assert space.genes[0].choices == (0, 4, 8)
    assert space.genes[8].choices == (0, 2, 4, 8)


def test_a_space_without_a_name_is_called_by_its_file():
    assert parse_space("groups: [{slots: ['lora@*'], sizes: [1]}]", "a/b.yaml").name == "a/b.yaml"


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(
        SpaceError,
        match=r"there is no search space 'lroa': there are autopeft, lora, unified, or give a file "
        r"that ends in \.yaml",
    ):
        read_space("lroa")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(
        SpaceError, match=r"cannot read the space file '.*gone\.yaml': .*No such file"
    ):
        read_space(str(tmp_path / "gone.yaml"))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(SpaceError, match=r"cannot read the space file '.*binary\.yaml': 'utf-8'"):
        read_space(str(tmp_path / "binary.yaml"))


GROUPS = r"own\.yaml: 'groups' must be a list of at least one group"
SLOTS = r"own\.yaml, group 1: 'slots' must be a list such as \[lora@attention\.query\]"
SIZES = r"own\.yaml, group 1: 'sizes' must be a list of whole numbers such as \[0, 4, 8\] with one"
HALVINGS = r"own\.yaml, group 1: 'halvings_of_width' must be a whole number above 0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("groups: [", r"own\.yaml is no YAML: while parsing"),
        ("", r"own\.yaml must be a mapping with the keys differs, groups, name,"),
        ("[lora]", r"own\.yaml must be a mapping with the keys differs, groups, name,"),
        ("name: ours", GROUPS),
        ("groups: []", GROUPS),
        ("groups: lora", GROUPS),
        ("groop: []", r"own\.yaml: unknown key 'groop'; allowed are differs, groups, name,"),
        ("1: []", r"own\.yaml: unknown key '1'; allowed are"),
        ("groups: [lora]", r"own\.yaml, group 1 must be a mapping with the keys sizes, slots, tie"),
        ("groups: [{slots: ['lora@*'], sizes: [1], size: 2}]",
         r"own\.yaml, group 1: unknown key 'size'; allowed are sizes, slots, tie"),
        ("groups: [{sizes: [1]}]", SLOTS),
        ("groups: [{slots: [], sizes: [1]}]", SLOTS),
        ("groups: [{slots: lora@ffn.input, sizes: [1]}]", SLOTS),
        ("groups: [{slots: [1], sizes: [1]}]", SLOTS),
        ("groups: [{slots: ['lora@*'], sizes: [1], tie: rows}]",
         r"own\.yaml, group 1: 'tie' must be one of none, blocks, not 'rows'"),
        ("groups: [{slots: ['lora@*']}]", SIZES),
        ("groups: [{slots: ['lora@*'], sizes: []}]", SIZES),
        ("groups: [{slots: ['lora@*'], sizes: [0]}]", SIZES),
        ("groups: [{slots: ['lora@*'], sizes: [-1, 4]}]", SIZES),
        ("groups: [{slots: ['lora@*'], sizes: [1.5]}]", SIZES),
        ("groups: [{slots: ['lora@*'], sizes: [true]}]", SIZES),
        ("groups: [{slots: ['lora@*'], sizes: {halvings: 3}}]", SIZES),
        ("groups: [{slots: ['lora@*'], sizes: {halvings_of_width: 0}}]", HALVINGS),
        ("groups: [{slots: ['lora@*'], sizes: {halvings_of_width: true}}]", HALVINGS),
        ("groups: [{slots: ['lora@*'], sizes: {halvings_of_width: many}}]", HALVINGS),
        ("{groups: [{slots: ['lora@*'], sizes: [1]}], switches: perhaps}",
         r"own\.yaml: 'switches' must be true or false, not 'perhaps'"),
    ],
)  # fmt: skip
def test_a_malformed_space_is_refused_with_what_is_allowed(text, message):
    with pytest.raises(SpaceError, match=message):
        parse_space(text, "own.yaml")


def test_the_second_group_is_named_when_it_is_the_wrong_one():
    text = "groups: [{slots: ['lora@*'], sizes: [1]}, {slots: ['prefix@*'], sizes: 4}]"

    with pytest.raises(SpaceError, match=r"own\.yaml, group 2: 'sizes' must be .*not 4"):
        parse_space(text, "own.yaml")


def test_a_slot_that_the_backbone_does_not_have_is_refused_with_those_it_has():
    space = parse_space("{name: ours, groups: [{slots: ['ia3@*'], sizes: [1]}]}", "own.yaml")

    with pytest.raises(
        SpaceError,
        match=r"space 'ours' names the slot 'ia3@\*', which this backbone does not have: "
        r"it has lora@attention\.query, ",
    ):
        space.on(TINY)


def test_a_slot_in_two_groups_is_refused():
    text = """
    name: ours
    groups:
      - {slots: ["lora@*"], sizes: [1]}
      - {slots: [lora@ffn.input], sizes: [2]}
    """

    with pytest.raises(
        SpaceError, match=r"space 'ours': the slot 'lora@ffn\.input' is in two groups"
    ):
        parse_space(text, "own.yaml").on(TINY)


def test_a_slot_that_two_patterns_of_one_group_name_is_taken_once():
    text = "groups: [{slots: ['lora@*', lora@ffn.input], sizes: [1]}]"

    assert len(parse_space(text, "own.yaml").on(TINY).genes) == 6 * TINY.blocks
