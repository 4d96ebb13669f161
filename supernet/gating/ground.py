"""What differentiable searches stand on, and what they end with."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.space import SearchSpace
from autopeft.supernet.gating.gates import Gated
from autopeft.supernet.gating.halves import batches, halves
from autopeft.supernet.gating.structures import Gate, everything
from autopeft.training.batches import Batch
from autopeft.training.loop import optimizer_of, steps_of
from autopeft.training.trainer import Trainer
from autopeft.trial import Recipe

CLIP = 2.0
"""The largest norm of a gradient, of weights and of gates (S3PET's)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a search ended with.

    ``chances`` are the probabilities of every gene's choices, ``found`` the structures within the
    budget, best first. ``expected`` is the expected size after each step; ``moved`` how far the
    gates' logits have come from their start, the largest of them.
    """

    chances: tuple[tuple[float, ...], ...]
    found: tuple[Configuration, ...]
    expected: tuple[float, ...] = ()
    moved: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Backbone and data, space, budget and recipe, and the seed of all that is drawn.

    ``steps`` are those of the search; 0 stands for as many as a whole training has.
    """

    trainer: Trainer
    space: SearchSpace
    ceiling: int
    recipe: Recipe
    seed: int
    steps: int = 0

    @property
    def whole(self) -> int:
        """How many steps the search takes."""
        return self.steps or max(1, steps_of(len(self.trainer.parts["train"]), self.recipe))

    @contextmanager
    def prepared(self, gates: tuple[Gate, ...]) -> Iterator["Bench"]:
        """Put all cells of the gates in, at their largest sizes, for a ``with`` block.

        Raises:
            NoRoomError: One example alone takes more memory than there is.
        """
        configuration = everything(self.space, gates)
        methods = configuration.methods(self.space.slots)
        rates = {method: METHODS[method].rates.default for method in methods}
        recipe = replace(self.recipe, learning_rates=rates)
        rng = np.random.default_rng(self.seed)
        weights, others = halves(self.trainer.parts["train"], rng)
        with (
            torch.random.fork_rng(devices=[]),
            self.trainer.tuned(self.space.slots, configuration, recipe, self.seed) as tuned,
            ExitStack() as undo,
        ):
            torch.manual_seed(self.seed)  # for dropout, which takes no generator
            gated = Gated(tuned, self.space.slots, gates, self.trainer.parts["train"])
            gated.pace = undo.enter_context(self.trainer.room.training(self.trainer.work(tuned)))
            tuned.model.train()
            yield Bench(
                gated=gated,
                optimizer=optimizer_of(tuned.model, recipe, gated.trained),
                stepped=tuned.injection.stepped,
                for_weights=batches(weights, recipe.batch_size, rng),
                for_gates=batches(others, recipe.batch_size, np.random.default_rng(self.seed + 1)),
                generator=torch.Generator().manual_seed(self.seed),
                epoch=max(1, -(-len(weights) // recipe.batch_size)),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A gated network that is ready to be trained.

    ``epoch`` is how many steps go once over the half that the weights learn from.
    """

    gated: Gated
    optimizer: torch.optim.Optimizer
    stepped: Callable[[int, int], None]
    for_weights: Iterator[Batch]
    for_gates: Iterator[Batch]
    generator: torch.Generator
    epoch: int

    def step(self, step: int, whole: int) -> None:
        """Move the weights along their gradients, at a rate that falls linearly to zero."""
        self.set_rates(step, whole)
        torch.nn.utils.clip_grad_norm_(self.gated.weights, CLIP)
        self.optimizer.step()
        self.stepped(step, whole)

    def set_rates(self, step: int, whole: int) -> None:
        """Let the rates be those of a step, counted from 1."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * falling(step, whole)


def falling(step: int, whole: int) -> float:
    """Return the factor on all rates at a step, counted from 1: linear, zero after the last."""
    return (whole - step + 1) / whole
