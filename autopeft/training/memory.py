"""What memory there is, and how a lack of it is recognised, without loading torch."""

import errno
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

# What allocators and libraries say in a RuntimeError, on CPU, CUDA, ROCm and MPS.
_PHRASES = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "cublas_status_alloc_failed",
    "could not create a primitive",  # oneDNN, when there is no room for its buffers or its code
    "can't start new thread",  # there is no room for its stack
)
_PROC = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")
# What a group's processes may use and do use, and the line of files that can be let go: version 2
# of control groups, and version 1.
_LIMITS = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
_GIB, _MIB = 2**30, 2**20


class NoRoomError(MemoryError):
    """What is to be trained needs more memory than it may use; the message says how much."""


def is_out_of_memory(error: BaseException) -> bool:
    """Recognise what is raised where memory is short, by type, name, number and text."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in _PHRASES)


def resident_bytes(proc: Path = _PROC) -> int:
    """Return what this process has in memory; its most so far where the system does not tell."""
    try:
        return int((proc / "self/statm").read_text("utf-8").split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def free_bytes(proc: Path = _PROC, groups: Path = _GROUPS) -> int:
    """Return what could still be taken without swapping, in this machine and this container.

    Half of all memory where the system does not tell.
    """
    try:
        lines = (proc / "meminfo").read_text("utf-8").splitlines()
        found = next(int(ln.split()[1]) * 1024 for ln in lines if ln.startswith("MemAvailable:"))
    except (OSError, StopIteration, IndexError, ValueError):
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return max(0, min(found, *_left_in_groups(proc, groups), found))


def sized(count: float) -> str:
    """Write a number of bytes for people.

    Example:
        >>> sized(3 * 2**30), sized(1.5 * 2**20)
        ('3.0 GiB', '1.5 MiB')
    """
    return f"{count / _GIB:,.1f} GiB" if count >= _GIB else f"{count / _MIB:,.1f} MiB"


def _left_in_groups(proc: Path, groups: Path) -> Iterator[int]:
    """Yield what every control group that this process is in leaves, up to the uppermost."""
    try:
        lines = (proc / "self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    paths = dict(line.split(":", 2)[1:] for line in lines if line.count(":") > 1)
    for kind, most, used, files in _LIMITS:
        if kind not in paths:
            continue
        inside = groups / kind / paths[kind].strip("/")
        for folder in (inside, *inside.parents):
            if folder.is_relative_to(groups) and (left := _left(folder, most, used, files)):
                yield left


def _left(folder: Path, most: str, used: str, files: str) -> int | None:
    try:
        limit = (folder / most).read_text("utf-8").strip()
        if not limit.isdigit():
            return None
        lines = (folder / "memory.stat").read_text("utf-8").splitlines()
        cached = next((int(line.split()[1]) for line in lines if line.startswith(f"{files} ")), 0)
        return max(1, int(limit) - int((folder / used).read_text("utf-8")) + cached)
    except (OSError, ValueError, IndexError):
        return None
