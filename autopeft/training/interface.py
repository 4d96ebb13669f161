"""Which modules attend through the attention function that is registered with transformers."""

import inspect
from typing import Any

from torch import nn


def asks_transformers(module: nn.Module) -> bool:
    """Tell whether a module calls the attention function that is registered with transformers."""
    return "ALL_ATTENTION_FUNCTIONS" in _names_in(type(module).forward)


def _names_in(function: Any) -> tuple[str, ...]:
    """The globals and attributes of a function, looking through decorators."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code.co_names if code else ()
