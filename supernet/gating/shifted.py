"""S3PET's shifted global sigmoid (Hu et al. 2022, arXiv 2206.07382).

    p_i = sigmoid((a_i - b) / t)        b such that the sum of n_i p_i is the budget

Axes: G gates.
"""

import math

import torch
from scipy.optimize import brentq
from torch import Tensor

_LEAST = 1e-7


def shift_of(logits_G: Tensor, sizes_G: Tensor, budget: float, temperature: float = 1.0) -> float:
    """Find the shift at which the expected size is the budget.

    Infinite where the budget is none at all, minus infinite where everything fits.
    """
    logits_G, total = logits_G.detach(), float(sizes_G.sum())
    if budget <= 0:
        return math.inf
    if budget >= total:
        return -math.inf
    share = budget / total
    spread = temperature * math.log(share / (1 - share))
    # There every p is at least, and at most, the share: the sum lies on either side of the budget.
    low, high = float(logits_G.min()) - spread, float(logits_G.max()) - spread
    if high - low < 1e-12:
        return low

    def excess(shift: float) -> float:
        p_G = torch.sigmoid((logits_G - shift) / temperature)
        return float(sizes_G @ p_G) - budget

    if excess(low) <= 0:  # rounding, at either end
        return low
    if excess(high) >= 0:
        return high
    found: float = brentq(excess, low, high, xtol=1e-12, rtol=1e-12)
    return found


def probabilities(
    logits_G: Tensor, sizes_G: Tensor, budget: float, temperature: float = 1.0
) -> Tensor:
    """Return the gates' probabilities; no gradient goes through what they share.

    Neither through the shift, nor through their sum (the paper's ``shift_detach``): a logit can
    only rise at the cost of others.
    """
    shift = shift_of(logits_G, sizes_G, budget, temperature)
    p_G = torch.sigmoid((logits_G - shift) / temperature)
    total = p_G.sum()
    return p_G / total * total.detach() if total.item() > 0 else p_G


def concrete(p_G: Tensor, u_G: Tensor, temperature: float = 1.0) -> Tensor:
    """Return relaxed coin tosses in [0, 1]: sigmoid of both log-odds (Maddison et al. 2017)."""
    p_G = p_G.clamp(_LEAST, 1 - _LEAST)
    u_G = u_G.clamp(_LEAST, 1 - _LEAST)
    odds_G = p_G.log() - (1 - p_G).log() + u_G.log() - (1 - u_G).log()
    return torch.sigmoid(odds_G / temperature)
