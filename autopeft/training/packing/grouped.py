"""One linear layer with a low-rank product of each lane's own: the frozen map runs once for all.

Axes: B batch, T tokens, N rows of all lanes, I inputs, O outputs, R the ranks of all lanes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autopeft.kernels.grouped_lora_linear.operator import grouped_lora_linear
from autopeft.methods.lora import LoraLinear, LowRank
from autopeft.methods.precision import beside_frozen

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks", "_backward_pre_hooks")


class Grouped:
    """The products of lanes around one frozen layer; a lane may have none."""

    def __init__(self, base: nn.Linear, products: Sequence[LowRank | None]) -> None:
        self._base = base
        self._products = products

    def __call__(self, x_BTI: Tensor, rows: Sequence[int]) -> Tensor:
        """Return shape ``(B, T, O)``; lanes have so many of the B rows, one after another."""
        base, own = self._base, [product for product in self._products if product is not None]
        each = x_BTI[0].numel() // x_BTI.shape[-1] * len(x_BTI) // sum(rows)
        bias_O = None if base.bias is None else beside_frozen(base.bias, base.weight)
        y_NO = grouped_lora_linear(
            x_BTI.reshape(-1, x_BTI.shape[-1]), base.weight, bias_O,
            torch.cat([product.down for product in own]), torch.cat([p.up for p in own]),
            [0.0 if product is None else product.scale for product in self._products],
            [0 if product is None else len(product.down) for product in self._products],
            [each * count for count in rows],
        )  # fmt: skip
        return y_NO.view(*x_BTI.shape[:-1], y_NO.shape[-1])


def grouped(lanes: Sequence[nn.Module]) -> Grouped | None:
    """Return what computes the lanes' modules at one place in one call; None where that cannot be.

    It can where each is the same frozen linear layer, as it was or with LoRA beside it.
    """
    found = [_taken_apart(lane) for lane in lanes]
    parts = [part for part in found if part is not None]
    if len(parts) < len(lanes) or all(product is None for _, product in parts):
        return None
    frozen = [_frozen(base) for base, _ in parts]
    if any(one != frozen[0] for one in frozen):
        return None
    return Grouped(parts[0][0], [product for _, product in parts])


def _taken_apart(lane: nn.Module) -> tuple[nn.Linear, LowRank | None] | None:
    base, product = lane, None
    if type(lane) is LoraLinear and lane.gate is None:
        base, product = lane.base, lane.product
    hooked = any(vars(module)[hooks] for module in (lane, base) for hooks in _HOOKS)
    return (base, product) if type(base) is nn.Linear and not hooked else None


def _frozen(base: nn.Linear) -> list[Any]:
    """Tell layers apart by what they compute with, whatever stands in for it."""
    own = base._parameters  # noqa: SLF001  # a bf16 copy may stand in for what is registered
    return [id(own["weight"]), id(own["bias"]), own["weight"].requires_grad]  # type: ignore[union-attr]
