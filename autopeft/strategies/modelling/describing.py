"""Proposals as the numbers that the surrogate reads, on scales that are common to all of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autopeft.search_spaces.catalog import METHODS
from autopeft.strategies.modelling.surrogate import Inputs, shape_of
from autopeft.study import Study
from autopeft.trial import Proposal, Recipe


class Describer:
    """Puts what varies among proposals between 0 and 1, and inherited scores around 0."""

    def __init__(self, study: Study, everything: Sequence[Proposal]) -> None:
        self._methods = study.space.methods
        self._lowest = float(np.log(study.rungs[0])) or -1.0
        shapes = np.array([shape_of(proposal.configuration) for proposal in everything])
        spread = shapes.max(0) - shapes.min(0)
        self._varied: NDArray[np.bool_] = spread > 0
        self._low, self._spread = shapes.min(0)[self._varied], spread[self._varied]
        inherited = np.array([p.inherited for p in everything if p.inherited is not None])
        self._mean = float(inherited.mean()) if len(inherited) else 0.0
        self._deviation = (float(inherited.std()) if len(inherited) else 0.0) or 1.0

    def inputs(
        self, proposals: Sequence[Proposal], shares: Sequence[float], *, guided: bool
    ) -> Inputs:
        """Describe proposals that are trained for shares of their recipe.

        Only where the model is ``guided`` does it see inherited scores; one that is not known
        counts as the mean.
        """
        shapes = np.array([shape_of(p.configuration)[self._varied] for p in proposals])
        inherited = [p.inherited if guided else None for p in proposals]
        return Inputs(
            shapes_NS=(shapes - self._low) / self._spread,
            rates_NR=np.array([self._rates(proposal.recipe) for proposal in proposals]),
            short_N=np.log(np.asarray(shares, dtype=np.float64)) / self._lowest,
            inherited_N=np.array([
                0.0 if score is None else (score - self._mean) / self._deviation
                for score in inherited
            ]),
        )  # fmt: skip

    def _rates(self, recipe: Recipe) -> list[float]:
        """Return how far each rate is from its default, in factors of ten; 0 for one not there."""
        given = recipe.learning_rates
        return [
            float(np.log10(given[m] / METHODS[m].rates.default)) if m in given else 0.0
            for m in self._methods
        ]
