"""Changing and mixing genomes and learning rates."""

import numpy as np
import pytest

from autopeft.search_spaces.catalog import METHODS
from autopeft.strategies.breeding.operators import (
    crossed,
    crossed_modules,
    crossed_rates,
    has_depths,
    modules,
    mutated,
    mutated_depths,
    mutated_rates,
    rates_for,
)
from tests.builders import MINI_LM, ONE_CONFIGURATION, SMALL_SPACE, space_on

NOAH = space_on(MINI_LM, "noah")
UNIFIED = space_on(MINI_LM, "unified")
START = (0,) * len(UNIFIED.genes)


def changes(before, after) -> int:
    return sum(a != b for a, b in zip(before, after, strict=True))


def test_each_gene_is_redrawn_with_its_probability():
    """200 children of 90 genes at 0.2: a standard deviation of the mean is 0.27 genes."""
    rng = np.random.default_rng(0)

    counts = [changes(START, mutated(UNIFIED, START, rng)) for _ in range(200)]

    assert np.mean(counts) == pytest.approx(0.2 * 90, abs=1.1)


def test_depths_are_redrawn_twice_as_often_as_sizes():
    """AutoFormer's two probabilities, 0.2 and 0.4; NOAH's space has 18 sizes and 3 depths."""
    rng, start = np.random.default_rng(0), (0,) * len(NOAH.genes)
    children = [mutated(NOAH, start, rng) for _ in range(300)]

    often = np.mean([[a != b for a, b in zip(start, c, strict=True)] for c in children], axis=0)

    depths = [gene.role == "depth" for gene in NOAH.genes]
    assert sum(depths) == 3
    assert often[depths].mean() == pytest.approx(0.4, abs=0.07)
    assert often[~np.array(depths)].mean() == pytest.approx(0.2, abs=0.03)


def test_a_child_differs_from_its_parent_even_where_mutation_is_rare():
    rng = np.random.default_rng(0)

    children = [mutated(UNIFIED, START, rng, sizes=0.0, frames=0.0) for _ in range(50)]

    assert {changes(START, child) for child in children} == {1}


def test_steps_go_to_the_next_choice_and_stay_within_the_choices():
    rng = np.random.default_rng(0)
    top = tuple(len(gene.choices) - 1 for gene in UNIFIED.genes)
    for start in (START, top):
        for _ in range(50):
            child = mutated(UNIFIED, start, rng, sizes=0.5, steps=1.0)
            assert {abs(a - b) for a, b in zip(start, child, strict=True)} == {0, 1}
            assert all(0 <= c < len(g.choices) for c, g in zip(child, UNIFIED.genes, strict=True))


def test_where_nothing_can_be_chosen_nothing_changes():
    genome = (0,) * len(ONE_CONFIGURATION.genes)

    assert mutated(ONE_CONFIGURATION, genome, np.random.default_rng(0)) == genome


def test_a_child_takes_each_gene_from_either_parent():
    rng, other = np.random.default_rng(0), (1,) * len(START)

    child = crossed(UNIFIED, START, other, rng)

    assert 25 < sum(child) < 65  # 90 fair draws: four standard deviations are 19


def test_genes_of_one_method_are_a_module():
    by_method = [{NOAH.genes[i].name.split("/")[0].split("@")[0] for i in m} for m in modules(NOAH)]

    assert len(by_method) == 3
    assert sorted(i for members in modules(NOAH) for i in members) == list(range(len(NOAH.genes)))
    assert all(len(methods) <= 2 for methods in by_method)  # sizes, and the depth of the group


def test_noahs_crossover_takes_whole_modules():
    rng, none = np.random.default_rng(0), (0,) * len(NOAH.genes)
    for _ in range(20):
        child = crossed_modules(NOAH, none, (1,) * len(none), rng)

        assert all(len({child[i] for i in members}) == 1 for members in modules(NOAH))


def test_noahs_mutation_leaves_sizes_inside_the_depth_alone():
    rng = np.random.default_rng(0)
    depths = [i for i, gene in enumerate(NOAH.genes) if gene.role == "depth"]
    deepest = tuple(len(g.choices) - 1 if i in depths else 1 for i, g in enumerate(NOAH.genes))
    for _ in range(100):
        child = mutated_depths(NOAH, deepest, rng, module=1.0, depth=1.0)

        assert all(child[i] == 1 for i in range(len(child)) if i not in depths)


def test_noahs_mutation_draws_sizes_for_the_blocks_that_come_in():
    rng, shallow = np.random.default_rng(0), (0,) * len(NOAH.genes)
    children = [mutated_depths(NOAH, shallow, rng, module=1.0, depth=1.0) for _ in range(100)]

    first = {child[0] for child in children}
    last = {child[5] for child in children}
    assert first == {0}  # the first block is there at any depth
    assert last == {0, 1, 2}


def test_noahs_mutation_changes_a_child_as_seldom_as_in_its_code():
    """1 - (1 - 0.2 · 0.4 · 0.75)³ = 17% (recipes 1.8 c); 600 children have a deviation of 1.5%."""
    rng, start = np.random.default_rng(0), (0,) * len(NOAH.genes)

    changed = np.mean([mutated_depths(NOAH, start, rng) != start for _ in range(600)])

    assert changed == pytest.approx(0.17, abs=0.045)


@pytest.mark.parametrize(("space", "found"), [(NOAH, True), (UNIFIED, False), (SMALL_SPACE, False)])
def test_spaces_with_depths_are_told_apart(space, found):
    assert has_depths(space) is found


def test_rates_stay_within_the_range_of_their_method():
    rng, rates = np.random.default_rng(0), {"lora": 9e-3, "prefix": 2e-3}
    for _ in range(200):
        rates = mutated_rates(rates, rng, spread=2.0)
        for method, rate in rates.items():
            assert METHODS[method].rates.low <= rate <= METHODS[method].rates.high


def test_a_childs_rates_are_those_of_its_parents():
    rng = np.random.default_rng(0)

    both = [crossed_rates({"lora": 1.0, "prefix": 2.0}, {"lora": 3.0}, rng) for _ in range(30)]

    assert {rates["lora"] for rates in both} == {1.0, 3.0}
    assert {rates["prefix"] for rates in both} == {2.0}


def test_a_method_that_no_parent_had_gets_a_rate_that_is_drawn():
    rates = rates_for(["lora", "prefix"], {"lora": 5e-3, "bitfit": 1e-2}, np.random.default_rng(0))

    assert rates["lora"] == 5e-3
    assert set(rates) == {"lora", "prefix"}
    assert METHODS["prefix"].rates.low <= rates["prefix"] <= METHODS["prefix"].rates.high
