"""How this process uses threads and memory, where the defaults of the C libraries do harm.

Called before torch is imported: the libraries read these variables when they are loaded. A user
who has set one of them is left alone.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_DEFAULTS = {
    # OpenMP threads spin for milliseconds while they wait. Next to any other busy process a
    # training step then takes several times as long; a short spin costs nothing on a quiet machine
    # (benchmarks/neighbour.py).
    "GOMP_SPINCOUNT": "3000",
    # oneDNN keeps compiled products for the last 1024 shapes. Padded batches and searched sizes
    # bring ever new shapes, and memory grows by hundreds of megabytes (benchmarks/memory.py).
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
    # torch has caches of its own before oneDNN's, 1024 shapes for each kind of product, in which
    # what oneDNN has let go lives on.
    "LRU_CACHE_CAPACITY": "64",
}


# What mallopt of glibc calls them: from which size on memory is mapped and unmapped block by block,
# and how much is kept at the end of the heap. Without them a training step gives most of its memory
# back and asks for it again, a tenth of its time (benchmarks/engine.py).
_ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": (-3, 2**25), "MALLOC_TRIM_THRESHOLD_": (-1, 2**30)}

_MMAP_THRESHOLD = -3  # what mallopt of glibc calls the size from which memory is the system's
_USUAL_THRESHOLD = 32 * 2**20  # to which glibc raises it by itself, as larger blocks are freed
_LOW_THRESHOLD = 2**20


def prepare() -> None:
    """Set what the user has left open."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if not any(name in os.environ for name in (*_ALLOCATION, "GLIBC_TUNABLES", "LD_PRELOAD")):
        for option, size in _ALLOCATION.values():
            _glibc("mallopt", option, size)


def give_memory_back() -> None:
    """Return freed memory to the system, so that trials of different shapes do not add up.

    Does nothing where the C library is not glibc.
    """
    _glibc("malloc_trim", 0)


def _glibc(function: str, *arguments: int) -> None:
    try:
        getattr(ctypes.CDLL("libc.so.6"), function)(*arguments)
    except (OSError, AttributeError):
        return


@contextmanager
def frugal() -> Iterator[None]:
    """Give what is freed back to the system at once, for the time of a ``with`` block.

    Otherwise the C library keeps it for later, and what it keeps is of other sizes than what is
    asked for next: a training may come to have half as much again as its tensors need
    (benchmarks/memory.py). Fresh memory takes a few per cent more time. Does nothing where the C
    library is not glibc.
    """
    _threshold(_LOW_THRESHOLD)
    try:
        yield
    finally:
        _threshold(_USUAL_THRESHOLD)
        give_memory_back()


def _threshold(size: int) -> None:
    try:
        ctypes.CDLL("libc.so.6").mallopt(_MMAP_THRESHOLD, size)
    except (OSError, AttributeError):
        return
