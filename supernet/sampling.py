"""Which configurations a step of training samples."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from autopeft.errors import OptionError
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.sampling import Sampler
from autopeft.search_spaces.space import SearchSpace

Sampling = Literal["sandwich", "single"]
RANDOM = 2
"""How many draws lie between the smallest and the largest of a sandwich."""


class Draws:
    """Draws what each step trains.

    ``sandwich`` (Yu and Huang 2019, arXiv 1903.05134) takes the largest configuration, the
    smallest and two at random. Where the largest of the space is over the ceiling, it is lowered at
    random until it just fits. ``single`` takes one at random, as NOAH and AutoFormer do.
    """

    def __init__(self, space: SearchSpace, ceiling: int, sampling: Sampling) -> None:
        if sampling not in get_args(Sampling):
            raise OptionError(
                f"there is no sampling {sampling!r}: there are {', '.join(get_args(Sampling))}"
            )
        self._space = space
        self._sampler = Sampler(space, ceiling)
        self._sampling = sampling
        self._smallest = space.smallest()
        largest = space.largest()
        self._fits = largest.parameters(space.slots) <= ceiling
        self._largest = largest
        self._genome = space.encode(largest) or space.nearest(largest)

    @property
    def each(self) -> int:
        """How many configurations a step takes."""
        return 1 if self._sampling == "single" else 2 + RANDOM

    def draw(self, rng: np.random.Generator) -> Sequence[Configuration]:
        """Draw the configurations of a step, the largest first."""
        if self._sampling == "single":
            return [self._random(rng)]
        return [self._top(rng), *(self._random(rng) for _ in range(RANDOM)), self._smallest]

    def _random(self, rng: np.random.Generator) -> Configuration:
        return self._space.decode(self._sampler.draw(rng))

    def _top(self, rng: np.random.Generator) -> Configuration:
        if self._fits or self._genome is None:
            return self._largest if self._fits else self._random(rng)
        return self._space.decode(self._sampler.fit(self._genome, rng))
