"""Scores of configurations with the weights that they inherit."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from autopeft.search_spaces.configuration import Configuration
from autopeft.study import Metric
from autopeft.supernet.elastic import Supernet
from autopeft.supernet.training import autocast
from autopeft.supernet.trunk import Trunk, lowest_row
from autopeft.tasks.metrics import METRICS
from autopeft.training.batches import ordered_batches
from autopeft.training.loop import DivergedError

_BATCH = 64
_LIMIT = 256e6


class Scoring:
    """Scores configurations on the validation part.

    What the frozen blocks make of each batch is kept, up to ``limit`` bytes in all: a configuration
    that leaves the lower blocks alone then costs no more than its upper ones.
    """

    def __init__(self, net: Supernet, metric: Metric, limit: float = _LIMIT) -> None:
        self._net = net
        self._metric = metric
        part = net.trainer.parts["validation"]
        self._truth = part.truth.astype(np.float64)
        self._batches = list(ordered_batches(part, _BATCH))
        share = limit / max(1, len(self._batches))
        self._trunks = [Trunk(net.trainer.blocks, share) for _ in self._batches]

    def score(self, configuration: Configuration) -> float:
        """Return the score on the validation part.

        Raises:
            DivergedError: A score is infinite or no number.
        """
        row = lowest_row(configuration)
        found: dict[int, NDArray[np.generic]] = {}
        with self._net.active(configuration) as subnet, torch.inference_mode():
            subnet.model.eval()
            for batch, trunk in zip(self._batches, self._trunks, strict=True):
                with trunk.below(row), autocast(self._net.recipe):
                    judged = subnet.model.judge(batch)
                if not judged.finite:
                    raise DivergedError("the scores of the supernet are not finite")
                found |= dict(zip(batch.rows.tolist(), judged.predictions.numpy(), strict=True))
        predictions = np.stack([found[row] for row in range(len(found))])
        score = METRICS[self._metric].score(self._truth, predictions.astype(np.float64))
        if not math.isfinite(score):
            raise DivergedError(f"the score of a configuration of the supernet became {score}")
        return score
