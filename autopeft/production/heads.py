"""The plan's own head on a plain backbone, as `autopeft train` trains it, for other loops.

Axes: B batch, T tokens, D width, C classes (1 for regression).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from transformers.modeling_outputs import SequenceClassifierOutput

from autopeft.errors import PlanError
from autopeft.plan import Plan
from autopeft.training.heads.model import linear_head, scores_of
from autopeft.training.model_files import ModelFiles, find_model, weights_digest
from autopeft.training.pretrained import load_backbone


class Headed(nn.Module):
    """A backbone with a linear head; its parameters have the names that `autopeft train` writes.

    Of a backbone with a side for texts and one for images, the one that sees the data is called.
    ``head`` is the plan's: how what the backbone returns becomes one vector. For ``tokens`` every
    token has scores; labels of -100 are not learned. For regression, ``mean`` and ``spread`` are
    those of the labels: set them before training, so that the head learns in standard units.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, backbone: Any, plan: Plan, generator: torch.Generator) -> None:
        super().__init__()
        self.backbone = backbone
        self._side = _side(backbone, plan)
        self.config = self._seen().config
        self._head, self._kind = plan.task.head, plan.task.kind
        outputs = plan.task.outputs
        self.weight, self.bias = linear_head(outputs, int(self.config.hidden_size), generator)
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("spread", torch.tensor(1.0))

    def forward(self, labels: Tensor | None = None, **inputs: Tensor) -> SequenceClassifierOutput:
        """Return logits, shape ``(B, C)`` or ``(B, T, C)``, and the loss where labels are given."""
        given = inputs | {"return_dict": True}
        vectors = self._vectors(self._seen()(**given), inputs)
        logits = scores_of(vectors, self.weight, self.bias)
        loss = None if labels is None else self._loss(logits, labels)
        if self._kind == "regression":
            logits = logits * self.spread + self.mean
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _seen(self) -> Any:
        return getattr(self.backbone, self._side) if self._side else self.backbone

    def _vectors(self, out: Any, inputs: dict[str, Tensor]) -> Tensor:
        hidden_BTD: Tensor = out.last_hidden_state
        if self._head == "tokens":
            return hidden_BTD
        if self._head == "pooler":
            pooled_BD: Tensor = out.pooler_output
            return pooled_BD
        if self._head == "cls":
            return hidden_BTD[:, 0]
        if "pixel_values" in inputs:
            return hidden_BTD[:, -self._patches(inputs["pixel_values"]) :].mean(1)
        mask_BT1 = inputs["attention_mask"][:, :, None].to(hidden_BTD.dtype)
        return (hidden_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)

    def _patches(self, pixels_BCHW: Tensor) -> int:
        size = self.config.patch_size
        high, wide = (size, size) if isinstance(size, int) else size
        return int(pixels_BCHW.shape[2] // high) * int(pixels_BCHW.shape[3] // wide)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self._kind == "regression":
            return mse_loss(logits[:, 0], (labels.float() - self.mean) / self.spread)
        return cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=-100)


def model_for(plan: Plan, model: str | None = None) -> Any:
    """Load the plan's backbone with the head that the plan's task has, for any loop.

    A language model comes with its own head; everything else with the linear one that `autopeft
    train` puts on it. ``model`` is where the backbone is, the plan's own place unless another is
    named. Nothing of the plan is in it yet.

    Raises:
        PlanError: The model has other weights than the plan was made for.
        BackboneError: It cannot be found or loaded.
    """
    files = find_model(model or plan.where.model)
    check_weights(plan, files)
    whole = load_backbone(files, plan.task.kind)
    if plan.task.head == "lm":
        return whole
    generator = torch.Generator().manual_seed(plan.seed)
    return Headed(whole, plan, generator).eval()


def check_weights(plan: Plan, files: ModelFiles) -> None:
    """Refuse a model that is not the plan's, to the byte.

    Raises:
        PlanError: Its weights are others.
    """
    if weights_digest(files.path) != plan.backbone.digest:
        raise PlanError(
            f"the model {files.reference!r} does not have the weights that the plan was made for "
            f"({plan.backbone.name}, digest {plan.backbone.digest[:12]}): give that model"
        )


def _side(whole: Any, plan: Plan) -> str:
    """Name the side that sees the data, of a model with one for texts and one for images."""
    sides = {"text_model", "vision_model"}
    if not sides <= {name for name, _ in whole.named_children()}:
        return ""
    return "vision_model" if plan.task.kind == "image" else "text_model"
