"""How a training keeps to the memory that it may use.

Where memory is short, the engine makes activations again instead of keeping them, and a step on the
longest examples is measured before a training begins. Where it takes more than there is, batches
are taken in pieces, as few as fit; where one example alone takes more, the blocks keep only their
inputs and run twice. All give the same to rounding. Memory that runs out all the same is learned
from: the step is taken again in smaller pieces, and so are those of later trainings.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autopeft.answer import counted
from autopeft.errors import OptionError
from autopeft.kernels.remade import sparing
from autopeft.process import frugal, give_memory_back
from autopeft.training.batches import PREDICTED_TOKENS
from autopeft.training.fitting import Fitting, Work, forget
from autopeft.training.memory import (
    NoRoomError,
    free_bytes,
    is_out_of_memory,
    resident_bytes,
    sized,
)
from autopeft.training.recomputing import recomputed

_SPARE = 0.1  # of what may be used, and at least so many bytes: what operators take for themselves,
_LEAST_SPARE = 300 * 2**20  # oneDNN's compiled products above all, and what allocators keep

logger = logging.getLogger(__name__)
Found = TypeVar("Found")


def spare_of(limit: int, taken: int = 0) -> float:
    """Return how many bytes of a limit no tensor may have, of which so many are taken already."""
    return max(_SPARE * limit, _LEAST_SPARE - taken)


class Room:
    """The memory that the trainings of this process may use, and what was learned of it.

    ``limit`` are bytes, for all that the process has. Without one it is what is free when a
    training begins, and a ``share`` of that where several processes train side by side. Where
    trainings are not ``alone``, nothing is measured, and memory that runs out is an error.
    """

    def __init__(
        self,
        limit: int | None = None,
        share: float = 1.0,
        *,
        alone: bool = True,
        resident: Callable[[], int] = resident_bytes,
        available: Callable[[], int] = free_bytes,
    ) -> None:
        self.limit = limit
        self.alone = alone
        self.most: float = math.inf
        """How many examples at once there was room for where memory ran out."""
        self.recomputes = False
        self.crowded = False
        """Whether memory ran out where several trained together."""
        self.tokens = PREDICTED_TOKENS
        """How many are scored at once."""
        self._share, self._resident, self._available = share, resident, available
        self._at_first: int | None = None
        self._divided = self._twice = self._lacked = 0
        self._fewest: float = math.inf

    @property
    def free(self) -> float:
        """How many more bytes tensors may take now."""
        if self.limit is None:
            return (1 - _SPARE) * self._share * self._available()
        now = self._resident()
        if self._at_first is None:
            self._at_first = now
        # what operators have taken for themselves by now is among what is there
        return self.limit - spare_of(self.limit, max(0, now - self._at_first)) - now

    def check(self) -> None:
        """Refuse a limit that leaves nothing before anything is trained.

        Raises:
            OptionError: What is loaded and what operators will need are more than the limit.
        """
        if self.limit and self.free <= 0:
            there, least = sized(self._resident()), sized(self.limit - self.free)
            raise OptionError(
                f"--memory {sized(self.limit)} is too little: this process has {there} before any "
                f"training, and trainings need more than {least} in all; allow more"
            )

    def tidy(self) -> None:
        """Give back what is not in use, where the limit is near."""
        if self.limit and self._resident() > (1 - _SPARE) * self.limit:
            give_memory_back()

    def ample(self, most: float) -> bool:
        """Tell whether that many bytes are so few here that nothing needs to be measured."""
        return most <= self.free / 2 and self.most == math.inf and not self.crowded

    @contextmanager
    def training(self, work: Work) -> "Iterator[Pace]":
        """Find out how the batches of a training are taken, for the time of a ``with`` block.

        Raises:
            NoRoomError: One example alone takes more than there is.
        """
        with ExitStack() as undo:
            pace = Pace(self, work, undo)
            if self.alone:
                pace.begin()
            yield pace

    def scored(self, score: Callable[[int], Found]) -> Found:
        """Score with ``tokens`` at once; where memory runs out, again with half of them."""
        while True:
            try:
                return score(self.tokens)
            except Exception as error:
                if not is_out_of_memory(error) or self.tokens <= 1:
                    raise
            self.tokens //= 2
            give_memory_back()

    def learn(self, most: int, *, recomputes: bool) -> None:
        """Remember that memory ran out, and with how many examples at once it goes on."""
        self._lacked += 1
        self.most, self.recomputes = min(self.most, most), self.recomputes or recomputes
        self._fewest = min(self._fewest, most)
        twice = ", and activations are computed twice" if recomputes else ""
        logger.warning("memory ran out: %s from now on%s", _examples(most), twice)

    def note(self, most: int, *, divided: bool, recomputes: bool) -> None:
        """Count how a training takes its batches."""
        self._divided += divided
        self._twice += recomputes
        self._fewest = min(self._fewest, most) if divided else self._fewest

    @property
    def told(self) -> Sequence[str]:
        """What a user may want to know of how batches were taken."""
        said = []
        if self._divided:
            times = counted(self._divided, "training")
            said.append(f"{times} took batches in pieces, down to {_examples(self._fewest)}")
        if self._twice:
            said.append(f"{counted(self._twice, 'training')} computed activations twice")
        if self._lacked:
            said.append(f"memory ran out {counted(self._lacked, 'time')}, which was learned from")
        return (f"to keep to {self.named}: {'; '.join(said)}",) if said else ()

    @property
    def named(self) -> str:
        """The limit in words."""
        return f"--memory {sized(self.limit)}" if self.limit else "the memory that is free"

    def lack(self, more: float) -> NoRoomError:
        """Say that one example takes ``more`` bytes than the process has, and that is too much."""
        before = self._resident()
        allowed = self.limit or before + self._share * self._available()
        needed = before + more + (allowed - before - self.free)
        what = "--memory allows" if self.limit else "what is free allows"
        return NoRoomError(
            f"a step on the longest example needs more than {sized(needed)}, also with its "
            f"activations computed twice; {what} {sized(allowed)}, of which {sized(before)} are "
            "taken: allow more, cut texts (--max-length of a search), or take a smaller model"
        )


class Pace:
    """How one training takes its batches: at most ``most`` examples at once."""

    def __init__(self, room: Room, work: Work, undo: ExitStack) -> None:
        self.most = work.recipe.batch_size
        self._room, self._work, self._undo = room, work, undo
        self._recomputes = self._watched = False

    def begin(self) -> None:
        """Go on from what was learned, and measure where it is not sure that there is room.

        Raises:
            NoRoomError: One example alone takes more than there is.
        """
        self.most = int(min(self.most, self._room.most))
        if self._room.recomputes:
            self._recompute()
        if not self._room.ample(self._work.most):
            self._undo.enter_context(frugal())
            self._undo.enter_context(sparing())
            self._watched = True
            self._measure()
        divided = self.most < self._work.recipe.batch_size
        self._room.note(self.most, divided=divided, recomputes=self._recomputes)

    def divided(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Divide the rows of a batch into as few pieces as there is room for."""
        return np.array_split(rows, max(1, math.ceil(len(rows) / self.most)))

    def whole(self, rows: NDArray[np.int64]) -> bool:
        """Tell whether a batch is taken at once, and no block runs twice."""
        return len(rows) <= self.most and not self._recomputes

    def taken(self, step: Callable[[], float], trained: Sequence[nn.Parameter]) -> float:
        """Take a step; where memory runs out, take it again from its beginning in smaller pieces.

        Its gradients are in ``trained``, which had none before.
        """
        while True:
            before = torch.get_rng_state()
            try:
                loss = step()
            except Exception as error:
                if not (self._room.alone and is_out_of_memory(error) and self._narrower()):
                    raise
            else:
                if self._watched:
                    self._room.tidy()
                return loss
            # not inside `except`: the traceback keeps the tensors of the step alive
            forget(trained)
            torch.set_rng_state(before)
            give_memory_back()

    def _narrower(self) -> bool:
        """Take half as many examples at once, or run blocks twice; False where neither is left."""
        if self.most > 1:
            self.most = math.ceil(self.most / 2)
        elif not self._recomputes:
            self._recompute()
        else:
            return False
        self._room.learn(self.most, recomputes=self._recomputes)
        return True

    def _recompute(self) -> None:
        self._undo.enter_context(recomputed(self._work.blocks))
        self._recomputes = True

    def _measure(self) -> None:
        fitting = Fitting(self._work, lambda: self._room.free)
        found = fitting.examples(self.most)
        if not found and not self._recomputes:
            self._recompute()
            found = fitting.examples(self.most)
        if not found:
            raise self._room.lack(fitting.reached + fitting.kept)
        self.most = found
        self._room.tokens = fitting.tokens(PREDICTED_TOKENS)


def _examples(count: float) -> str:
    return f"{counted(int(count), 'example')} at once"
