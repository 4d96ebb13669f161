"""What of a kernel is compiled ahead of time: each variant that a launcher can ask for.

A folder's ``triton.py`` lists its own under the name ``VARIANTS``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autopeft.kernels.tuning import Tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One kernel with the types of its arguments and the values of its constants.

    ``types`` are Triton's, by argument: ``*bf16`` is a pointer, ``i32`` and ``fp32`` are numbers.
    ``tiles`` holds the block sizes (constants as well), warps and stages.
    """

    name: str
    kernel: Any
    types: Mapping[str, str]
    constants: Mapping[str, Any] = field(default_factory=dict)
    tiles: Tiles
