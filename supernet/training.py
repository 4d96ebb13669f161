"""Training all configurations of a space at once, a few of them a step."""

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Configuration
from autopeft.supernet.elastic import HEAD, Subnet, Supernet, leaves
from autopeft.supernet.optimizer import Gradients, MaskedAdamW
from autopeft.supernet.sampling import Draws, Sampling
from autopeft.supernet.trunk import Trunk, lowest_row
from autopeft.training.batches import training_batches
from autopeft.training.loop import DivergedError, learned, schedule, steps_of
from autopeft.training.room import Pace
from autopeft.trial import Recipe

_CLIP = 1.0
_LOOKED = 4  # steps of which the largest configuration is measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How a supernet is trained.

    ``trainings`` is what it may cost, counted in forward and backward passes of one training of
    the recipe. ``share`` tells whether the configurations of a step share the forward of the
    frozen blocks below them.
    """

    sampling: Sampling = "sandwich"
    trainings: float = 3.0
    share: bool = True

    def steps(self, examples: int, recipe: Recipe, each: int) -> int:
        """Count the steps of ``each`` configurations that the cost allows."""
        return max(1, round(self.trainings * steps_of(examples, recipe) / each))


class Training:
    """The training of a supernet, one step after another; every step follows from the seed.

    Wherever Ctrl-C ends it, tensors and optimiser are those after ``done`` steps.

    Gradients are clipped for each configuration by itself, as when it is trained alone, and then
    averaged over those of the step. Where the trainer's room asks for it, batches are taken in
    pieces, or blocks run twice; then configurations share no forward.
    """

    def __init__(self, net: Supernet, schedule: Schedule) -> None:
        self.net = net
        self.schedule = schedule
        self.draws = Draws(net.space, net.ceiling, schedule.sampling)
        self._train = net.trainer.parts["train"]
        self.steps = schedule.steps(len(self._train), net.recipe, self.draws.each)
        rates = {name: method.rates.default for name, method in METHODS.items()}
        rates[HEAD] = net.recipe.head_learning_rate
        self.optimizer = MaskedAdamW(rates, net.recipe.weight_decay)
        self.done = 0
        self.losses: list[float] = []

    def run(self) -> Iterator[int]:
        """Train from where it is to the end, yielding the number of steps done after each.

        Raises:
            DivergedError: A loss is infinite or no number.
        """
        if self.done >= self.steps:
            return
        with self._paced() as pace:
            for number, rows in enumerate(self._batches()):
                if number < self.done:
                    continue
                if number >= self.steps:
                    return
                gradients, loss = self._gradients(number, rows, pace)
                with _unbroken():
                    self.optimizer.step(gradients, self._factor(number))
                    self.losses.append(loss)
                    self.done = number + 1
                yield self.done

    @contextmanager
    def _paced(self) -> Iterator[Pace]:
        """Find out how batches are taken: on what reaches lowest and is largest at the beginning.

        Raises:
            NoRoomError: One example alone takes more memory than there is.
        """
        drawn = [c for number in range(_LOOKED) for c in self.draws.draw(self._drawing(number))]
        slots, net = self.net.space.slots, self.net
        largest = max(drawn, key=lambda c: (-lowest_row(c), c.parameters(slots)))
        with ExitStack() as undo:
            with net.active(largest) as subnet:
                pace = undo.enter_context(net.trainer.room.training(net.trainer.work(subnet.tuned)))
            yield pace

    def _drawing(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self.net.seed, 1, number])

    def _batches(self) -> Iterator[NDArray[np.int64]]:
        rng = np.random.default_rng([self.net.seed, 0])
        while True:
            yield from training_batches(self._train, self.net.recipe.batch_size, rng)

    def _gradients(
        self, number: int, rows: NDArray[np.int64], pace: Pace
    ) -> tuple[Gradients, float]:
        """Return what a step's configurations learn from a batch, and their mean loss."""
        rng = self._drawing(number)
        drawn = self.draws.draw(rng)
        # the one that is touched last runs first, and records the frozen blocks for the others
        order = sorted(drawn, key=lowest_row, reverse=True)
        trunk = Trunk(self.net.trainer.blocks) if self._shares else None
        gradients, losses = Gradients(), []
        with torch.random.fork_rng(devices=[]):
            for configuration in order:
                seed = int(rng.integers(2**31))
                torch.manual_seed(seed)
                losses.append(self._pass(configuration, rows, trunk, gradients, seed, pace))
                if not math.isfinite(losses[-1]):
                    raise DivergedError(
                        f"the supernet's loss became {losses[-1]} at step {number + 1} of "
                        f"{self.steps}"
                    )
        return gradients, float(np.mean(losses))

    @property
    def _shares(self) -> bool:
        return self.schedule.share and self.net.recipe.dropout == 0

    def _pass(  # noqa: PLR0917  # what is learned, and how
        self,
        configuration: Configuration,
        rows: NDArray[np.int64],
        trunk: Trunk | None,
        gradients: Gradients,
        seed: int,
        pace: Pace,
    ) -> float:
        """Take a configuration through a batch and add its gradients; return its loss."""
        with self.net.active(configuration, draw=seed) as subnet:
            subnet.model.train()
            trained = leaves(subnet.views)
            loss = pace.taken(partial(self._learned, subnet, rows, trunk, pace), trained)
            if math.isfinite(loss):
                torch.nn.utils.clip_grad_norm_(trained, _CLIP)
                gradients.add(subnet.views, 1 / self.draws.each)
            return loss

    def _learned(
        self, subnet: Subnet, rows: NDArray[np.int64], trunk: Trunk | None, pace: Pace
    ) -> float:
        # what the trunk holds is of a whole batch, and not among what was measured
        shared = trunk if trunk and pace.whole(rows) else None
        below = shared.below(lowest_row(subnet.configuration)) if shared else nullcontext()
        penalty = subnet.tuned.injection.penalty
        with below:
            return learned(subnet.model, self._train, rows, self.net.recipe, penalty, pace=pace)

    def _factor(self, step: int) -> float:
        """Return the share of the rates at a step: up over the warm-up, then linearly to zero."""
        return schedule(step, self.steps, self.net.recipe.warmup)


@contextmanager
def _unbroken() -> Iterator[None]:
    """Hold Ctrl-C back until the end of a ``with`` block: a step is taken, or it is not."""
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield  # it reaches the main thread alone, or whoever else listens to it
        return
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if heard:
            signal.raise_signal(signal.SIGINT)
