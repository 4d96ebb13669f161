"""Measures trials by training them from scratch."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopeft import process
from autopeft.records import digest, to_json
from autopeft.study import Study
from autopeft.trial import Measurement, Trial

if TYPE_CHECKING:
    from autopeft.training.pausing import Paused

_PROGRESS_EVERY = 1.0


class FinetuneEvaluator:
    """Trains each trial from the pretrained backbone and scores it on the validation split.

    Backbone and data are loaded at the first trial and stay resident. What is pickled is only the
    study, so that a worker loads its own. ``pausing`` is the folder for the states of trials that
    pause at a rung; without one, a trial that goes on is trained again from its first step.
    """

    def __init__(
        self, study: Study, threads: int | None = None, pausing: Path | None = None
    ) -> None:
        self._study = study
        self._threads = threads
        self._pausing = pausing
        self._trainer: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_trainer": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def resident(self) -> Any:
        """Return the trainer with backbone and data, loaded when it is first needed."""
        if self._trainer is None:
            process.prepare()
            from autopeft.training.trainer import Trainer

            study = self._study
            self._trainer = Trainer.open(
                study.task, study.backbone, study.where, test=False, threads=self._threads
            )
        return self._trainer

    def ready(self) -> "FinetuneEvaluator":
        """Load backbone and data now, so that what cannot be used is refused before a trial.

        Raises:
            AutopeftError: Model or data cannot be used.
        """
        self.resident()
        return self

    def evaluate(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        """Train the trials one after another, yielding progress about every second."""
        for trial in trials:
            yield trial.running(0.0)
            process.give_memory_back()
            yield from self._train(trial)

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
