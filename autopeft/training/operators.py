"""Which operators a model runs on: found by looking on while it is called."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, get_args

from autopeft.kernels.forms import Form

_KERNELS = "autopeft.kernels."
_FORMS = frozenset(get_args(Form))


def operators_in(call: Callable[[], Any]) -> tuple[str, ...]:
    """Name the operators that a call runs, each with its form: ``lora_linear (eager)``.

    What a form calls of another form or operator is part of it, and not named beside it.
    """
    found: set[str] = set()

    def look(frame: FrameType, event: str, _: Any) -> None:
        name = _form_in(frame)
        if event == "call" and name and not (frame.f_back and _form_in(frame.f_back)):
            found.add(name)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(before)
    return tuple(sorted(found))


def _form_in(frame: FrameType) -> str | None:
    """Return the operator and its form if a frame is one's, ``prefix_attention (naive)``."""
    module = str(frame.f_globals.get("__name__", ""))
    operator, _, form = module.removeprefix(_KERNELS).partition(".")
    if not module.startswith(_KERNELS) or form not in _FORMS:
        return None
    # Imported on the way is not run.
    return None if frame.f_code.co_name == "<module>" else f"{operator} ({form})"
