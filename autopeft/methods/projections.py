"""Frozen random matrices that need not be stored, because they can always be drawn again.

They come from NumPy's PCG64 with a key of their own, not from a trial's generator: a checkpoint
must give the same output whatever the seed is that it is loaded with. So trials that differ in
their seed alone share these matrices. As rows are drawn one after
another, a matrix of fewer rows is the beginning of one with more.
"""

from zlib import crc32

import numpy as np
import torch
from torch import Tensor


def uniform(rows: int, columns: int, bound: float, *key: str | int) -> Tensor:
    """Return numbers between ``-bound`` and ``bound``, always the same for a key and a width."""
    seed = [columns, *(crc32(str(part).encode()) for part in key)]
    numbers = np.random.default_rng(seed).random((rows, columns), dtype=np.float32)
    return torch.from_numpy((2 * numbers - 1) * np.float32(bound))
