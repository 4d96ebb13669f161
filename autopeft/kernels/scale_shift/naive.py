"""Features times a factor each, plus a shift each: (IA)³ and SSF.

Axes: ... any leading axes, O features of what is changed, S features that have factors.
"""

from torch import Tensor
from torch.nn.functional import pad


def scale_shift(
    x_O: Tensor, scale_S: Tensor, shift_S: Tensor | None = None, *, start: int = 0
) -> Tensor:
    """Return ``x * scale + shift``, in the shape and type of x.

    (IA)³ (Liu et al. 2022, section 3.3) without a shift, SSF (Lian et al. 2022, equation 2) with
    one. Of more features than there are factors, those from ``start`` on change and the others
    stay. The precision in between is the finer one of x and the factors.
    """
    rest = start, x_O.shape[-1] - start - scale_S.shape[-1]
    changed_O = x_O * pad(scale_S, rest, value=1.0)
    if shift_S is not None:
        changed_O = changed_O + pad(shift_S, rest)
    return changed_O.to(x_O.dtype)
