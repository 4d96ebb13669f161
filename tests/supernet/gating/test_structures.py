"""Which cells have gates, and how a budget is filled with them."""

import numpy as np
import pytest

from autopeft.errors import SpaceError
from autopeft.search_spaces.written.reading import parse_space
from autopeft.supernet.gating.structures import (
    Filling,
    chances_of,
    equal_chances,
    everything,
    gates_of,
)
from tests.builders import MINI_LM, SMALL_SPACE, TINY, space_on


def space_of(groups, on=TINY, **fields):
    lines = [f"{name}: {value}" for name, value in ({"name": "own"} | fields).items()]
    return parse_space("\n".join([*lines, "groups:", *groups]), "own.yaml").on(on)


def test_every_cell_of_s3pet_is_a_gate_with_what_it_costs():
    """MiniLM: six LoRA of rank 1, six biases and two of norms, two scales, two adapters a block."""
    gates = gates_of(space_on(MINI_LM, "s3pet"), "s3pet", sized=False)

    assert len(gates) == 6 * (6 + 6 + 2 + 2 + 2)
    assert all(gate.free and gate.sizes == (1,) for gate in gates)
    assert {gate.costs for gate in gates} >= {(768,), (1920,), (384,), (1536,)}


def test_a_gate_has_the_smallest_size_or_all_of_them():
    smallest = gates_of(SMALL_SPACE, "s3pet", sized=False)
    every = gates_of(SMALL_SPACE, "bipeft", sized=True)

    assert {gate.sizes for gate in smallest} == {(1,)}
    assert {gate.sizes for gate in every} == {(1, 2, 4, 8), (1, 2, 4)}
    assert {gate.costs for gate in every} == {(16, 32, 64, 128), (25, 42, 76)}
    assert {gate.choices for gate in every} == {(1, 2, 3, 4), (1, 2, 3)}


def test_cells_that_are_tied_have_one_gate_and_what_must_be_there_is_not_free():
    space = space_of(
        [
            "  - {slots: [lora@attention.query], sizes: [0, 2], tie: blocks}",
            "  - {slots: [lora@attention.value], sizes: [4]}",
        ]
    )

    gates = gates_of(space, "s3pet", sized=False)

    assert [(len(gate.cells), gate.costs, gate.free) for gate in gates] == [
        (2, (64,), True), (1, (64,), False), (1, (64,), False),
    ]  # fmt: skip


def test_with_every_gate_on_all_cells_are_there_at_their_largest():
    gates = gates_of(SMALL_SPACE, "bipeft", sized=True)

    assert everything(SMALL_SPACE, gates) == SMALL_SPACE.largest()
    assert everything(SMALL_SPACE, ()).empty


GROUPED = [
    "  - {slots: [lora@attention.query], sizes: [0, 2], tie: layer_groups}",
    "  - {slots: [lora@attention.value], sizes: [0, 2, 4], tie: layer_groups}",
]


def test_in_one_division_into_layer_groups_a_group_has_a_gate():
    groups = "{count: 2, patterns: [uniform]}"
    space = space_of(GROUPED, layer_groups=groups)

    gates = gates_of(space, "bipeft", sized=True)

    assert [gate.cells for gate in gates] == [((0, 0),), ((1, 0),), ((0, 1),), ((1, 1),)]
    assert {gate.costs for gate in gates} == {(32,), (32, 64)}


def test_several_divisions_into_layer_groups_are_refused():
    """Cells are weighed as they are; how blocks are divided is nothing that a weight decides."""
    groups = "{count: 2, patterns: [uniform, increasing]}"
    space = space_of(GROUPED, on=MINI_LM, layer_groups=groups)

    with pytest.raises(SpaceError, match="'layer groups' decides how blocks are divided into"):
        gates_of(space, "s3pet", sized=False)


def test_what_switches_decide_alike_has_one_gate():
    """The space autopeft: three sizes for all blocks, and a switch for each block."""
    space = space_on(MINI_LM, "autopeft")

    gates = gates_of(space, "s3pet", sized=False)

    assert len(gates) == 3 * 6
    assert all(gate.free and len(gate.cells) == 1 for gate in gates)
    assert {(gate.gene, *gate.enables[0]) for gate in gates} == {
        (gene, 3 + block, 1) for gene in range(3) for block in range(6)
    }


def test_with_a_gate_come_in_its_switch_and_what_is_tied_to_it():
    space = space_on(MINI_LM, "autopeft")
    gates = gates_of(space, "s3pet", sized=False)
    adapters = [gate for gate in gates if gate.gene == 0]

    alone = space.decode(Filling(space, 10**6).put_in([(adapters[2], 1)]))
    both = space.decode(Filling(space, 10**6).put_in([(adapters[2], 1), (gates[6 + 4], 1)]))

    assert [sum(map(bool, row)) for row in alone.sizes] == [0, 0, 1, 0, 0, 0]
    assert [sum(map(bool, row)) for row in both.sizes] == [0, 0, 2, 0, 2, 0]


def test_what_comes_in_with_a_gate_counts():
    """Each of two gates fits, but together four cells would be there."""
    space = space_on(MINI_LM, "autopeft")
    gates = gates_of(space, "s3pet", sized=False)
    two = [(gates[2], 1), (gates[6 + 4], 1)]
    ceiling = sum(gate.costs[0] for gate, _ in two)

    found = Filling(space, ceiling).put_in(two)

    assert 0 < space.parameters(found) <= ceiling
    assert sum(bool(size) for row in space.decode(found).sizes for size in row) == 1


DEEP = [
    "  - {slots: [lora@attention.query], sizes: [2, 4], depth: [0, 1/2, 1]}",
]


def test_a_depth_is_a_prefix_of_gates():
    space = space_of(DEEP)
    gates = gates_of(space, "bipeft", sized=True)
    assert [(gate.cells, gate.free) for gate in gates] == [(((0, 0),), True), (((1, 0),), True)]

    upper = space.decode(Filling(space, 400).put_in([(gates[1], 1)]))

    assert [row[0] for row in upper.sizes] == [2, 4]  # the block below comes with it


def test_of_several_sets_of_columns_that_of_the_first_gate_is_picked():
    space = space_on(MINI_LM, "llm-adapters")
    gates = gates_of(space, "s3pet", sized=False)

    for order in (gates, gates[::-1]):
        found = space.decode(Filling(space, 10**6).put_in((g, g.choices[0]) for g in order))

        first = {column for _, column in order[0].cells}
        assert {c for row in found.sizes for c, size in enumerate(row) if size} >= first
        assert not found.empty


def test_chances_of_a_switch_are_those_of_what_it_turns_on():
    space = space_on(MINI_LM, "autopeft")
    gates = gates_of(space, "s3pet", sized=False)
    likely = {gate: (0.9 if gate.cells[0][0] < 3 else 0.2,) for gate in gates}

    found = chances_of(space, likely)

    assert found[3] == pytest.approx((0.1, 0.9))
    assert found[-1] == pytest.approx((0.8, 0.2))
    assert found[0][:2] == pytest.approx((0.45, 0.55))
    assert all(sum(chances) == pytest.approx(1.0) for chances in found)


def test_chances_of_a_depth_are_those_of_its_prefix():
    space = space_of(DEEP)
    below, above = gates_of(space, "s3pet", sized=False)
    depth = next(i for i, gene in enumerate(space.genes) if gene.role == "depth")

    found = chances_of(space, {below: (0.9,), above: (0.1,)})[depth]

    assert found == pytest.approx((0.3 / 1.5, 0.9 / 1.5, 0.3 / 1.5))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("noah", r"cannot search the space 'noah': what deep_prompt adds cannot be weighed"),
        ("unipelt", "weighs cells that are there or not, and gate@attention.query follows others"),
    ],
)
def test_a_space_with_cells_that_cannot_be_weighed_is_refused(name, message):
    with pytest.raises(SpaceError, match=message):
        gates_of(space_on(MINI_LM, name), "s3pet", sized=False)


def test_sizes_that_follow_from_the_budget_are_refused():
    space = parse_space(
        """
        name: own
        groups: [{slots: [lora@attention.query], sizes: budget}]
        """,
        "own.yaml",
    ).on(TINY, 400)

    with pytest.raises(SpaceError, match=r"and sizes of .* follow from the budget;"):
        gates_of(space, "s3pet", sized=False)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["  - {slots: [dora@attention.query], sizes: [0, 2]}"], "what dora adds cannot be"),
        (
            [
                "  - {slots: [layer_norm@ffn.norm], sizes: [0, 1]}",
                "  - {slots: [ln_fit@ffn.norm], sizes: [0, 1]}",
            ],
            "puts all cells in at once, and .*ffn.norm and .*ffn.norm cannot be in one block",
        ),
        (["  - {slots: [vera@attention.query], sizes: [0, 2, 4]}"], "a larger vera cannot be cut"),
    ],
)
def test_methods_that_cannot_be_gated_are_named(groups, message):
    with pytest.raises(SpaceError, match=f"strategy bipeft cannot search.*{message}"):
        gates_of(space_of(groups), "bipeft", sized=True)


def test_what_does_not_fit_is_skipped_and_what_still_fits_is_added():
    """LoRA of rank r costs 16 r, an adapter of width r 17 r + 8."""
    names = [gene.name for gene in SMALL_SPACE.genes]
    adapter = next(i for i, name in enumerate(names) if "adapter" in name)
    lora = [i for i, name in enumerate(names) if "lora" in name]

    genome = Filling(SMALL_SPACE, 100).fill(
        [(lora[0], 3), (adapter, 2), (lora[1], 2), (lora[2], 1)]
    )

    assert SMALL_SPACE.parameters(genome) == 64 + 32
    assert [genome[i] for i in (lora[0], adapter, lora[1], lora[2])] == [3, 0, 2, 0]


def test_a_space_whose_costs_do_not_add_up_is_filled_by_its_true_count():
    """Compacter's rules cost 64 once."""
    space = space_of(["  - {slots: [compacter@attention.output], sizes: [0, 1]}"])

    [one] = {
        space.parameters(Filling(space, budget).fill([(0, 1), (1, 1)])) for budget in (100, 135)
    }

    assert one == 64 + 12 + 24
    assert space.parameters(Filling(space, 136).fill([(0, 1), (1, 1)])) == 136
    assert Filling(space, 99).fill([(0, 1), (1, 1)]) == (0, 0)


def test_drawn_structures_fill_the_budget_and_follow_the_chances():
    rng, often, filling = np.random.default_rng(0), 0, Filling(SMALL_SPACE, 64)
    chances = list(equal_chances(SMALL_SPACE))
    chances[0] = (0.0, 1.0, 0.0, 0.0, 0.0)
    chances[1] = (1.0, 0.0, 0.0, 0.0, 0.0)
    for _ in range(200):
        genome = filling.drawn(tuple(chances), rng)
        assert 32 < SMALL_SPACE.parameters(genome) <= 64
        assert genome[0] == 1
        often += genome[1] > 0

    assert often < 40  # it only takes what all others leave over


def test_the_larger_of_equally_likely_sizes_come_as_often():
    rng, filling = np.random.default_rng(0), Filling(SMALL_SPACE, 10_000)
    genomes = [filling.drawn(equal_chances(SMALL_SPACE), rng) for _ in range(300)]

    shares = np.bincount([genome[0] for genome in genomes], minlength=5) / 300
    assert shares[0] == 0  # everything fits
    assert shares[1:] == pytest.approx([0.25] * 4, abs=0.1)  # four standard deviations
