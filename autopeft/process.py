"""How this process uses threads and memory, where the defaults of the C libraries do harm.

Called before torch is imported: the libraries read these variables when they are loaded. A user
who has set one of them is left alone.
"""

import ctypes
import os

_DEFAULTS = {
    # OpenMP threads spin for milliseconds while they wait. Next to any other busy process a
    # training step then takes several times as long; a short spin costs nothing on a quiet machine
    # (benchmarks/neighbour.py).
    "GOMP_SPINCOUNT": "3000",
    # oneDNN keeps compiled products for the last 1024 shapes. Padded batches and searched sizes
    # bring ever new shapes, and memory grows by hundreds of megabytes (benchmarks/memory.py).
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
}


def prepare() -> None:
    """Set what the user has left open."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def give_memory_back() -> None:
    """Return freed memory to the system, so that trials of different shapes do not add up.

    Does nothing where the C library is not glibc.
    """
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return
