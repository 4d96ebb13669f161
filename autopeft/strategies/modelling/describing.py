"""Proposals as the numbers that the surrogate reads, on scales that are common to all of them."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Configuration
from autopeft.strategies.modelling.surrogate import Inputs, shape_of
from autopeft.study import Study
from autopeft.trial import Proposal, Recipe


class Describer:
    """Puts what varies among proposals between 0 and 1."""

    def __init__(self, study: Study, everything: Iterable[Configuration]) -> None:
        self._methods = study.space.methods
        self._lowest = float(np.log(study.rungs[0])) or -1.0
        self._numbers = {table: number for number, table in enumerate(dict.fromkeys(everything))}
        shapes = np.array([shape_of(table) for table in self._numbers])
        spread = shapes.max(0) - shapes.min(0)
        self._varied: NDArray[np.bool_] = spread > 0
        self._low, self._spread = shapes.min(0)[self._varied], spread[self._varied]

    def trained(self, proposals: Sequence[Proposal], shares: Sequence[float]) -> Inputs:
        """Describe proposals that are trained for shares of their recipe."""
        return Inputs(
            shapes_NS=self._shapes([proposal.configuration for proposal in proposals]),
            rates_NR=np.array([self._rates(proposal.recipe) for proposal in proposals]),
            short_N=np.log(np.asarray(shares, dtype=np.float64)) / self._lowest,
            inherited_N=np.zeros(len(proposals), dtype=np.bool_),
            tables_N=np.array([self._numbers[p.configuration] for p in proposals]),
        )

    def inherited(self, tables: Sequence[Configuration]) -> Inputs:
        """Describe configurations that shared weights have scored."""
        return Inputs(
            shapes_NS=self._shapes(tables),
            rates_NR=np.zeros((len(tables), len(self._methods))),
            short_N=np.zeros(len(tables)),
            inherited_N=np.ones(len(tables), dtype=np.bool_),
            tables_N=np.array([self._numbers[table] for table in tables]),
        )

    def _shapes(self, tables: Sequence[Configuration]) -> NDArray[np.float64]:
        shapes = np.array([shape_of(table)[self._varied] for table in tables])
        found: NDArray[np.float64] = (shapes - self._low) / self._spread
        return found

    def _rates(self, recipe: Recipe) -> list[float]:
        """Return how far each rate is from its default, in factors of ten; 0 for one not there."""
        given = recipe.learning_rates
        return [
            float(np.log10(given[m] / METHODS[m].rates.default)) if m in given else 0.0
            for m in self._methods
        ]
