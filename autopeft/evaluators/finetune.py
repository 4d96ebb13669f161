"""Measures trials by training them from scratch."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from autopeft import process
from autopeft.study import Study
from autopeft.trial import Measurement, Trial

_PROGRESS_EVERY = 1.0


class FinetuneEvaluator:
    """Trains each trial from the pretrained backbone and scores it on the validation split.

    Backbone and data are loaded at the first trial and stay resident. What is pickled is only the
    study, so that a worker loads its own.
    """

    def __init__(self, study: Study, threads: int | None = None) -> None:
        self._study = study
        self._threads = threads
        self._trainer: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_study": self._study, "_threads": self._threads, "_trainer": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def ready(self) -> "FinetuneEvaluator":
        """Load backbone and data now, so that what cannot be used is refused before a trial.

        Raises:
            AutopeftError: Model or data cannot be used.
        """
        process.prepare()
        self._resident()
        return self

    def evaluate(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        """Train the trials one after another, yielding progress about every second."""
        for trial in trials:
            yield trial.running(0.0)
            process.give_memory_back()
            yield from self._train(trial)

    def _train(self, trial: Trial) -> Iterator[Trial]:
        process.prepare()
        from autopeft.training.loop import DivergedError

        trainer, proposal = self._resident(), trial.proposal
        told = time.monotonic()
        slots = self._study.space.slots
        try:
            with trainer.tuned(
                slots, proposal.configuration, proposal.recipe, proposal.seed
            ) as tuned:
                for event in trainer.measure(tuned, proposal.seed, proposal.fidelity):
                    if isinstance(event, Measurement):
                        yield trial.done(event)
                    elif time.monotonic() - told >= _PROGRESS_EVERY:
                        told = time.monotonic()
                        yield trial.running(event)
        except DivergedError as error:
            yield trial.failed(f"diverged: {error}")

    def _resident(self) -> Any:
        if self._trainer is None:
            from autopeft.training.trainer import Trainer

            study = self._study
            self._trainer = Trainer.open(
                study.task, study.backbone, study.where, test=False, threads=self._threads
            )
        return self._trainer
