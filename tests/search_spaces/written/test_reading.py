"""Search spaces written as YAML."""

import pytest

from autopeft.errors import SpaceError
from autopeft.search_spaces.written.reading import known_spaces, parse_space, read_space
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


LAID = [
    pytest.param(space, backbone, id=f"{backbone.name}-{space.name}")
    for space in known_spaces()
    for backbone in (BERT_BASE, MINI_LM, TINY)
    if (space.name, backbone) != ("shears", TINY)  # whose ranks begin above the tiny one's width
]


@pytest.mark.parametrize(("space", "backbone"), LAID)
def test_every_known_space_can_be_laid_over_a_bert(space, backbone):
    laid = space.on(backbone, backbone.parameters // 100)

    assert space.summary
    assert space.paper
    assert space.differs
    assert laid.size >= 1
    assert all(list(gene.choices) == sorted(set(gene.choices)) for gene in laid.genes)


def test_the_known_spaces_are_found_by_name():
    assert {space.name for space in known_spaces()} >= {
        "autopeft", "llm-adapters", "lonas", "lora", "mam", "noah", "noah-100", "s3pet",
        "s3pet-lora", "s4", "shears", "unified", "unipelt",
    }  # fmt: skip
    assert read_space("lora").name == "lora"


def test_the_unified_space_sets_every_cell_of_its_slots():
    space = read_space("unified").on(BERT_BASE)

    assert {cell for gene in space.genes for cell in gene.cells} == {
        (block, column) for block in range(12) for column in range(len(space.slots))
    }


@pytest.mark.parametrize("name", ["noah", "s3pet", "unipelt", "s4", "mam", "autopeft"])
def test_the_unified_space_has_the_methods_of_the_others_gates_apart(name):
    methods = set(read_space(name).on(BERT_BASE, 10**6).methods)

    assert methods - {"gate"} <= set(read_space("unified").on(BERT_BASE).methods)


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
        match=r"there is no search space 'lroa': there are autopeft, .*unipelt.*, or give a file "
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


GROUPS = r"own\.yaml, line 1: 'groups' must be a list such as \[\{slots: \[lora@attention\.query\]"
SLOTS = r"own\.yaml, line 1: 'slots' must be a list such as \[lora@attention\.query\] or \{first_of"
SIZES = r"own\.yaml, line 1: 'sizes' must be a list of whole numbers such as \[0, 4, 8\] with one"
HALVINGS = r"own\.yaml, line 1: 'halvings_of_width' must be a whole number above 0"
LARGE = r"own\.yaml, line 1: 'sizes' must be at most 1,000,000, and \d+ is above"
LAYERED = "groups: [{slots: ['lora@*'], sizes: budget, tie: layer_groups}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("groups: [", r"own\.yaml is no YAML: while parsing .* in own\.yaml, line 1, column 10: "),
        ("name: \x00", r"own\.yaml is no YAML: unacceptable character #x0000: .* in own\.yaml"),
        ("day: 2020-99-99", r"own\.yaml is no YAML: month must be"),
        ("", r"own\.yaml, line 1: a space must be a mapping with the keys allocation, differs,"),
        ("[lora]", r"own\.yaml, line 1: a space must be a mapping with the keys allocation,"),
        ("name: ours", r"own\.yaml, line 1: a space must have 'groups', a list of at least one"),
        ("groups: []", GROUPS),
        ("groups: lora", GROUPS),
        ("groop: []", r"own\.yaml, line 1: unknown key 'groop' of a space; allowed are"),
        ("1: []", r"own\.yaml, line 1: unknown key '1' of a space; allowed are"),
        ("name: [a]\ngroups: [{slots: ['lora@*'], sizes: [1]}]", r"line 1: 'name' must be a text"),
        ("groups:\n  - lora", r"own\.yaml, line 2: a group must be a mapping with the keys depth,"),
        ("groups:\n  - slots: ['lora@*']\n    sizes: [1]\n    size: 2",
         r"own\.yaml, line 4: unknown key 'size' of a group; allowed are depth, follows, last,"),
        ("groups: [{sizes: [1]}]", r"line 1: a group must have 'slots', a list such as"),
        ("groups: [{slots: [], sizes: [1]}]", SLOTS),
        ("groups: [{slots: lora@ffn.input, sizes: [1]}]", SLOTS),
        ("groups: [{slots: [1], sizes: [1]}]", SLOTS),
        ("groups: [{slots: {first_of: []}, sizes: [1]}]", r"line 1: 'first_of' must be a list"),
        ("groups: [{slots: {first_of: [a]}, sizes: [1]}]", r"line 1: an alternative in 'first_of'"),
        ("groups:\n  - slots: ['lora@*']\n    sizes: [1]\n    tie: rows",
         r"own\.yaml, line 4: 'tie' must be one of none, slots, blocks, all, layer_groups, not"),
        ("groups: [{slots: ['lora@*']}]", r"line 1: a group must have 'sizes', a list of whole"),
        ("groups: [{slots: ['lora@*'], sizes: []}]", SIZES),
        ("groups: [{slots: ['lora@*'], sizes: [0]}]", SIZES),
        ("groups: [{slots: ['lora@*'], sizes: [-1, 4]}]", SIZES),
        ("groups: [{slots: ['lora@*'], sizes: [1.5]}]", SIZES),
        ("groups: [{slots: ['lora@*'], sizes: [true]}]", SIZES),
        ("groups: [{slots: ['lora@*'], sizes: [0, 24019198012642646]}]", LARGE),
        ("groups: [{slots: ['lora@*'], sizes: [1000001]}]", LARGE),
        ("groups: [{slots: ['lora@*'], sizes: {halvings: 3}}]", SIZES),
        ("groups: [{slots: ['lora@*'], sizes: {halvings_of_width: 0}}]", HALVINGS),
        ("groups: [{slots: ['lora@*'], sizes: {halvings_of_width: true}}]", HALVINGS),
        ("groups: [{slots: ['lora@*'], sizes: {halvings_of_width: many}}]", HALVINGS),
        ("groups: [{slots: ['lora@*'], sizes: [1], depth: [2]}]",
         r"line 1: a depth must be a share such as 0\.25 or 7/24, not 2"),
        ("groups: [{slots: ['lora@*'], sizes: [1], depth: 1/2}]", r"'depth' must be a list such"),
        ("groups: [{slots: ['lora@*'], sizes: [1], optional: maybe}]",
         r"line 1: 'optional' must be true or false, not 'maybe'"),
        ("groups: [{slots: ['lora@*'], sizes: [1]}]\nswitches: perhaps",
         r"own\.yaml, line 2: 'switches' must be true or false, not 'perhaps'"),
        (LAYERED + "\nlayer_groups: {count: 1}", r"line 2: 'layer_groups' must have 'count', a"),
        (LAYERED + "\nlayer_groups: {count: 4, patterns: [cone]}",
         r"line 2: 'patterns' must be one of increasing, uniform, decreasing, spindle, bottleneck"),
        (LAYERED + "\nlayer_groups: {count: 4}\nallocation: [spindle]",
         r"line 3: 'allocation' must be one of increasing, uniform, decreasing, not 'spindle'"),
        ("groups: [{slots: ['lora@*'], sizes: [1]}]\nstart_from: [nothing]",
         r"line 2: 'start_from' must be one of bitfit, .*, not 'nothing'"),
        ("groups: [{slots: ['lora@*'], sizes: [1]}]\none_of: [{tie: none}]",
         r"line 2: an entry of 'one_of' must have 'groups', the names of two or more"),
    ],
)  # fmt: skip
def test_a_malformed_space_is_refused_with_its_line_and_what_is_allowed(text, message):
    with pytest.raises(SpaceError, match=message):
        parse_space(text, "own.yaml")


NESTED = "groups: " + "[" * 25 + "]" * 25


def test_a_file_that_nests_without_end_is_refused():
    with pytest.raises(SpaceError, match=r"own\.yaml, line 1: this nests more than 20 deep"):
        parse_space(NESTED, "own.yaml")


ONE, OTHER = "  - {slots: [lora@ffn.input], sizes: [1]}", "  - {slots: ['prefix@*'], sizes: [1]}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nname: b", r"line 2: the key 'name' is there already, in line 1; leave one"),
        (f"groups:\n{ONE}\n{ONE}",
         r"line 3: 'lora@ffn\.input' is in the group at own\.yaml, line 2 already, which ties"),
        ("groups:\n  - {name: a, slots: [b], sizes: [1]}\n  - {name: a, slots: [c], sizes: [1]}",
         r"line 3: the name 'a' is that of the group at own\.yaml, line 2 already"),
        ("groups:\n  - slots: ['gate@*']\n    follows: ['lora@*']\n    sizes: [0, 1]",
         r"line 4: 'sizes' contradicts 'follows' in line 3: what follows is on exactly where"),
        ("groups:\n  - slots: ['gate@*']\n    follows: ['lora@*']\n    tie: blocks",
         r"line 4: 'tie' contradicts 'follows' in line 3"),
        (LAYERED, r"line 1: 'tie: layer_groups' needs layer groups: add such as"),
        (f"layer_groups: {{count: 4}}\ngroups:\n{ONE}",
         r"line 1: no group is tied to these layer groups: write 'tie: layer_groups'"),
        (("layer_groups: {count: 4}\ngroups:\n"
         "  - {slots: ['lora@*'], sizes: [1], tie: layer_groups, depth: [1/2]}"),
         r"line 3: 'depth' and 'tie: layer_groups' both say in which blocks the group is"),
        (f"allocation: [uniform]\ngroups:\n{ONE}",
         r"line 1: 'allocation' shares out a budget, but no group has 'sizes: budget'"),
        (f"groups:\n{ONE}\n{OTHER}\none_of:\n  - {{groups: [group 1]}}",
         r"line 5: 'one_of' needs the names of two groups or more"),
        (f"groups:\n{ONE}\n{OTHER}\none_of:\n  - {{groups: [group 1, group 3]}}",
         r"line 5: there is no group 'group 3': there are group 1, group 2"),
        ((f"groups:\n{ONE}\n{OTHER}\none_of:\n  - {{groups: [group 1, group 2]}}\n"
         "  - {groups: [group 2, group 1], tie: none}"),
         r"line 6: the group 'group 2' is in 'one_of' at own\.yaml, line 5 already"),
        ((f"groups:\n{ONE}\n  - {{slots: ['gate@*'], follows: ['lora@*']}}\none_of:\n"
         "  - {groups: [group 1, group 2]}"),
         r"line 5: the group 'group 2' at own\.yaml, line 3 follows others and cannot be chosen"),
    ],
)  # fmt: skip
def test_entries_that_contradict_each_other_are_refused_with_both_lines(text, message):
    with pytest.raises(SpaceError, match=message):
        parse_space(text, "own.yaml")


def test_a_slot_that_the_backbone_does_not_have_is_refused_with_those_it_has():
    text = "name: ours\ngroups:\n  - {slots: [lora@cross.query], sizes: [1]}"
    space = parse_space(text, "own.yaml")

    with pytest.raises(
        SpaceError,
        match=r"space 'ours' \(own\.yaml, line 3\): there is no slot 'lora@cross\.query' on this "
        r"backbone: the sites of 'lora' here are attention\.query, .*; take another space, or mark "
        r"the group",
    ):
        space.on(TINY)


def test_an_optional_group_is_left_out_where_the_backbone_has_none_of_it():
    text = """
    groups:
      - {slots: ['lora@*'], sizes: [1]}
      - {slots: [prefix@cross], sizes: [1], optional: true}
    """

    assert parse_space(text, "own.yaml").on(TINY).free_methods == ("lora",)


def test_a_space_of_which_the_backbone_has_nothing_is_refused():
    text = "groups: [{slots: [prefix@cross], sizes: [1], optional: true}]"
    space = parse_space(text, "own.yaml")

    with pytest.raises(SpaceError, match=r"space 'own\.yaml': the backbone has none of its slots"):
        space.on(TINY)


def test_the_first_alternative_that_the_backbone_has_is_meant():
    text = "groups: [{slots: {first_of: [[lora@attention.qkv], [lora@ffn.input]]}, sizes: [0, 1]}]"

    space = parse_space(text, "own.yaml").on(TINY)

    assert [gene.name for gene in space.genes] == ["lora@ffn.input/0", "lora@ffn.input/1"]


def test_sizes_above_the_largest_that_a_slot_can_take_count_as_that_one():
    """LoRA on 8 inputs and 8 outputs has no use for more than rank 8."""
    space = parse_space(
        "groups: [{slots: [lora@attention.query], sizes: [0, 4, 16, 64]}]", "o.yaml"
    )

    assert space.on(TINY).genes[0].choices == (0, 4, 8)


def test_sizes_that_follow_from_the_budget_need_one():
    with pytest.raises(SpaceError, match="the sizes follow from the budget: name a budget"):
        read_space("s4").on(TINY)


def test_a_follower_with_nothing_at_its_site_is_refused():
    text = """
    groups:
      - {slots: [lora@attention.query], sizes: [0, 1]}
      - {slots: [gate@ffn.norm], follows: ["lora@*"]}
    """

    with pytest.raises(
        SpaceError, match=r"line 4: nothing that lora@\* names is at a site of gate@ffn\.norm"
    ):
        parse_space(text, "own.yaml").on(TINY)


def test_a_slot_in_two_groups_is_refused():
    text = """
    name: ours
    groups:
      - {slots: ["lora@*"], sizes: [1]}
      - {slots: [lora@ffn.input], sizes: [2], optional: true}
    """

    with pytest.raises(
        SpaceError,
        match=r"space 'ours': the slot 'lora@ffn\.input' is in two groups \(own\.yaml, line 4 and "
        r"own\.yaml, line 5\); leave it in one",
    ):
        parse_space(text, "own.yaml").on(TINY)


def test_a_slot_that_two_patterns_of_one_group_name_is_taken_once():
    text = "groups: [{slots: ['lora@*', lora@ffn.input], sizes: [1]}]"

    assert len(parse_space(text, "own.yaml").on(TINY).genes) == 6 * TINY.blocks


def test_a_few_lines_that_stand_for_billions_of_values_are_refused():
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]

    with pytest.raises(SpaceError, match="this comes to more than 200,000 values"):
        parse_space("\n".join(rows), "own.yaml")
