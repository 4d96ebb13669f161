"""BIPEFT: the structure that is left when gates are pruned to the budget (Chang et al. 2024).

The search for it runs before the first proposal, see `autopeft.supernet.gating.pruning`. With the
option ``structure=random`` there is none: the budget is filled by chance.
"""

from collections.abc import Mapping

from autopeft.ports import Structures
from autopeft.search_spaces.space import SearchSpace
from autopeft.strategies.structured import Structured
from autopeft.study import Study
from autopeft.supernet.gating.options import BipeftOptions as Options
from autopeft.supernet.gating.structures import gates_of
from autopeft.trial import Proposal, Trial

__all__ = ["BipeftStrategy", "Options", "check_space"]


def check_space(space: SearchSpace, options: Mapping[str, str]) -> None:
    """Refuse a space whose cells cannot be gated.

    Raises:
        SpaceError: It has rules, or methods, that gates know nothing of.
    """
    Options.parse(options)
    gates_of(space, "bipeft", sized=True)


class BipeftStrategy:
    """Proposes the structure that was found, at several rates, then others that are likely."""

    def __init__(self, study: Study, structures: Structures) -> None:
        options = Options.parse(study.options)
        by_chance = options.structure == "random"
        self._inner = Structured(study, structures, by_chance=by_chance)

    def ask(self) -> Proposal | None:
        """Return a proposal not asked before, or None when there is none left."""
        return self._inner.ask()

    def tell(self, trial: Trial) -> None:
        """Learn from a trial at which rates to go on."""
        self._inner.tell(trial)
