"""The LoRA that comes nearest to linear changes of any kind, by truncated singular values.

Axes: I inputs, O outputs, R rank.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from autopeft.errors import PlanError
from autopeft.production.applying import applied, remove
from autopeft.production.opening import Opened
from autopeft.production.terms import Adapter, Product

_ENERGY = 0.9999
_NOISE = 1e-6
"""Singular values below this share of the largest are rounding."""


def low_rank(opened: Opened, trained: Any, rank: int | None) -> Adapter:
    """Merge a trained model, and take what has changed apart again; the model is used up.

    A matrix takes as many ranks as hold all but a ten-thousandth of its change's energy, and
    ``rank`` at most. Biases and norms are kept as they are.

    Raises:
        PlanError: A method cannot be merged, or no matrix has changed.
    """
    held = applied(trained)
    held.injection.merge()
    base = held.base
    remove(trained)
    before = applied_base(opened)
    products: dict[str, Product] = {}
    biases: dict[str, Tensor] = {}
    copies: dict[str, Mapping[str, Tensor]] = {}
    for name, after in base.named_parameters():
        path, _, part = name.rpartition(".")
        was = before.get_parameter(name)
        if torch.equal(was, after):
            continue
        layer = base.get_submodule(path)
        if isinstance(layer, (nn.Linear, Conv1D)) and part == "weight":
            change = (after - was).detach()
            products[path] = _nearest(change.T if isinstance(layer, Conv1D) else change, rank)
        elif part == "bias":
            biases[f"{path}:0"] = after.detach().clone()
        else:
            copies[path] = {n: p.detach().clone() for n, p in layer.named_parameters()}
    if not products:
        raise PlanError(
            "no matrix has changed, so there is nothing to make a LoRA of: take --format merged"
        )
    return Adapter(kind="LORA", products=products, biases=biases, copies=copies)


def applied_base(opened: Opened) -> Any:
    """Return a plain model's backbone."""
    from autopeft.production.fitting import backbone_in

    return backbone_in(opened.plan, opened.plain())


def _nearest(change_OI: Tensor, most: int | None) -> Product:
    up_OK, values_K, down_KI = torch.linalg.svd(change_OI.double(), full_matrices=False)
    energy = values_K.square().cumsum(0) / values_K.square().sum()
    enough = int((energy < _ENERGY).sum()) + 1
    some = int((values_K > _NOISE * values_K[0]).sum())
    rank = min(enough, some, most or len(values_K))
    root = values_K[:rank].sqrt()
    return Product(
        down_RI=(root[:, None] * down_KI[:rank]).float(),
        up_RO=(root[:, None] * up_OK[:, :rank].T).float(),
        scale=1.0,
    )
