"""The largest size of a cell is never below one that a configuration has."""

import numpy as np
import pytest

from autopeft.search_spaces.configuration import Slot
from autopeft.search_spaces.sampling import Sampler
from autopeft.search_spaces.written.reading import known_spaces, parse_space
from autopeft.supernet.extent import largest_sizes, largest_within
from tests.builders import MINI_LM, SMALL_SPACE

FILLED_RIVALS = """
name: filled rivals
groups:
  - {name: fine, slots: [lora@attention.query, dora@attention.query], sizes: budget, tie: blocks}
  - {name: other, slots: [full@attention], sizes: [0, 1]}
"""
"""Where the query is trained whole there is no LoRA, and more is left for the other blocks."""


def spaces():
    texts = [*known_spaces(), parse_space(FILLED_RIVALS, "filled.yaml")]
    return [pytest.param(text, id=text.name) for text in texts]


@pytest.mark.parametrize("share", [0.005, 0.03])
@pytest.mark.parametrize("text", spaces())
def test_no_drawn_configuration_is_larger_anywhere(text, share):
    ceiling = int(share * MINI_LM.parameters)
    space = text.on(MINI_LM, ceiling)
    ceiling = max(ceiling, space.smallest().parameters(space.slots))
    most = np.array(largest_sizes(space, ceiling))
    sampler, rng = Sampler(space, ceiling), np.random.default_rng(0)

    for _ in range(40):
        assert (np.array(space.decode(sampler.draw(rng)).sizes) <= most).all()


def test_sizes_are_those_of_the_genes_as_far_as_they_fit_alone():
    """A rank of 8 on the tiny query trains 8 · 16 = 128, and 4 trains 64."""
    whole, tight = (largest_sizes(SMALL_SPACE, ceiling) for ceiling in (400, 127))

    names = [slot.name for slot in SMALL_SPACE.slots]
    query = names.index("lora@attention.query")
    assert [row[query] for row in whole] == [8, 8]
    assert [row[query] for row in tight] == [4, 4]


@pytest.mark.parametrize(
    ("ceiling", "largest"), [(9, 0), (10, 1), (99, 18), (100, 19), (105, 20), (10**6, 20)]
)
def test_the_largest_within_a_ceiling_pays_for_all_that_it_trains(ceiling, largest):
    """5 a size, 2 for being there and 3 for the column."""
    slot = Slot(method="lora", site="q", blocks=(0, 2), unit=5, fixed=2, once=3, most=20)

    assert largest_within(slot, ceiling) == largest
