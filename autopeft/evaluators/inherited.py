"""Scores configurations with the weights of a supernet, which is trained once and kept."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autopeft import process
from autopeft.answer import counted
from autopeft.records import digest
from autopeft.search_spaces.configuration import Configuration
from autopeft.study import Study

FEW = 6
"""So many configurations are measured sooner than a supernet of them is trained."""
_MANY = 10


class InheritedScores:
    """Trains the supernet of a study, or finds it in a cache, and scores configurations with it.

    Scores are remembered beside the weights, so that a search that goes on finds them again.
    ``trainer`` gives a backbone and data that are resident already; it is called when they are
    first needed. ``schedule`` says how the supernet is trained, where that is not the default.
    ``seed`` is the supernet's own, so that studies with other seeds find it too.
    """

    def __init__(
        self,
        study: Study,
        cache: Path,
        threads: int | None = None,
        *,
        trainer: Callable[[], Any] | None = None,
        schedule: Any = None,
        seed: int = 0,
    ) -> None:
        self._study = replace(study, seed=seed)
        self._cache = cache
        self._threads = threads
        self._open = trainer or self._opened
        self._schedule = schedule
        self._shelf: Any = None
        self._scoring: Any = None
        self._known: dict[str, float] = {}

    @property
    def problem(self) -> str:
        """Why there are no scores; empty while there are."""
        if (size := self._study.space.size) <= FEW:
            return (
                f"no supernet was trained: a space of {counted(size, 'configuration')} is measured "
                "sooner without one"
            )
        found: str = self._place().problem
        known = self._known.values()
        if not found and len(known) >= _MANY and all(map(math.isnan, known)):
            return "no configuration has a score with the supernet's weights that is a number"
        return found

    def prepare(self) -> Iterator[float]:
        """Train the supernet, or find it, yielding progress in [0, 1]; nothing where it is no use.

        Raises:
            StoreError: What was found is damaged, or of another supernet.
        """
        if self._scoring is not None or self.problem:
            return
        shelf = self._place()
        from autopeft.supernet.elastic import Supernet
        from autopeft.supernet.scoring import Scoring
        from autopeft.training.loop import DivergedError

        study = self._study
        net = Supernet(self._open(), study.space, study.ceiling, study.recipe, study.seed)
        try:
            yield from shelf.trained(net, self._schedule)
        except DivergedError:
            return  # the shelf knows why
        self._scoring = Scoring(net)

    def scores(self, configurations: Sequence[Configuration]) -> Iterator[float]:
        """Score each on the validation part, higher is better. Equal ones score equal.

        One whose loss is no number scores NaN. Yields nothing where there is a ``problem``, and no
        more where one turns up.

        Raises:
            SpaceError: A configuration is none of the study's space within its budget.
            StoreError: The supernet that was found is damaged, or another one.
        """
        keys = [digest(configuration.sizes)[:16] for configuration in configurations]
        found = self._found(dict(zip(keys, configurations, strict=True)))
        for key in keys:
            while not self.problem and key not in self._known and next(found, None):
                pass
            if self.problem or key not in self._known:
                return
            yield self._known[key]

    def _found(self, wanted: Mapping[str, Configuration]) -> Iterator[str]:
        """Score what is not known yet and remember it, yielding its key, in the order that is best.

        A configuration that the supernet has no weights for is refused when its turn comes.
        """
        new = {key: table for key, table in wanted.items() if key not in self._known}
        if new and self._scoring is None:
            for _ in self.prepare():
                pass
        if self._scoring is None:
            return
        keys = list(new)
        for place, score in self._scoring.scores(list(new.values())):
            self._known[keys[place]] = score
            self._shelf.remember(keys[place], score)
            yield keys[place]

    def _place(self) -> Any:
        """Return where the supernet is kept, with the scores that are remembered there."""
        if self._shelf is None:
            process.prepare()
            from autopeft.supernet.keeping import Shelf, digest_of
            from autopeft.supernet.training import Schedule

            self._schedule = self._schedule or Schedule()
            self._shelf = Shelf(self._cache, digest_of(self._study, self._schedule))
            self._known = self._shelf.remembered()
        return self._shelf

    def _opened(self) -> Any:
        from autopeft.training.trainer import Trainer

        study = self._study
        return Trainer.open(
            study.task, study.backbone, study.where, test=False, threads=self._threads
        )
