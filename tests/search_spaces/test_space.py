"""Genomes, the configurations that they stand for, and the smallest and largest of them."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.errors import BudgetError
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.sampling import Sampler
from autopeft.search_spaces.space import SearchSpace
from autopeft.search_spaces.written.reading import parse_space
from tests.builders import BERT_BASE, MINI_LM, SMALL_SPACE, TINY, space_on


def tiny(text: str) -> SearchSpace:
    return parse_space(text, "own.yaml").on(TINY)


TIED = tiny(
    "{groups: [{slots: ['lora@attention.*'], sizes: [0, 2, 8], tie: blocks}], switches: true}"
)
NEVER_ABSENT = tiny("{groups: [{slots: [lora@ffn.input], sizes: [2, 4]}], switches: true}")
PARTLY_ABSENT = tiny(
    "groups: [{slots: [lora@ffn.input], sizes: [2, 4]}, {slots: ['prefix@*'], sizes: [0, 3]}]"
)
SPACES = {
    "lora on MiniLM": space_on(MINI_LM, "lora"),
    "autopeft on MiniLM": space_on(MINI_LM, "autopeft"),
    "unified on MiniLM": space_on(MINI_LM, "unified"),
    "autopeft on BERT": space_on(BERT_BASE, "autopeft"),
    "small": SMALL_SPACE,
    "tied with switches": TIED,
    "free with switches, never absent": NEVER_ABSENT,
    "partly never absent": PARTLY_ABSENT,
}
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
sampled = settings(max_examples=12, deadline=None, derandomize=True)
# Tables of ten thousand cells would take seconds; these take a few milliseconds each.
small_spaces = pytest.mark.parametrize(
    "space", [SMALL_SPACE, TIED, NEVER_ABSENT, PARTLY_ABSENT], ids=list(SPACES)[4:]
)


def genomes(space: SearchSpace) -> st.SearchStrategy[tuple[int, ...]]:
    """Return every genome of a space."""
    return st.tuples(*(st.integers(0, len(gene.choices) - 1) for gene in space.genes))


def all_configurations(space: SearchSpace) -> list[Configuration]:
    return [space.decode(g) for g in product(*(range(len(gene.choices)) for gene in space.genes))]


def test_the_autopeft_space_of_bert_base_has_the_published_size():
    """Eleven sizes of three modules and a switch for each of twelve blocks."""
    space = space_on(BERT_BASE, "autopeft")

    assert space.size == 11**3 * 2**12 == 5_451_776
    assert space.genes[0].choices == (0, 1, 3, 6, 12, 24, 48, 96, 192, 384, 768)


def test_the_size_of_a_space_counts_its_genomes():
    assert SMALL_SPACE.size == 5**4 * 4**2 == len(all_configurations(SMALL_SPACE))


def test_a_block_that_is_switched_off_has_nothing_whatever_its_sizes_are():
    genome = [2] * (len(TIED.genes) - 2) + [0, 1]

    off, on = TIED.decode(genome).sizes

    assert set(off) == {0}
    assert set(on) == {0, 8}


def test_a_tied_gene_decides_the_size_in_every_block():
    genome = [0] * len(TIED.genes)
    genome[0], genome[-2:] = 1, [1, 1]

    assert [row[0] for row in TIED.decode(genome).sizes] == [2, 2]


@every_space
@sampled
@given(data=st.data())
def test_encoding_what_was_decoded_stands_for_the_same_configuration(space, data):
    configuration = space.decode(data.draw(genomes(space)))

    genome = space.encode(configuration)

    assert genome is not None
    assert space.decode(genome) == configuration


def test_a_block_that_is_off_is_found_though_its_genes_have_no_zero():
    genome = [1, 1, 0, 1]
    configuration = NEVER_ABSENT.decode(genome)

    assert NEVER_ABSENT.decode(NEVER_ABSENT.encode(configuration)) == configuration


@pytest.mark.parametrize(
    ("space", "cells"),
    [
        (SMALL_SPACE, {(0, "lora@attention.query"): 3}),
        (SMALL_SPACE, {(0, "prefix@attention"): 1}),
        (TIED, {(0, "lora@attention.query"): 2, (1, "lora@attention.query"): 8}),
        (TIED, {(0, "lora@attention.query"): 2, (1, "lora@attention.key"): 2}),
    ],
    ids=["no such size", "a slot outside", "tied cells differ", "tied cells partly absent"],
)
def test_a_configuration_that_the_space_does_not_hold_has_no_genome(space, cells):
    names = [slot.name for slot in space.slots]
    table = [[0] * len(names) for _ in range(space.blocks)]
    for (block, name), size in cells.items():
        table[block][names.index(name)] = size

    assert space.encode(Configuration(tuple(map(tuple, table)))) is None


@every_space
@sampled
@given(data=st.data())
def test_the_count_of_a_genome_is_the_sum_over_its_cells(space, data):
    genome = data.draw(genomes(space))
    off = {
        gene.cells[0][0]
        for gene, choice in zip(space.genes, genome, strict=True)
        if gene.role == "switch" and choice == 0
    }

    total = sum(
        space.slots[column].unit * gene.choices[choice] + space.slots[column].fixed
        for gene, choice in zip(space.genes, genome, strict=True)
        for block, column in gene.cells
        if gene.role == "size" and gene.choices[choice] and block not in off
    )

    assert space.parameters(genome) == total


@small_spaces
def test_the_smallest_and_the_largest_are_what_trying_them_all_finds(space):
    counts = [c.parameters(space.slots) for c in all_configurations(space) if not c.empty]

    assert space.smallest().parameters(space.slots) == min(counts)
    assert space.largest().parameters(space.slots) == max(counts)
    assert space.encode(space.smallest()) is not None


@every_space
def test_a_ceiling_of_exactly_the_smallest_is_accepted_and_one_below_refused(space):
    needed = space.smallest().parameters(space.slots)

    space.must_fit(needed, 1_000_000)
    with pytest.raises(
        BudgetError, match=rf"fits into {needed - 1:,} parameters.*trains {needed:,} "
    ):
        space.must_fit(needed - 1, 1_000_000)


def test_a_refused_ceiling_names_the_smallest_configuration_and_its_share():
    with pytest.raises(
        BudgetError,
        match=r"nothing in the space 'unified' fits into 100 parameters: the smallest "
        r"configuration trains 384 \(0\.0017% of the backbone; "
        r"deep_prompt@attention 1 in block 0\); raise the budget or take another space",
    ):
        SPACES["unified on MiniLM"].must_fit(100, MINI_LM.parameters)


@every_space
@settings(max_examples=6, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), share=st.floats(0, 1))
def test_a_draw_is_never_empty_and_never_over_the_ceiling(space, seed, share):
    low, high = (c.parameters(space.slots) for c in (space.smallest(), space.largest()))
    ceiling = int(low + share**2 * (high - low))

    configuration = space.decode(Sampler(space, ceiling).draw(np.random.default_rng(seed)))

    assert not configuration.empty
    assert configuration.parameters(space.slots) <= ceiling


@every_space
@pytest.mark.parametrize("factor", [1, 2])
def test_a_draw_copes_with_the_tightest_ceilings(space, factor):
    ceiling = factor * space.smallest().parameters(space.slots)

    drawn = [
        space.decode(Sampler(space, ceiling).draw(np.random.default_rng(seed))) for seed in range(3)
    ]

    assert all(0 < c.parameters(space.slots) <= ceiling for c in drawn)


@small_spaces
@sampled
@given(data=st.data())
def test_shrinking_leaves_a_genome_that_fits_alone(space, data):
    genome = data.draw(genomes(space))

    shrunk = Sampler(space, space.parameters(genome)).shrink(genome, np.random.default_rng(0))

    assert shrunk == genome


@small_spaces
@sampled
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_shrinking_lowers_choices_until_the_ceiling_is_kept(space, data, seed):
    genome = data.draw(genomes(space))
    ceiling = data.draw(st.integers(space.smallest().parameters(space.slots), 1000))

    shrunk = Sampler(space, ceiling).shrink(genome, np.random.default_rng(seed))

    assert space.parameters(shrunk) <= ceiling
    assert all(after <= before for before, after in zip(genome, shrunk, strict=True))


def test_draws_depend_on_the_generator_alone():
    drawn = [Sampler(SMALL_SPACE, 400).draw(np.random.default_rng(7)) for _ in range(2)]

    assert drawn[0] == drawn[1] != Sampler(SMALL_SPACE, 400).draw(np.random.default_rng(8))
