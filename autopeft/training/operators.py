"""Which operators a model runs on: found by looking on while it is called."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

_KERNELS = "autopeft.kernels."


def operators_in(call: Callable[[], Any]) -> tuple[str, ...]:
    """Name the operators that a call runs, each with its form: ``lora_linear (naive)``."""
    found: set[str] = set()

    def look(frame: FrameType, event: str, _: Any) -> None:
        name = str(frame.f_globals.get("__name__", ""))
        if event == "call" and name.startswith(_KERNELS):
            operator, _, form = name.removeprefix(_KERNELS).partition(".")
            found.add(f"{operator} ({form})")

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(before)
    return tuple(sorted(found))
