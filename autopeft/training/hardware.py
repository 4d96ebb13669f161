"""The machine that this process runs on, as a plan names it."""

import os
import platform
import time
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import linear

from autopeft.evidence import Hardware

_CPUINFO = Path("/proc/cpuinfo")
_NAME = "model name"
_ROWS, _WIDTH, _TRIES = 256, 384, 8


def this_hardware() -> Hardware:
    """Describe the machine; its cores are those that this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Hardware(
        system=f"{platform.system()} {platform.machine()}".strip(),
        processor=_processor(),
        cores=allowed or 1,
        accelerator=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    )


@cache
def bf16_speedup() -> float:
    """Return how many times as fast as in single precision a product of matrices is in bf16.

    Measured once a process, in a few milliseconds, on matrices of the size that a backbone has: the
    flags of a processor tell what it can do, but not whether this build of torch does it. Of
    several tries in turn the fastest count, so that other processes hardly matter.
    """
    operands = torch.ones(_ROWS, _WIDTH), torch.ones(_WIDTH, _WIDTH)
    halved = operands[0].bfloat16(), operands[1].bfloat16()
    with torch.inference_mode():
        times = [(_seconds(*operands), _seconds(*halved)) for _ in range(1 + _TRIES)]
    times = times[1:]  # oneDNN compiles in the first
    return min(single for single, _ in times) / min(half for _, half in times)


def _seconds(x_NI: Tensor, weight_OI: Tensor) -> float:
    began = time.perf_counter()
    linear(x_NI, weight_OI)
    return time.perf_counter() - began


def _processor() -> str:
    try:
        lines = _CPUINFO.read_text("utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(_NAME))
    return next(named, "") or platform.processor() or platform.machine() or "unknown"
