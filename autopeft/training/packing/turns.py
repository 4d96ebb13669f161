"""Trainings that take turns, each step by step, on one resident backbone."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Slot
from autopeft.study import Objective
from autopeft.tasks.splits import PartName
from autopeft.training.heads.model import TaskModel
from autopeft.training.loop import DivergedError, steps_of
from autopeft.training.packing.abreast import Member
from autopeft.training.packing.below import Common, Together
from autopeft.training.packing.cost import MOST_ABREAST, SMALL
from autopeft.training.packing.crew import Crew, Place, Rowing
from autopeft.training.packing.lanes import Chance
from autopeft.training.pausing import Paused
from autopeft.training.trainer import Trainer, Tuned
from autopeft.trial import Measurement, Proposal, Recipe

Event = float | Measurement | DivergedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A training that is wanted: what, how far, and where its state is kept while it pauses."""

    proposal: Proposal
    paused: Paused | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What has happened to the training at a place in the sequence of what was wanted.

    ``event`` is what `Trainer.measure` yields, or the error that it raises where it diverges.
    ``tuned`` is the configuration as it is trained, in place until the next turn is taken.
    """

    place: int
    event: Event
    tuned: Tuned | None


def together(
    trainer: Trainer,
    slots: Sequence[Slot],
    wanted: Sequence[Wanted],
    objectives: Sequence[Objective] = (),
    *,
    most: float = MOST_ABREAST,
    small: float = SMALL,
) -> Iterator[Turn]:
    """Train all that is wanted, step by step in turn; where one diverges the others go on.

    ``most`` is the largest number of tokens times width that go through the backbone at once, and
    ``small`` that of a batch which goes along with others.
    """
    pack = _Pack(trainer, wanted, most, small)
    lanes = {number: _Lane(pack, slots, one, objectives) for number, one in enumerate(wanted)}
    try:
        while lanes:
            for number, lane in list(lanes.items()):
                try:
                    event: Event = lane.go_on()
                except StopIteration:
                    lanes.pop(number).close()
                    continue
                except DivergedError as error:
                    lanes.pop(number).close()
                    event = error
                yield Turn(place=number, event=event, tuned=lane.tuned)
    finally:
        for lane in lanes.values():
            lane.close()


class _Pack:
    """What the lanes of a pack share."""

    def __init__(
        self, trainer: Trainer, wanted: Sequence[Wanted], most: float, small: float
    ) -> None:
        self.trainer = trainer
        orders = {(one.proposal.seed, one.proposal.recipe.batch_size) for one in wanted}
        self.common = Common(len(orders))
        self._crews: dict[str, Crew] = {}
        self._limits = most, small

    def crew(self, recipe: Recipe) -> Crew:
        """Return those who compute in the same precision."""
        if recipe.precision not in self._crews:
            crew = Crew(self.trainer.whole, self.trainer.backbone.width, *self._limits)
            self._crews[recipe.precision] = crew
        return self._crews[recipe.precision]


class _Lane:
    """One training of a pack, in modules of its own."""

    def __init__(
        self, pack: _Pack, slots: Sequence[Slot], wanted: Wanted, objectives: Sequence[Objective]
    ) -> None:
        proposal = wanted.proposal
        train = pack.trainer.parts["train"]
        whole = steps_of(len(train), proposal.recipe)
        steps = max(1, round(whole * proposal.fidelity.share))
        self.tuned: Tuned | None = None
        self._chance = Chance()
        self._place = Place(train, proposal.recipe, proposal.seed, steps)
        self._crew = pack.crew(proposal.recipe)
        present = zip(slots, zip(*proposal.configuration.sizes, strict=True), strict=True)
        packs = all(METHODS[slot.method].packs for slot, sizes in present if any(sizes))
        self._events = self._run(pack, slots, wanted, objectives, abreast=packs)

    def go_on(self) -> float | Measurement:
        """Take the next step, or be scored after the last."""
        began = time.perf_counter()
        with self._chance.running():
            event = next(self._events)
        self._place.seconds += time.perf_counter() - began
        if isinstance(event, Measurement):
            ran = tuple(sorted(self._place.ran.union(event.operators)))
            return replace(event, seconds=self._place.seconds, operators=ran)
        self._place.step = round(event * self._place.steps)
        return event

    def close(self) -> None:
        """Take everything out again."""
        self._crew.leave(self._place)
        with self._chance.running():
            self._events.close()
        self.tuned = None

    def _run(
        self,
        pack: _Pack,
        slots: Sequence[Slot],
        wanted: Wanted,
        objectives: Sequence[Objective],
        *,
        abreast: bool,
    ) -> Generator[float | Measurement, None, None]:
        trainer = pack.trainer.lane()
        proposal = wanted.proposal
        kept = trainer.trunk
        crew = self._crew if abreast else None
        trainer.trunk = _Lower(pack, trainer, crew, self._place, kept)  # type: ignore[assignment]  # is asked the same
        with trainer.tuned(slots, proposal.configuration, proposal.recipe, proposal.seed) as tuned:
            self.tuned = tuned
            yield from trainer.measure(
                tuned, proposal.seed, proposal.fidelity,
                paused=wanted.paused, objectives=objectives,
            )  # fmt: skip


class _Lower:
    """What a lane has in common with others, where a trainer asks for what is kept on disk."""

    def __init__(
        self, pack: _Pack, trainer: Trainer, crew: Crew | None, place: Place, kept: Any
    ) -> None:
        self._pack = pack
        self._trainer = trainer
        self._crew = crew
        self._place = place
        self._kept = kept

    def above(
        self, model: TaskModel, recipe: Recipe, lowest: int
    ) -> Generator[float, None, Mapping[PartName, TaskModel]]:
        """Return the model for each part, with what is known of its lower blocks in place."""
        found: dict[PartName, TaskModel] = {"train": model, "validation": model}
        if recipe.dropout > 0:  # no two passes are the same
            return found
        if self._kept is not None:
            found |= yield from self._kept.above(model, recipe, lowest)
        blocks = self._trainer.blocks
        for part, own in found.items():
            if own is model and lowest:
                found[part] = Together(model, blocks[:lowest], self._pack.common)
        if self._crew is not None:
            member = Member(model, found["train"], blocks, lowest)
            if self._crew.join(self._place, self._trainer.whole, member):
                found["train"] = Rowing(found["train"], self._crew, self._place)
        return found
