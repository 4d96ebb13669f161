"""The sockets of the search. Each is filled in a room of its own; `wiring` chooses who fills it.

A class that fills a socket is final: to vary one, wrap it.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from autopeft.answer import Answer
from autopeft.plan import Plan
from autopeft.search_spaces.configuration import Configuration
from autopeft.study import Study
from autopeft.trial import Proposal, Trial


class Strategy(Protocol):
    """Decides what to try next."""

    def ask(self) -> Proposal | None:
        """Return a proposal within the budget, not asked before, or None when none is left."""

    def tell(self, trial: Trial) -> None:
        """Learn of a trial: of one that was proposed earlier and waits, or of one that has ended.

        A trial that is measured at several fidelities is told each time; the latest counts. A
        strategy that is told a study's trials in order goes on as if it had proposed them.
        """


class Inheritance(Protocol):
    """Scores configurations with weights that all of them share, without training each."""

    @property
    def problem(self) -> str:
        """Why there are no scores; empty while there are."""

    def prepare(self) -> Iterator[float]:
        """Train what is shared, or find it, yielding progress in [0, 1]."""

    def scores(self, configurations: Sequence[Configuration]) -> Iterator[float]:
        """Score each on the validation part, higher is better. Equal ones score equal.

        Yields nothing where there is a ``problem``.
        """


class Structures(Protocol):
    """What a differentiable search has found out about a space, without trials."""

    @property
    def problem(self) -> str:
        """Why nothing was found out; empty while something was."""

    def prepare(self) -> Iterator[float]:
        """Search, or find what an earlier search has found, yielding progress in [0, 1]."""

    def chances(self) -> tuple[tuple[float, ...], ...]:
        """Return for every gene of the space the probability of each of its choices.

        Genes of which nothing was found out have equal ones; so have all, where there is a
        ``problem``.
        """

    def found(self) -> tuple[Configuration, ...]:
        """Return the structures that the search ended with, the best first, within the budget.

        Empty where there is a ``problem``, or where nothing was left within the budget.
        """


class Evaluator(Protocol):
    """Measures trials. Small and picklable; loads model and data when it is first used."""

    def evaluate(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        """Train and score a pack of trials, yielding each whenever it has changed.

        Every trial is yielded at last with a measurement, unless an error ends the whole pack.
        """


class Executor(Protocol):
    """Runs trials on one or more devices."""

    def run(
        self, evaluator: Evaluator, trials: Iterator[Trial], *, ahead: int = 1
    ) -> Iterator[Trial]:
        """Pull trials while there is room, yielding each whenever it has changed.

        Trials are pulled in the consumer's thread and only when one can start at once, so that
        every pull has seen all trials that were yielded before. Where ``ahead`` is more than 1, up
        to so many may be pulled at a time and given to the evaluator as a pack. Each pulled trial
        is yielded at last in a state that has ended: what an evaluator raises becomes a failure of
        the trial.
        """


class Lease(Protocol):
    """The right to run a study, held by one process at a time."""

    def renew(self) -> None:
        """Say that the holder is alive; cheap enough to call at every event.

        Raises:
            StudyError: Another process has taken the study over.
        """


class Store(Protocol):
    """Remembers studies and what was measured; the only memory that a search has."""

    def add_study(self, study: Study) -> None:
        """Add a study, or only update where its model and data are when it is known."""

    def study(self, reference: str) -> Study:
        """Find a study by its id, the start of its id, or ``latest``.

        Raises:
            StudyError: There is no such study, or more than one.
        """

    def studies(self) -> tuple[Study, ...]:
        """List all studies, the most recently used first."""

    def add_trial(self, study_id: str, proposal: Proposal) -> Trial:
        """Give a proposal the next number and remember it as waiting."""

    def promote(self, study_id: str, trial: Trial, share: float) -> Trial:
        """Remember that a paused trial waits to be trained up to a larger share of its recipe."""

    def start(self, study_id: str, trial: Trial) -> Trial:
        """Remember that a trial is about to run, and return it as started."""

    def put_back(self, study_id: str, trial: Trial) -> None:
        """Take back that a trial was started, because its run was stopped in an orderly way."""

    def finish(self, study_id: str, trial: Trial) -> None:
        """Remember a trial that has ended; doing it again with an equal trial changes nothing."""

    def trials(self, study_id: str, *, predictions: bool = True) -> tuple[Trial, ...]:
        """List all trials of a study by number; without predictions they are not even read."""

    def save_answer(self, study_id: str, answer: Answer, plan: Plan) -> None:
        """Remember what a study has found; a later answer replaces an earlier one."""

    def answer(self, study_id: str) -> tuple[Answer, Plan] | None:
        """Return what a study has found, or None while it has found nothing."""

    def lease(self, study_id: str) -> AbstractContextManager[Lease]:
        """Hold a study for the time of a ``with`` block.

        Raises:
            StudyError: A living process holds it.
        """
