"""Images: one vector an image, and from it a class.

Axes: B batch, T tokens, D width, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from autopeft.study import Task
from autopeft.tasks.images import decoded
from autopeft.tasks.parts import Pictures
from autopeft.training.batches import Batch
from autopeft.training.heads.model import Judged, linear_head, scores_of

_EDGE, _PATCH = 224, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPictures:
    """Images as they are stored, and the model's own processor.

    They are decoded batch by batch: pixels as the model takes them would not fit into memory.
    """

    pictures: Pictures
    processor: Any

    def __len__(self) -> int:
        return len(self.pictures.images)

    @property
    def truth(self) -> NDArray[Any]:
        """The labels."""
        return self.pictures.labels

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The same for each, after resizing: as many as patches of 16 pixels, which are usual."""
        return np.full(len(self), _patches_of(self.processor), dtype=np.int64)

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Decode some of the images, in the size and the scale that the model takes."""
        images = [decoded(self.pictures.images[row]) for row in rows]
        rows = np.asarray(rows)
        return Batch(
            inputs={"pixel_values": self.processor(images, return_tensors="pt")["pixel_values"]},
            labels=torch.from_numpy(self.pictures.labels[rows]),
            rows=rows,
        )


def _patches_of(processor: Any) -> int:
    cropped = getattr(processor, "do_center_crop", False)
    size = (processor.crop_size if cropped else processor.size) or {}
    edge = size.get("shortest_edge", _EDGE)
    high, wide = size.get("height", edge), size.get("width", edge)
    return max(1, int(high) * int(wide) // _PATCH**2)


class ImageModel(nn.Module):
    """A backbone with a linear head on one vector an image."""

    def __init__(self, backbone: Any, task: Task, generator: torch.Generator) -> None:
        super().__init__()
        self.backbone = backbone
        self.kind = task.head
        width = backbone.config.hidden_size
        self.weight, self.bias = linear_head(task.outputs, width, generator)

    def head(self) -> dict[str, nn.Parameter]:
        """Return what the head trains."""
        return {"weight": self.weight, "bias": self.bias}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the scores of every image, shape ``(B, C)``, in single precision."""
        out = self.backbone(**inputs)
        return scores_of(self._pooled(out, inputs["pixel_values"]), self.weight, self.bias)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross entropy of a batch."""
        return cross_entropy(self(batch.inputs), batch.labels)

    def scored(self, batch: Batch) -> int:
        """Count the examples of a batch."""
        return len(batch.rows)

    def judge(self, batch: Batch) -> Judged:
        """Return class indices and the loss of a batch."""
        scores_BC = self(batch.inputs)
        return Judged(
            predictions=scores_BC.argmax(-1).to(torch.int32),
            loss=cross_entropy(scores_BC, batch.labels),
            weight=len(batch.rows),
            finite=bool(torch.isfinite(scores_BC).all()),
        )

    def _pooled(self, out: Any, pixels_BCHW: Tensor) -> Tensor:
        if self.kind == "pooler":
            pooled_BD: Tensor = out.pooler_output
            return pooled_BD
        hidden_BTD: Tensor = out.last_hidden_state
        if self.kind == "cls":
            return hidden_BTD[:, 0]
        return hidden_BTD[:, -self._patches(pixels_BCHW) :].mean(1)

    def _patches(self, pixels_BCHW: Tensor) -> int:
        """Count the patches of an image: class and register tokens come before them."""
        size = self.backbone.config.patch_size
        high, wide = (size, size) if isinstance(size, int) else size
        return (pixels_BCHW.shape[2] // high) * (pixels_BCHW.shape[3] // wide)
