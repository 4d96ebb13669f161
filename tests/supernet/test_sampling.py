import numpy as np
import pytest

from autopeft.errors import OptionError
from autopeft.supernet.sampling import Draws
from tests.builders import SMALL_SPACE

CEILING = 400


def test_a_sandwich_holds_the_largest_the_smallest_and_two_at_random():
    draws = Draws(SMALL_SPACE, 10_000, "sandwich")

    drawn = draws.draw(np.random.default_rng(0))

    assert draws.each == len(drawn) == 4
    assert drawn[0] == SMALL_SPACE.largest()
    assert drawn[-1] == SMALL_SPACE.smallest()


def test_where_the_largest_is_over_the_ceiling_it_is_lowered_until_it_just_fits():
    draws, rng = Draws(SMALL_SPACE, CEILING, "sandwich"), np.random.default_rng(0)

    counts = [draws.draw(rng)[0].parameters(SMALL_SPACE.slots) for _ in range(50)]

    assert max(counts) <= CEILING < SMALL_SPACE.largest().parameters(SMALL_SPACE.slots)
    assert len(set(counts)) > 5
    assert np.mean(counts) > 0.7 * CEILING


@pytest.mark.parametrize("sampling", ["sandwich", "single"])
def test_what_is_drawn_is_within_the_ceiling_and_follows_from_the_seed(sampling):
    draws = Draws(SMALL_SPACE, CEILING, sampling)

    drawn, again = (
        [c for step in range(30) for c in draws.draw(np.random.default_rng(step))] for _ in "ab"
    )

    assert drawn == again
    assert all(0 < c.parameters(SMALL_SPACE.slots) <= CEILING for c in drawn)


def test_a_single_path_takes_one_at_random():
    draws = Draws(SMALL_SPACE, CEILING, "single")

    drawn = [tuple(draws.draw(np.random.default_rng(step))) for step in range(20)]

    assert draws.each == 1
    assert len(set(drawn)) > 10


def test_a_sampling_that_does_not_exist_is_refused():
    with pytest.raises(OptionError, match="no sampling 'both': there are sandwich, single"):
        Draws(SMALL_SPACE, CEILING, "both")
