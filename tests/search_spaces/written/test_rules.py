"""What follows from several genes together: depths, picks, layer groups, followers, clashes."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.errors import BudgetError
from autopeft.records import digest, from_json, to_json
from autopeft.search_spaces.checking import faults
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.sampling import Sampler
from autopeft.search_spaces.space import SearchSpace
from autopeft.search_spaces.written.reading import known_spaces, parse_space, read_space
from tests.builders import BERT_BASE, MINI_LM, TINY


def tiny(text: str, ceiling: int | None = None) -> SearchSpace:
    return parse_space(text, "own.yaml").on(TINY, ceiling)


def genomes(space: SearchSpace) -> list[tuple[int, ...]]:
    return list(product(*(range(len(gene.choices)) for gene in space.genes)))


def column(space: SearchSpace, name: str) -> int:
    return [slot.name for slot in space.slots].index(name)


def sizes(space: SearchSpace, configuration: Configuration, name: str) -> list[int]:
    return [row[column(space, name)] for row in configuration.sizes]


DEPTH = tiny("groups: [{slots: [lora@ffn.input], sizes: [1, 2, 4], depth: [1/2, 1]}]")
LAST = tiny("groups: [{slots: [full@block], sizes: [1], tie: all, last: [1/2, 1]}]")
PICK = tiny("""
groups:
  - {name: a, slots: [lora@ffn.input], sizes: [1, 2], tie: all}
  - {name: b, slots: [prefix@attention], sizes: [1, 2, 3], tie: all}
one_of: [{groups: [a, b]}]
""")
PICK_BY_BLOCK = tiny("""
groups:
  - {name: a, slots: [lora@ffn.input], sizes: [0, 2]}
  - {name: b, slots: [prefix@attention], sizes: [1, 3]}
one_of: [{groups: [a, b], tie: none}]
""")
FOLLOWED = tiny("""
groups:
  - {slots: [lora@attention.query, prefix@attention], sizes: [0, 2]}
  - {slots: ["gate@*"], follows: ["lora@*", "prefix@*"]}
""")
CLASHING = tiny("""
groups:
  - {slots: [bitfit@block], sizes: [0, 1]}
  - {slots: [layer_norm@ffn.norm], sizes: [0, 1]}
""")
ALONE = tiny("groups: [{slots: [lora@attention.query, gate@attention.query], sizes: [0, 1]}]")
GROUPED = tiny("""
layer_groups: {count: 2, patterns: [uniform, spindle]}
groups: [{slots: ["lora@attention.query", "lora@attention.value"], sizes: [0, 1, 3],
          tie: layer_groups}]
""")
BY_BLOCK = tiny("""
groups: [{slots: [lora@attention.query, lora@attention.value], sizes: [0, 1], tie: slots}]
""")
S4 = read_space("s4").on(TINY, 700)
RULED = {
    "depth": DEPTH, "last": LAST, "pick": PICK, "pick by block": PICK_BY_BLOCK,
    "followed": FOLLOWED, "clashing": CLASHING, "alone": ALONE,
    "grouped": GROUPED, "by block": BY_BLOCK,
}  # fmt: skip
every_ruled = pytest.mark.parametrize("space", RULED.values(), ids=RULED)


@every_ruled
def test_every_configuration_is_found_again_and_has_no_fault(space):
    for genome in genomes(space):
        configuration = space.decode(genome)
        found = space.encode(configuration)

        assert found is not None
        assert space.decode(found) == configuration
        assert not list(faults(configuration, space.slots))


@every_ruled
def test_counting_all_at_once_gives_what_counting_each_gives(space):
    everything = genomes(space)

    counted = space.counter().counts(everything)

    assert counted.tolist() == [space.parameters(genome) for genome in everything]


@every_ruled
def test_the_smallest_and_the_largest_are_what_trying_them_all_finds(space):
    counts = [count for genome in genomes(space) if (count := space.parameters(genome))]

    assert space.smallest().parameters(space.slots) == min(counts)
    assert space.largest().parameters(space.slots) == max(counts)


@every_ruled
@pytest.mark.parametrize("share", [0, 0.01, 0.3, 1])
def test_a_draw_keeps_the_ceiling_and_the_rules(space, share):
    low, high = (c.parameters(space.slots) for c in (space.smallest(), space.largest()))
    ceiling = int(low + share * (high - low))
    sampler = Sampler(space, ceiling)

    for seed in range(10):
        configuration = space.decode(sampler.draw(np.random.default_rng(seed)))
        assert 0 < configuration.parameters(space.slots) <= ceiling
        assert not list(faults(configuration, space.slots))


@pytest.mark.parametrize("space", [DEPTH, LAST, PICK], ids=["depth", "last", "pick"])
def test_the_size_counts_what_can_be_told_apart(space):
    assert space.size == len({space.decode(genome) for genome in genomes(space)})


def test_below_its_depth_a_group_is_absent_and_its_sizes_above_are_free():
    assert DEPTH.size == 3 + 9
    found = {tuple(sizes(DEPTH, DEPTH.decode(g), "lora@ffn.input")) for g in genomes(DEPTH)}
    assert (4, 0) in found
    assert (1, 4) in found
    assert all(first for first, _ in found)


def test_the_last_blocks_alone_can_be_trained():
    found = [tuple(sizes(LAST, LAST.decode(genome), "full@block")) for genome in genomes(LAST)]

    assert found == [(0, 1), (1, 1)]


def test_of_several_groups_one_is_picked():
    for genome in genomes(PICK):
        methods = PICK.decode(genome).methods(PICK.slots)
        assert len(methods) == 1


def test_a_pick_may_differ_from_block_to_block():
    tables = {PICK_BY_BLOCK.decode(genome) for genome in genomes(PICK_BY_BLOCK)}

    assert any(
        sizes(PICK_BY_BLOCK, t, "lora@ffn.input") == [2, 0]
        and sizes(PICK_BY_BLOCK, t, "prefix@attention") == [0, 3]
        for t in tables
    )
    assert all(
        not (row[column(PICK_BY_BLOCK, "lora@ffn.input")]
             and row[column(PICK_BY_BLOCK, "prefix@attention")])
        for t in tables for row in t.sizes
    )  # fmt: skip


def test_a_follower_is_on_exactly_where_its_leader_is():
    for genome in genomes(FOLLOWED):
        configuration = FOLLOWED.decode(genome)
        for gate, leader in (
            ("gate@attention.query", "lora@attention.query"),
            ("gate@attention", "prefix@attention"),
        ):
            led = sizes(FOLLOWED, configuration, leader)
            assert sizes(FOLLOWED, configuration, gate) == [int(size > 0) for size in led]


def test_a_gate_without_its_leader_is_no_part_of_the_space():
    on, off = column(FOLLOWED, "gate@attention"), Configuration(((0,) * len(FOLLOWED.slots),) * 2)
    row = [0] * len(FOLLOWED.slots)
    row[on] = 1

    assert FOLLOWED.encode(Configuration((tuple(row), off.sizes[1]))) is None
    assert "gate" in FOLLOWED.methods
    assert "gate" not in FOLLOWED.free_methods


def test_of_two_slots_that_clash_the_later_one_gives_way():
    both = CLASHING.decode([1] * len(CLASHING.genes))

    kept = [slot.method for slot, size in zip(CLASHING.slots, both.sizes[0], strict=True) if size]
    assert len(kept) == 1


def test_a_draw_gives_both_of_two_slots_that_clash_a_turn():
    sampler = Sampler(CLASHING, 10**6)

    methods = [
        CLASHING.decode(sampler.draw(np.random.default_rng(seed))).methods(CLASHING.slots)
        for seed in range(60)
    ]

    assert {name for present in methods for name in present} == {"bitfit", "layer_norm"}


def test_one_size_is_tied_over_the_slots_of_a_block_or_of_a_layer_group():
    for space in (BY_BLOCK, GROUPED):
        for genome in genomes(space):
            configuration = space.decode(genome)
            assert sizes(space, configuration, "lora@attention.query") == sizes(
                space, configuration, "lora@attention.value"
            )


def test_where_sizes_follow_from_the_budget_every_draw_keeps_it_and_is_found_again():
    sampler = Sampler(S4, 700)

    for seed in range(40):
        configuration = S4.decode(sampler.draw(np.random.default_rng(seed)))
        assert 0 < configuration.parameters(S4.slots) <= 700
        assert S4.decode(S4.encode(configuration)) == configuration


@given(st.integers(0, 2**32), st.sampled_from([70_000, 547_411, 1_094_822]))
@settings(derandomize=True, max_examples=20, deadline=None)
def test_s4_on_bert_keeps_its_budget_and_is_found_again(seed, ceiling):
    space = read_space("s4").on(BERT_BASE, ceiling)
    rng = np.random.default_rng(seed)
    genome = [int(rng.integers(len(gene.choices))) for gene in space.genes]

    configuration = space.decode(genome)

    assert configuration.parameters(space.slots) <= ceiling
    found = space.encode(configuration)
    assert found is not None
    assert space.decode(found) == configuration


FIXED_AND_FILLED = """
groups:
  - {slots: [lora@attention.query], sizes: budget}
  - {slots: [gate@attention.query], follows: ["lora@*"]}
  - {slots: [serial_adapter@ffn.output], sizes: [48]}
switches: true
"""


@given(st.integers(0, 2**32), st.sampled_from([60_000, 227_132, 300_000]))
@settings(derandomize=True, max_examples=100, deadline=None)
def test_fixed_sizes_beside_the_budgets_keep_it_unless_they_alone_are_over_it(seed, ceiling):
    space = parse_space(FIXED_AND_FILLED, "own.yaml").on(MINI_LM, ceiling)
    rng = np.random.default_rng(seed)
    genome = [int(rng.integers(len(gene.choices))) for gene in space.genes]
    fixed = [0 if g.filled else c for g, c in zip(space.genes, genome, strict=True)]

    assert space.parameters(genome) <= max(ceiling, space.parameters(fixed))


def test_what_acts_on_a_cell_for_which_the_budget_leaves_nothing_goes_with_it():
    space = tiny(
        "groups: [{slots: [lora@attention.query], sizes: budget}, "
        "{slots: [gate@attention.query], sizes: [1]}]", 40
    )  # fmt: skip

    for genome in genomes(space):
        assert not list(faults(space.decode(genome), space.slots))


def test_the_largest_of_few_genomes_is_found_where_the_budget_decides_too():
    space = tiny("groups: [{slots: ['lora@*.query', 'prefix@*'], sizes: budget}]", 300)

    assert space.largest_is_exact
    counts = [space.parameters(genome) for genome in genomes(space)]
    assert space.largest().parameters(space.slots) == max(counts)


def test_that_the_largest_is_not_found_for_certain_is_told():
    s4 = read_space("s4").on(MINI_LM, 227_132)
    clashing = parse_space(
        "groups: [{slots: [bitfit@block, layer_norm@ffn.norm], sizes: [0, 1]}]", "own.yaml"
    ).on(BERT_BASE)

    assert not s4.largest_is_exact
    assert s4.largest().parameters(s4.slots) <= 227_132
    assert not clashing.largest_is_exact
    assert read_space("unified").on(BERT_BASE).largest_is_exact


def test_there_are_no_more_layer_groups_than_blocks():
    """Fifty groups of two blocks would count 2^48 genomes that differ in nothing."""
    text = """
    layer_groups: {count: 50}
    groups: [{slots: [lora@ffn.input], sizes: [0, 1], tie: layer_groups}]
    """
    space = tiny(text)

    assert space.size == 2**2 == len({space.decode(genome) for genome in genomes(space)})


def test_an_increasing_allocation_gives_the_last_group_the_largest_sizes():
    text = """
    layer_groups: {count: 2, patterns: [uniform]}
    allocation: [increasing]
    groups: [{slots: [lora@ffn.input], sizes: budget, tie: layer_groups}]
    """
    space = tiny(text, 24 * 9)

    assert sizes(space, space.decode([1, 1]), "lora@ffn.input") == [3, 6]


def test_a_budget_that_allows_no_size_at_all_is_refused():
    with pytest.raises(
        BudgetError,
        match=r"nothing in the space 's4' fits into 10 parameters: its sizes follow from",
    ):
        read_space("s4").on(TINY, 10).must_fit(10, TINY.parameters)


@pytest.mark.parametrize("text", known_spaces(), ids=lambda text: text.name)
@pytest.mark.parametrize("backbone", [MINI_LM, BERT_BASE], ids=lambda backbone: backbone.name)
def test_draws_of_every_known_space_are_within_the_budget_and_the_space(text, backbone):
    ceiling = backbone.parameters // 20
    space = text.on(backbone, ceiling)
    space.must_fit(ceiling, backbone.parameters)
    sampler = Sampler(space, ceiling)

    for seed in range(4):
        configuration = space.decode(sampler.draw(np.random.default_rng(seed)))
        assert 0 < configuration.parameters(space.slots) <= ceiling
        assert space.encode(configuration) is not None
        assert not list(faults(configuration, space.slots))


@pytest.mark.parametrize("name", ["s4", "noah", "unipelt", "llm-adapters"])
def test_a_space_is_read_back_equal_from_json(name):
    """As a study is from the store; laid twice, it has the same digest."""
    space, again = (read_space(name).on(MINI_LM, 100_000) for _ in range(2))

    assert from_json(SearchSpace, to_json(space)) == space
    assert digest(to_json(space)) == digest(to_json(again))


def test_shrinking_all_at_once_lowers_as_one_by_one_does_on_average():
    """The mean count of what is left, over 400 draws, within four standard errors."""
    space = tiny("groups: [{slots: ['lora@attention.*'], sizes: [0, 1, 2, 4, 8]}]")
    start, ceiling = [4] * len(space.genes), 300

    def one_by_one(rng) -> int:
        genome = list(start)
        while space.parameters(genome) > ceiling:
            active = [index for index, choice in enumerate(genome) if choice]
            index = active[int(rng.integers(len(active)))]
            genome[index] = int(rng.integers(genome[index]))
        return space.parameters(genome)

    sampler = Sampler(space, ceiling)
    ours = [space.parameters(sampler.shrink(start, np.random.default_rng(s))) for s in range(400)]
    theirs = [one_by_one(np.random.default_rng(1000 + s)) for s in range(400)]

    error = (np.var(ours) / 400 + np.var(theirs) / 400) ** 0.5
    assert abs(np.mean(ours) - np.mean(theirs)) < 4 * error
