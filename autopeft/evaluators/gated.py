"""Structures that a differentiable search finds: S3PET's gates or BIPEFT's pruning."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopeft import process
from autopeft.files import writable_folder, write_json
from autopeft.records import digest, to_json
from autopeft.search_spaces.configuration import Configuration
from autopeft.study import Study
from autopeft.supernet.gating.options import BipeftOptions, S3petOptions
from autopeft.supernet.gating.structures import equal_chances, gates_of

if TYPE_CHECKING:
    from autopeft.supernet.gating.ground import Outcome

_FORMAT = 1
_NEEDLESS = ("strategy", "finals", "where", "objectives", "rungs", "earlier", "options", "budget")


class GatedStructures:
    """Searches once, in this process, and keeps what it found in a folder.

    A study that goes on, or another that asks for the same search, reads it from there; a search
    that was killed begins again. ``trainer`` returns a trainer with backbone and data that are
    loaded already; without one, they are loaded when they are needed.

    Raises:
        SpaceError: The space cannot be searched like this.
        OptionError: The study's options are not those of its strategy.
    """

    def __init__(
        self,
        study: Study,
        folder: Path,
        *,
        threads: int | None = None,
        trainer: Callable[[], Any] | None = None,
    ) -> None:
        self._study = study
        self._folder = folder
        self._threads = threads
        self._trainer = trainer
        self._pruned = study.strategy == "bipeft"
        self._options: S3petOptions | BipeftOptions
        if self._pruned:
            self._options = BipeftOptions.parse(study.options)
        else:
            self._options = S3petOptions.parse(study.options)
        gates_of(study.space, study.strategy, sized=self._pruned)
        self._problem = "the search for structures has not run yet"
        self._tried = False
        self._chances = equal_chances(study.space)
        self._found: tuple[Configuration, ...] = ()
        self.expected: tuple[float, ...] = ()
        self.moved = 0.0

    @property
    def problem(self) -> str:
        """Why nothing was found out; empty while something was."""
        return self._problem

    @property
    def file(self) -> Path:
        """Where the result is kept: named by all that decides it."""
        what = to_json(self._study)
        for name in _NEEDLESS:
            del what[name]
        del what["backbone"]["name"], what["space"]["summary"], what["space"]["start_from"]
        what |= {
            "format": _FORMAT,
            "pruned": self._pruned,
            "search": to_json(self._options),
            "ceiling": self._study.ceiling,
        }
        del what["search"]["structure"]
        return self._folder / f"gates-{digest(what)[:16]}.json"

    def prepare(self) -> Iterator[float]:
        """Search, or read what an earlier search has found, yielding progress in [0, 1]."""
        if self._tried:
            return
        if self._options.structure == "random":
            self._problem = ""
        elif not self._read():
            yield from self._search()
        self._tried = True
        yield 1.0

    def chances(self) -> tuple[tuple[float, ...], ...]:
        """Return for every gene of the space the probability of each of its choices."""
        return self._chances

    def found(self) -> tuple[Configuration, ...]:
        """Return the structures that the search ended with, the best first."""
        return self._found

    def _search(self) -> Iterator[float]:
        process.prepare()
        from autopeft.supernet.gating.differentiable import search_gates
        from autopeft.supernet.gating.ground import Ground, Outcome
        from autopeft.supernet.gating.pruning import search_by_pruning
        from autopeft.training.loop import DivergedError

        study, options = self._study, self._options
        ground = Ground(
            trainer=self._resident(),
            space=study.space,
            ceiling=study.ceiling,
            recipe=study.recipe,
            seed=study.seed,
            steps=options.steps,
        )
        if isinstance(options, BipeftOptions):
            events = search_by_pruning(ground, options)
        else:
            events = search_gates(ground, options)
        try:
            for event in events:
                if isinstance(event, Outcome):
                    self._keep(event)
                else:
                    yield event
        except DivergedError as error:
            self._problem = f"the search for structures diverged: {error}"

    def _keep(self, outcome: "Outcome") -> None:
        writable_folder(self._folder)
        document = {
            "format": _FORMAT,
            "chances": outcome.chances,
            "found": [configuration.sizes for configuration in outcome.found],
            "expected": outcome.expected,
            "moved": outcome.moved,
        }
        write_json(self.file, document)
        self._take(document)

    def _read(self) -> bool:
        """Take over what is on disk; a file that cannot be read is as good as none."""
        try:
            document = json.loads(self.file.read_text("utf-8"))
            self._take(document)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return True

    def _take(self, document: dict[str, Any]) -> None:
        chances = tuple(tuple(map(float, row)) for row in document["chances"])
        expected = [len(gene.choices) for gene in self._study.space.genes]
        if [len(row) for row in chances] != expected:
            raise ValueError("it belongs to another space")
        self._chances = chances
        self._found = tuple(Configuration(tuple(map(tuple, sizes))) for sizes in document["found"])
        self.expected, self.moved = tuple(document["expected"]), document["moved"]
        self._problem = ""

    def _resident(self) -> Any:
        if self._trainer is not None:
            return self._trainer()
        from autopeft.training.trainer import Trainer

        study = self._study
        return Trainer.open(
            study.task, study.backbone, study.where, test=False, threads=self._threads
        )
