"""What ``autopeft doctor`` says of the machine: what it has, how fast it is, and what runs on it.

The rows of processors, memory and GPUs are read from this process, so they are what a search that
is started in the same way has: pinned cores, a container's memory, the GPUs that it may see.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

Row = tuple[str, str, str]
"""What was looked at; whether it is ok, absent or a problem; the detail."""

_GIB = 2**30
_CPUINFO, _MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup/memory.max")
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "sve", "bf16")


def machine(cache: Path) -> Iterator[Row]:
    """Yield the rows of this machine; ``cache`` is where supernets and the like are kept."""
    yield _processor()
    yield _threads()
    yield _arithmetic()
    yield _precision()
    yield _memory()
    yield from _gpus()
    yield from _operators()
    yield cache_row(cache)


def _processor() -> Row:
    from autopeft.training.hardware import this_hardware

    here = this_hardware()
    flags = _words(_CPUINFO, "flags") | _words(_CPUINFO, "Features")
    known = [flag for flag in _FLAGS if flag in flags]
    return "processor", "ok", f"{here.processor}, {here.system}; {', '.join(known) or 'no flags'}"


def _threads() -> Row:
    import torch

    from autopeft.training.hardware import this_hardware

    told = f"{torch.get_num_threads()} for {this_hardware().cores} cores that this process may use"
    if set_to := os.environ.get("OMP_NUM_THREADS"):
        told += f" (OMP_NUM_THREADS is {set_to})"
    return "threads", "ok", told


def _arithmetic() -> Row:
    import torch

    from autopeft.kernels.cost import this_processor

    here = this_processor(torch.get_num_threads())
    single, half = (here.flops[kind] / 1e9 for kind in (torch.float32, torch.bfloat16))
    return (
        "arithmetic",
        "ok",
        f"fp32 {single:,.0f}, bf16 {half:,.0f} GFLOP/s; memory {here.bandwidth / 1e9:,.0f} GB/s",
    )


def _precision() -> Row:
    from autopeft.training.hardware import bf16_speedup
    from autopeft.wiring.request import fastest_precision

    told = (
        f"trains in {fastest_precision()}: products in bf16 are {bf16_speedup():.1f} times as fast"
    )
    return "precision", "ok", told


def _memory() -> Row:
    numbers = {
        name: int(amount.split()[0]) * 1024
        for name, _, amount in (line.partition(":") for line in _lines(_MEMINFO))
        if name in {"MemTotal", "MemAvailable"}
    }
    if not numbers:
        return "memory", "absent", "this system does not tell"
    told = (
        f"{numbers['MemTotal'] / _GIB:.1f} GiB, {numbers['MemAvailable'] / _GIB:.1f} GiB available"
    )
    if (limit := "".join(_lines(_CONTAINER))).isdigit():
        told += f", at most {int(limit) / _GIB:.1f} GiB in this container"
    return "memory", "ok", told


def _gpus() -> Iterator[Row]:
    import torch

    if not torch.cuda.is_available():
        yield "gpu", "absent", "none that torch can use"
    for number in range(torch.cuda.device_count()):
        has = torch.cuda.get_device_properties(number)
        told = f"{has.name}, {has.total_memory / _GIB:.1f} GiB, capability {has.major}.{has.minor}"
        yield f"gpu {number}", "ok", f"{told}; operators run on it, searches on the processor"


def _operators() -> Iterator[Row]:
    """Yield for each kind of device which operators run in which form."""
    import torch

    from autopeft.kernels.forms import forms_on

    yield forms_row("operators on the processor", forms_on("cpu"))
    there = forms_row("operators on a GPU", forms_on("cuda"))
    yield there if torch.cuda.is_available() else (there[0], "absent", f"no GPU; {there[2]}")


def forms_row(what: str, forms: Mapping[str, str | None]) -> Row:
    """Tell which operators run in which form; it is a problem where one cannot run."""
    by_form: dict[str | None, list[str]] = defaultdict(list)
    for operator, form in forms.items():
        by_form[form].append(operator)
    missing = by_form.pop(None, None)
    told = "; ".join(f"{form}: {', '.join(names)}" for form, names in sorted(by_form.items()))
    if missing is None:
        return what, "ok", told
    why = f"cannot run there, for want of triton: {', '.join(missing)}"
    return what, "problem", "; ".join(filter(None, (why, told)))


def cache_row(folder: Path) -> Row:
    """Tell how much room the cache has, and whether it can be written; nothing is."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        told = f"cannot write into {folder}: give another one with AUTOPEFT_CACHE"
        return "cache", "problem", told
    return "cache", "ok", f"{folder}, {shutil.disk_usage(there).free / _GIB:.1f} GiB free"


def _words(file: Path, name: str) -> set[str]:
    """Return the words behind the first line of a name."""
    lines = (line.partition(":") for line in _lines(file))
    return set(next((value for key, _, value in lines if key.strip() == name), "").split())


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8").splitlines()
    except OSError:
        return []
