"""The operator that callers use: it takes the form for the device of its operands.

Axes as in ``naive.py``.
"""

from collections.abc import Sequence

from torch import Tensor

from autopeft.errors import KernelError
from autopeft.kernels.forms import check_operands, form_for
from autopeft.kernels.gated_sum import naive


def gated_sum(base_O: Tensor, deltas_O: Sequence[Tensor], gates: Sequence[Tensor]) -> Tensor:
    """Return ``base + Σₖ gateₖ · deltaₖ``, in the shape and type of the base.

    A gate has the leading axes of the base, each whole or 1: ``(B, 1)`` is one number a text,
    ``(B, T)`` one a token. Any strides, and no rows at all, will do. Autocast changes nothing.

    Raises:
        KernelError: There are not as many gates as deltas, one has another shape than the base
            asks for, or a type or a device that the kernels do not know.
    """
    named = {f"delta {k}": delta for k, delta in enumerate(deltas_O)}
    weighing = {f"gate {k}": gate for k, gate in enumerate(gates)}
    check_operands("gated_sum", weighing, base=base_O, **named, **weighing)
    _check_shapes(base_O, named, weighing)
    match form_for(base_O):
        case "naive" | "eager":
            return naive.gated_sum(base_O, deltas_O, gates)
        case "triton":
            from autopeft.kernels.gated_sum.registered import run

            return run(base_O, deltas_O, gates)


def _check_shapes(base_O: Tensor, deltas: dict[str, Tensor], gates: dict[str, Tensor]) -> None:
    if len(deltas) != len(gates):
        raise KernelError(
            f"gated_sum needs a gate for each delta, not {len(gates)} for {len(deltas)}"
        )
    whole = tuple(base_O.shape)
    for name, delta in deltas.items():
        if delta.shape != base_O.shape:
            raise KernelError(
                f"gated_sum needs {name} in the shape of the base, {whole}, not "
                f"{tuple(delta.shape)}"
            )
    for name, gate in gates.items():
        fits = gate.dim() == len(whole) - 1
        if not fits or any(n not in {1, m} for n, m in zip(gate.shape, whole, strict=False)):
            raise KernelError(
                f"gated_sum needs {name} in the leading axes of the base, {whole[:-1]}, each "
                f"whole or 1, not {tuple(gate.shape)}"
            )
