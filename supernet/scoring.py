"""Scores of configurations with the weights that they inherit."""

import math
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from autopeft.search_spaces.configuration import Configuration
from autopeft.supernet.beginnings import Beginning, leaving, order_of
from autopeft.supernet.elastic import Supernet
from autopeft.training.batches import PREDICTED_EXAMPLES
from autopeft.training.loop import DivergedError, autocast

_TOKENS = 2048  # of a batch at most, padding included
_CALL = 100  # tokens that could go through in the time that a batch costs beside its arithmetic
_FEWEST = 64
_SHARE = 1 / 20
_STEP = 3  # forward passes that a step of training costs for each example
_LIMIT = 256e6


class Scoring:
    """Scores configurations by their loss on the validation part, negated: higher is better.

    The loss ranks what shared weights leave close together, where the task's metric no longer tells
    it apart (benchmarks/supernet.py). It is that of so many examples that a score costs a twentieth
    of a training, and of all where they are fewer.

    Blocks below which configurations are equal are computed once for all that are scored at a time;
    what is kept for that has at most ``limit`` bytes.
    """

    def __init__(self, net: Supernet, limit: float = _LIMIT) -> None:
        self._net = net
        trainer = net.trainer
        part = trainer.parts["validation"]
        count = affordable(len(trainer.parts["train"]), net.recipe.epochs)
        rows = some(part.lengths, count, net.seed)
        cuts = batched(part.lengths[rows])
        self._batches = [part.batch(rows[cut]) for cut in cuts]
        share = limit / max(1, len(self._batches))
        self._begun = [Beginning(trainer.backbone, trainer.blocks, share) for _ in cuts]

    @property
    def examples(self) -> int:
        """How many examples a score is made of."""
        return sum(len(batch.rows) for batch in self._batches)

    def scores(self, configurations: Sequence[Configuration]) -> Iterator[tuple[int, float]]:
        """Yield for every configuration its place and its score, those that begin alike in a row.

        The score is the negative mean loss; NaN where that, or what the model says, is infinite or
        no number.
        """
        order = order_of(configurations)
        ordered = [configurations[place] for place in order]
        for place, configuration, left in zip(order, ordered, leaving(ordered), strict=True):
            try:
                yield place, self._score(configuration, left)
            except DivergedError:
                yield place, math.nan

    def score(self, configuration: Configuration) -> float:
        """Return the score of one configuration."""
        [(_, score)] = self.scores([configuration])
        return score

    def _score(self, configuration: Configuration, left: Collection[int]) -> float:
        total, weight = 0.0, 0
        with self._net.active(configuration) as subnet, torch.inference_mode():
            subnet.model.eval()
            for batch, begun in zip(self._batches, self._begun, strict=True):
                with begun.of(configuration, left), autocast(self._net.recipe):
                    judged = subnet.model.judge(batch)
                if not judged.finite:
                    raise DivergedError("the scores of the supernet are not finite")
                total += float(judged.loss) * judged.weight
                weight += judged.weight
        score = -total / max(1, weight)
        if not math.isfinite(score):
            raise DivergedError(f"the loss of a configuration of the supernet became {-score}")
        return score


def affordable(train: int, epochs: int) -> int:
    """Count the examples that can be scored at a twentieth of a training's cost, at least 64."""
    return max(_FEWEST, round(_SHARE * _STEP * train * epochs))


def some(lengths: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Return the rows of at most so many examples, drawn by the seed, the shortest first."""
    drawn = np.random.default_rng([seed, 2]).permutation(len(lengths))[:count]
    rows: NDArray[np.int64] = drawn[np.argsort(lengths[drawn], kind="stable")]
    return rows


def batched(rising: NDArray[np.int64]) -> list[slice]:
    """Divide examples of rising length into the batches that take the least time.

    Few batches pad much, and many call every operator often.
    """
    best, last = [0.0], [0]
    for end in range(1, len(rising) + 1):
        fitting = max(1, min(PREDICTED_EXAMPLES, end, _TOKENS // max(1, int(rising[end - 1]))))
        costs = {
            begin: best[begin] + _CALL + (end - begin) * int(rising[end - 1])
            for begin in range(end - fitting, end)
        }
        begin = min(costs, key=costs.__getitem__)
        best.append(costs[begin])
        last.append(begin)
    found, end = [], len(rising)
    while end:
        found.append(slice(last[end], end))
        end = last[end]
    return found[::-1]
