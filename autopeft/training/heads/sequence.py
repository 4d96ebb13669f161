"""Texts and pairs of texts: one vector a sequence, and from it a class or a number.

Axes: B batch, T tokens, D width, C classes (1 for regression).
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from autopeft.study import Task
from autopeft.training.batches import Batch, Encoded
from autopeft.training.heads.model import Judged, linear_head, scores_of


class SequenceModel(nn.Module):
    """A backbone with a linear head on one vector a sequence.

    For regression the labels are standardised by the mean and spread of the training part, and
    predictions brought back to their scale.
    """

    def __init__(
        self, backbone: Any, task: Task, train: Encoded, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.task = task
        width = backbone.config.hidden_size
        self.weight, self.bias = linear_head(task.outputs, width, generator)
        regression = task.kind == "regression"
        self.mean = float(np.mean(train.labels)) if regression else 0.0
        self.spread = float(np.std(train.labels)) or 1.0 if regression else 1.0

    def head(self) -> dict[str, nn.Parameter]:
        """Return what the head trains."""
        return {"weight": self.weight, "bias": self.bias}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the scores of every example, shape ``(B, C)``, in single precision."""
        out = self.backbone(**inputs)
        pooled_BD = self._pooled(out, inputs["attention_mask"])
        return scores_of(pooled_BD, self.weight, self.bias)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean loss of a batch: cross entropy, or squared error in standard units."""
        return self.loss_of(self(batch.inputs), batch.labels)

    def scored(self, batch: Batch) -> int:
        """Count the examples of a batch."""
        return len(batch.rows)

    def judge(self, batch: Batch) -> Judged:
        """Return predictions and loss of a batch."""
        scores_BC = self(batch.inputs)
        return Judged(
            predictions=self.predictions(scores_BC),
            loss=self.loss_of(scores_BC, batch.labels),
            weight=len(batch.rows),
            finite=bool(torch.isfinite(scores_BC).all()),
        )

    def loss_of(self, scores_BC: Tensor, labels_B: Tensor) -> Tensor:
        """Return the mean loss of scores against labels."""
        if self.task.kind == "classification":
            return cross_entropy(scores_BC, labels_B)
        return mse_loss(scores_BC[:, 0], (labels_B.float() - self.mean) / self.spread)

    def predictions(self, scores_BC: Tensor) -> Tensor:
        """Return class indices (int32) or values in the labels' scale (float32), shape ``(B,)``."""
        if self.task.kind == "classification":
            return scores_BC.argmax(-1).to(torch.int32)
        return (scores_BC[:, 0] * self.spread + self.mean).to(torch.float32)

    def _pooled(self, out: Any, mask_BT: Tensor) -> Tensor:
        if self.task.head == "pooler":
            pooled_BD: Tensor = out.pooler_output
            return pooled_BD
        hidden_BTD: Tensor = out.last_hidden_state
        if self.task.head == "cls":
            return hidden_BTD[:, 0]
        mask_BT1 = mask_BT[:, :, None].to(hidden_BTD.dtype)
        return (hidden_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)
