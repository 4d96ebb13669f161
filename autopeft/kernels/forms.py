"""Which form of an operator runs: the one for the device of its operands, or one that is asked for.

There is no silent second choice: what cannot run is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from autopeft.errors import KernelError

Form = Literal["naive", "eager", "triton"]

_asked: ContextVar[Form | None] = ContextVar("form", default=None)
_NUMBERS = (torch.float32, torch.float16, torch.bfloat16)


@contextmanager
def using(form: Form) -> Iterator[None]:
    """Run all operators in one form for the time of a ``with`` block."""
    token = _asked.set(form)
    try:
        yield
    finally:
        _asked.reset(token)


def form_for(tensor: Tensor) -> Form:
    """Return the form for a tensor's device.

    Raises:
        KernelError: The device is a GPU, and triton is not installed.
    """
    asked: Form | None = _form_asked_for()
    if asked:
        return asked
    if tensor.device.type != "cuda":
        return "eager"
    if not _has_triton():
        raise KernelError(
            f"the operators run on {tensor.device} through triton, which is not installed: "
            "pip install 'autopeft[triton]'"
        )
    return "triton"


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


def check_operands(operator: str, **operands: Tensor | None) -> None:
    """Refuse operands that the kernels cannot take together; None stands for one left out.

    Double precision is for processors: no kernel of a GPU takes it.

    Raises:
        KernelError: They lie on several devices, or one is neither float32, float16 nor bfloat16.
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


def _may_be_double(tensor: Tensor) -> bool:
    return tensor.dtype is torch.float64 and form_for(tensor) != "triton"


def in_autocast(tensor: Tensor) -> Tensor:
    """Return a tensor in the precision that autocast asks for; as it is where it asks for none."""
    kind = tensor.device.type
    if torch.is_autocast_enabled(kind):
        return tensor.to(torch.get_autocast_dtype(kind))
    return tensor
