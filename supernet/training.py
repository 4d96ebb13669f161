"""Training all configurations of a space at once, a few of them a step."""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Configuration
from autopeft.supernet.elastic import HEAD, Subnet, Supernet, leaves
from autopeft.supernet.optimizer import Gradients, MaskedAdamW
from autopeft.supernet.sampling import Draws, Sampling
from autopeft.supernet.trunk import Trunk, lowest_row
from autopeft.training.batches import Batch, training_batches
from autopeft.training.loop import DivergedError, autocast, schedule, steps_of
from autopeft.trial import Recipe

_CLIP = 1.0


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

    Gradients are clipped for each configuration by itself, as when it is trained alone, and then
    averaged over those of the step.
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
        for number, rows in enumerate(self._batches()):
            if number < self.done:
                continue
            if number >= self.steps:
                return
            self._step(number, self._train.batch(rows))
            self.done = number + 1
            yield self.done

    def _batches(self) -> Iterator[NDArray[np.int64]]:
        rng = np.random.default_rng([self.net.seed, 0])
        while True:
            yield from training_batches(self._train, self.net.recipe.batch_size, rng)

    def _step(self, number: int, batch: Batch) -> None:
        rng = np.random.default_rng([self.net.seed, 1, number])
        drawn = self.draws.draw(rng)
        # the one that is touched last runs first, and records the frozen blocks for the others
        order = sorted(drawn, key=lowest_row, reverse=True)
        trunk = Trunk(self.net.trainer.blocks) if self._shares else None
        gradients, losses = Gradients(), []
        with torch.random.fork_rng(devices=[]):
            for configuration in order:
                seed = int(rng.integers(2**31))
                torch.manual_seed(seed)
                losses.append(self._pass(configuration, batch, trunk, gradients, seed))
                if not math.isfinite(losses[-1]):
                    raise DivergedError(
                        f"the supernet's loss became {losses[-1]} at step {number + 1} of "
                        f"{self.steps}"
                    )
        self.optimizer.step(gradients, self._factor(number))
        self.losses.append(float(np.mean(losses)))

    @property
    def _shares(self) -> bool:
        return self.schedule.share and self.net.recipe.dropout == 0

    def _pass(
        self,
        configuration: Configuration,
        batch: Batch,
        trunk: Trunk | None,
        gradients: Gradients,
        seed: int,
    ) -> float:
        """Take a configuration through a batch and add its gradients; return its loss."""
        below = trunk.below(lowest_row(configuration)) if trunk else nullcontext()
        with self.net.active(configuration, draw=seed) as subnet:
            subnet.model.train()
            with below, autocast(self.net.recipe):
                loss = _loss(subnet, batch)
            if not math.isfinite(loss.item()):
                return loss.item()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            torch.nn.utils.clip_grad_norm_(leaves(subnet.views), _CLIP)
            gradients.add(subnet.views, 1 / self.draws.each)
            return loss.item()

    def _factor(self, step: int) -> float:
        """Return the share of the rates at a step: up over the warm-up, then linearly to zero."""
        return schedule(step, self.steps, self.net.recipe.warmup)


def _loss(subnet: Subnet, batch: Batch) -> torch.Tensor:
    loss: torch.Tensor = subnet.model.loss(batch)
    penalty = subnet.tuned.injection.penalty()
    return loss if penalty is None else loss + penalty
