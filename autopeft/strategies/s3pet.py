"""S3PET: the structure that gates under a shifted global sigmoid end with (Hu et al. 2022).

The search for it runs before the first proposal, see `autopeft.supernet.gating.differentiable`.
With the option ``structure=random`` there is none: the paper's control, which fills the budget by
chance.
"""

from collections.abc import Mapping

from autopeft.ports import Structures
from autopeft.search_spaces.space import SearchSpace
from autopeft.strategies.structured import Structured
from autopeft.study import Study
from autopeft.supernet.gating.options import S3petOptions as Options
from autopeft.supernet.gating.structures import gates_of
from autopeft.trial import Proposal, Trial

__all__ = ["Options", "S3petStrategy", "check_space"]


def check_space(space: SearchSpace, options: Mapping[str, str]) -> None:
    """Refuse a space whose cells cannot be gated.

    Raises:
        SpaceError: It has rules, or methods, that gates know nothing of.
    """
    Options.parse(options)
    gates_of(space, "s3pet", sized=False)


class S3petStrategy:
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
