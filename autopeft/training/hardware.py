"""The machine that this process runs on, as a plan names it."""

import os
import platform
from pathlib import Path

import torch

from autopeft.evidence import Hardware

_CPUINFO = Path("/proc/cpuinfo")
_NAME = "model name"


def this_hardware() -> Hardware:
    """Describe the machine; its cores are those that this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Hardware(
        system=f"{platform.system()} {platform.machine()}".strip(),
        processor=_processor(),
        cores=allowed or 1,
        accelerator=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    )


def _processor() -> str:
    try:
        lines = _CPUINFO.read_text("utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(_NAME))
    return next(named, "") or platform.processor() or platform.machine() or "unknown"
