"""Which form of an operator runs: the one for the device of its operands, or one that is asked for.

There is no silent second choice: what cannot run is refused.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from autopeft.errors import KernelError

Form = Literal["naive", "eager", "triton"]

_asked: ContextVar[Form | None] = ContextVar("form", default=None)
_NUMBERS = (torch.float32, torch.float16, torch.bfloat16)


@contextmanager
def using(form: Form) -> Iterator[None]:
    """Run all operators in one form for the time of a ``with`` block.

    Raises:
        KernelError: There is no such form.
    """
    if form not in get_args(Form):
        raise KernelError(f"operators have no form {form!r}: ask for {', '.join(get_args(Form))}")
    token = _asked.set(form)
    try:
        yield
    finally:
        _asked.reset(token)


def form_for(tensor: Tensor) -> Form:
    """Return the form for a tensor's device.

    Raises:
        KernelError: The form is triton's, which is not installed, or has no device to run on.
    """
    form = _form_of(tensor)
    if form != "triton":
        return form
    if not _has_triton():
        raise KernelError(
            f"the operators run on {tensor.device} through triton, which is not installed: "
            "pip install 'autopeft[triton]'"
        )
    if tensor.device.type != "cuda" and not _triton_interprets():
        raise KernelError(
            f"triton's kernels cannot run on {tensor.device}: put the operands on a GPU, or set "
            "TRITON_INTERPRET=1 before Python starts"
        )
    return form


def _form_of(tensor: Tensor) -> Form:
    asked: Form | None = _form_asked_for()
    return asked or ("triton" if tensor.device.type == "cuda" else "eager")


def forms_on(device_type: str) -> dict[str, Form | None]:
    """Return the form in which each operator runs on ``cpu`` or ``cuda``; None where it cannot.

    An operator without a form of its own for a processor runs there as it is defined.
    """
    found: dict[str, Form | None] = {}
    for folder in sorted(file.parent for file in Path(__file__).parent.glob("*/operator.py")):
        if device_type == "cuda":
            able = _has_triton() and (folder / "triton.py").exists()
            found[folder.name] = "triton" if able else None
        else:
            found[folder.name] = "eager" if (folder / "eager.py").exists() else "naive"
    return found


# What ``torch.compile`` cannot look into, it takes as it is when it compiles.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # torch's
def _form_asked_for() -> Form | None:
    return _asked.get()


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # torch's
def _has_triton() -> bool:
    return find_spec("triton") is not None


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # torch's
def _triton_interprets() -> bool:
    from triton import knobs

    return bool(knobs.runtime.interpret)


def check_operands(
    operator: str, numbers: Collection[str] = (), /, **operands: Tensor | None
) -> None:
    """Refuse operands that the kernels cannot take together; None stands for one left out.

    Double precision is for processors: no kernel of a GPU takes it. Only ``numbers`` may be
    without axes.

    Raises:
        KernelError: They lie on several devices, or one is neither float32, float16 nor bfloat16,
            has no values, no axes, or is sparse.
    """
    present = {name: tensor for name, tensor in operands.items() if tensor is not None}
    devices = {str(tensor.device) for tensor in present.values()}
    if len(devices) > 1:
        where = ", ".join(f"{name} on {tensor.device}" for name, tensor in present.items())
        raise KernelError(f"{operator} needs all operands on one device: {where}")
    for name, tensor in present.items():
        if tensor.dtype not in _NUMBERS and not _may_be_double(tensor):
            raise KernelError(
                f"{operator} cannot take {name} in {tensor.dtype}: its kernels know float32, "
                "float16 and bfloat16"
            )
        _check_memory(operator, name, tensor)
        if tensor.dim() == 0 and name not in numbers:
            raise KernelError(f"{operator} cannot take {name} without axes: it is a single number")


def _check_memory(operator: str, name: str, tensor: Tensor) -> None:
    if tensor.layout is not torch.strided:
        raise KernelError(
            f"{operator} cannot take {name} in {tensor.layout}: its kernels know dense memory "
            "alone, which to_dense() gives"
        )
    if tensor.device.type == "meta":
        raise KernelError(
            f"{operator} cannot take {name} on meta: it has a shape and no values; load the model "
            "onto a device first"
        )


def _may_be_double(tensor: Tensor) -> bool:
    return tensor.dtype is torch.float64 and _form_of(tensor) != "triton"


def in_autocast(tensor: Tensor) -> Tensor:
    """Return a tensor in the precision that autocast asks for; as it is where it asks for none."""
    kind = tensor.device.type
    if torch.is_autocast_enabled(kind):
        return tensor.to(torch.get_autocast_dtype(kind))
    return tensor
