"""Scores of configurations with the weights that they inherit."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from autopeft.search_spaces.configuration import Configuration
from autopeft.supernet.elastic import Supernet
from autopeft.supernet.trunk import Trunk, lowest_row
from autopeft.training.batches import Batch
from autopeft.training.heads.model import TaskModel
from autopeft.training.loop import DivergedError, autocast

_BATCH = 64
_FEWEST = 64
_SHARE = 1 / 20
_STEP = 3  # forward passes that a step of training costs for each example
_LIMIT = 256e6


class Scoring:
    """Scores configurations by their loss on the validation part, negated: higher is better.

    The loss ranks what shared weights leave close together, where the task's metric no longer tells
    it apart (benchmarks/supernet.py). It is that of so many examples that a score costs a twentieth
    of a training, and of all where they are fewer.

    What the frozen blocks make of each batch is kept, up to ``limit`` bytes in all: a configuration
    that leaves the lower blocks alone then costs no more than its upper ones.
    """

    def __init__(self, net: Supernet, limit: float = _LIMIT) -> None:
        self._net = net
        parts = net.trainer.parts
        part = parts["validation"]
        rows = some(part.lengths, affordable(len(parts["train"]), net.recipe.epochs), net.seed)
        self._batches = [part.batch(rows[at : at + _BATCH]) for at in range(0, len(rows), _BATCH)]
        share = limit / max(1, len(self._batches))
        self._trunks = [Trunk(net.trainer.blocks, share) for _ in self._batches]

    @property
    def examples(self) -> int:
        """How many examples a score is made of."""
        return sum(len(batch.rows) for batch in self._batches)

    def score(self, configuration: Configuration) -> float:
        """Return the negative mean loss.

        Raises:
            DivergedError: A score of the model, or the loss, is infinite or no number.
        """
        row = lowest_row(configuration)
        total, weight = 0.0, 0
        with self._net.active(configuration) as subnet, torch.inference_mode():
            subnet.model.eval()
            for batch, trunk in zip(self._batches, self._trunks, strict=True):
                loss, count = self._judged(subnet.model, batch, trunk, row)
                total, weight = total + loss * count, weight + count
        score = -total / max(1, weight)
        if not math.isfinite(score):
            raise DivergedError(f"the loss of a configuration of the supernet became {-score}")
        return score

    def _judged(self, model: TaskModel, batch: Batch, trunk: Trunk, row: int) -> tuple[float, int]:
        with trunk.below(row), autocast(self._net.recipe):
            judged = model.judge(batch)
        if not judged.finite:
            raise DivergedError("the scores of the supernet are not finite")
        return float(judged.loss), judged.weight


def affordable(train: int, epochs: int) -> int:
    """Count the examples that can be scored at a twentieth of a training's cost, at least 64."""
    return max(_FEWEST, round(_SHARE * _STEP * train * epochs))


def some(lengths: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Return the rows of at most so many examples, drawn by the seed, the shortest first."""
    drawn = np.random.default_rng([seed, 2]).permutation(len(lengths))[:count]
    rows: NDArray[np.int64] = drawn[np.argsort(lengths[drawn], kind="stable")]
    return rows
