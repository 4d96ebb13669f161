"""Measures trials by training them from scratch."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopeft import process
from autopeft.answer import counted
from autopeft.records import digest, to_json
from autopeft.study import Study
from autopeft.training.memory import is_out_of_memory
from autopeft.trial import Measurement, Trial

if TYPE_CHECKING:
    from autopeft.training.pausing import Paused

_PROGRESS_EVERY = 1.0


class FinetuneEvaluator:
    """Trains each trial from the pretrained backbone and scores it on the validation split.

    Backbone and data are loaded at the first trial and stay resident. What is pickled is only the
    study, so that a worker loads its own. ``pausing`` is the folder for the states of trials that
    pause at a rung; without one, a trial that goes on is trained again from its first step.
    ``trunks`` is the folder for what frozen lower blocks make of the data, at most ``trunk_bytes``
    together; without one, every trial computes it. ``memory`` are the bytes that the process may
    use, or else a ``share`` of what is free.
    """

    def __init__(
        self,
        study: Study,
        threads: int | None = None,
        pausing: Path | None = None,
        *,
        trunks: Path | None = None,
        trunk_bytes: int = 2**32,
        memory: int | None = None,
        share: float = 1.0,
    ) -> None:
        self._study = study
        self._threads = threads
        self._pausing = pausing
        self._trunks = trunks, trunk_bytes
        self._memory = memory, share
        self._trainer: Any = None
        self._shelf: Any = None
        # of the trials that were to train together; alone are the idle and the crowded
        self._packed = self._idle = self._crowded = 0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_trainer": None, "_shelf": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def resident(self) -> Any:
        """Return the trainer with backbone and data, loaded when it is first needed."""
        if self._trainer is None:
            process.prepare()
            from autopeft.training.room import Room
            from autopeft.training.trainer import Trainer
            from autopeft.training.trunk.shelf import Shelf

            study, (folder, most) = self._study, self._trunks
            self._shelf = Shelf(folder, most) if folder else None
            self._trainer = Trainer.open(
                study.task, study.backbone, study.where, test=False, threads=self._threads,
                shelf=self._shelf, room=Room(*self._memory),
            )  # fmt: skip
        return self._trainer

    @property
    def told(self) -> Sequence[str]:
        """What a user may want to know of how the trials of this process were trained."""
        shared = self._shelf.told if self._shelf else ()
        return (*shared, *self._told_of_packs(), *self.narrowed)

    def _told_of_packs(self) -> Iterator[str]:
        alone = self._idle + self._crowded
        if alone or self._packed:
            why = [
                *([f"{self._idle} would have gained nothing"] if self._idle else []),
                *([f"{self._crowded} had no room beside others"] if self._crowded else []),
            ]
            told = f"{counted(self._packed, 'trial')} trained in packs, {alone} alone"
            yield ": ".join((told, ", ".join(why))) if why else told

    @property
    def narrowed(self) -> Sequence[str]:
        """How batches were taken in this process so that there was room for them, if they were."""
        return tuple(self._trainer.room.told) if self._trainer else ()

    def ready(self) -> "FinetuneEvaluator":
        """Load backbone and data now, so that what cannot be used is refused before a trial.

        Raises:
            AutopeftError: Model or data cannot be used, or leave nothing of the limit on memory.
        """
        self.resident().room.check()
        return self

    def evaluate(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        """Train the trials, yielding progress about every second.

        Those that have something to share train together, each as if it were alone.
        """
        if trials:
            yield trials[0].running(0.0)
        packs = self._packs(trials)
        if len(trials) > 1:
            self._count(trials, packs)
        for pack in packs:
            for trial in pack:
                if trial is not trials[0]:
                    yield trial.running(0.0)
            process.give_memory_back()
            yield from self._together(pack) if len(pack) > 1 else self._train(pack[0])

    def _count(self, trials: Sequence[Trial], packs: Sequence[Sequence[Trial]]) -> None:
        from autopeft.training.packing.cost import gains

        trainer, slots = self.resident(), self._study.space.slots
        alone = sum(len(pack) == 1 for pack in packs)
        gaining = sum(gains(trainer, slots, trial.proposal) for trial in trials)
        idle = len(trials) - (gaining if gaining > 1 else 0)  # a single one has nobody to go with
        self._packed += len(trials) - alone
        self._idle += idle
        self._crowded += alone - idle

    def _packs(self, trials: Sequence[Trial]) -> list[list[Trial]]:
        if len(trials) < 2:
            return [list(trials)] if trials else []
        trainer, slots = self.resident(), self._study.space.slots
        from autopeft.training.packing.cost import MOST_ABREAST, packs

        if not trainer.roomy(self._study.recipe, MOST_ABREAST):
            return [[trial] for trial in trials]
        found = packs(trainer, slots, [trial.proposal for trial in trials])
        return [[trials[place] for place in pack] for pack in found]

    def _together(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        try:
            yield from self._in_turns(trials)
        except Exception as error:
            self.resident().room.crowded |= is_out_of_memory(error)
            raise

    def _in_turns(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        trainer, study = self.resident(), self._study
        from autopeft.training.loop import DivergedError
        from autopeft.training.packing.turns import Wanted, together

        wanted = [Wanted(proposal=t.proposal, paused=self._paused(t)) for t in trials]
        told = dict.fromkeys(range(len(trials)), time.monotonic())
        for turn in together(trainer, study.space.slots, wanted, study.objectives):
            place, trial = turn.place, trials[turn.place]
            match turn.event:
                case Measurement():
                    yield trial.done(turn.event)
                case DivergedError():
                    yield trial.failed(f"diverged: {turn.event}")
                case _ if time.monotonic() - told[place] >= _PROGRESS_EVERY:
                    told[place] = time.monotonic()
                    yield trial.running(turn.event)

    def _train(self, trial: Trial) -> Iterator[Trial]:
        trainer, proposal = self.resident(), trial.proposal
        from autopeft.training.loop import DivergedError

        told = time.monotonic()
        slots = self._study.space.slots
        try:
            with trainer.tuned(
                slots, proposal.configuration, proposal.recipe, proposal.seed
            ) as tuned:
                for event in trainer.measure(
                    tuned,
                    proposal.seed,
                    proposal.fidelity,
                    paused=self._paused(trial),
                    objectives=self._study.objectives,
                ):
                    if isinstance(event, Measurement):
                        yield trial.done(event)
                    elif time.monotonic() - told >= _PROGRESS_EVERY:
                        told = time.monotonic()
                        yield trial.running(event)
        except DivergedError as error:
            yield trial.failed(f"diverged: {error}")

    def _paused(self, trial: Trial) -> "Paused | None":
        """Return where the state of a trial is kept; None where it is not."""
        if self._pausing is None or len(self._study.rungs) == 1 or trial.proposal.of is not None:
            return None
        from autopeft.training.pausing import Paused

        what = to_json(trial.proposal)
        del what["fidelity"], what["inherited"]
        name = f"{self._study.id}-{trial.number}.safetensors"
        return Paused(self._pausing / name, digest(what))
