"""What several methods add to one stream, each weighed by a gate of its input (UniPELT).

Axes: ... any leading axes, O features.
"""

from collections.abc import Sequence

from torch import Tensor


def gated_sum(base_O: Tensor, deltas_O: Sequence[Tensor], gates: Sequence[Tensor]) -> Tensor:
    """Return ``base + Σₖ gateₖ · deltaₖ``, in the shape and type of the base.

    Mao et al. 2022, section 3.2. A gate has the leading axes of the base, each whole or 1: it is
    ``(B, 1)`` for one number a text, ``(B, T)`` for one a token. The precision in between is the
    finest one of all.
    """
    summed_O = base_O
    for delta_O, gate in zip(deltas_O, gates, strict=True):
        summed_O = summed_O + gate[..., None] * delta_O
    return summed_O.to(base_O.dtype)
