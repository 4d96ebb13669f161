"""How a kernel is cut into tiles: declared beside each kernel, chosen by trial on the device.

What was chosen is kept in a file, by device, versions and the kernel's own text. Other tiles round
otherwise, so the file also is why a study repeats on the same machine.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from autopeft.errors import KernelError, OutputError
from autopeft.files import usual_cache, write_json
from autopeft.kernels import interpreting

FILE = "tiles.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """One way to cut a kernel: its block sizes by name, its warps and its pipeline stages."""

    blocks: Mapping[str, int] = field(default_factory=dict)
    warps: int = 4
    stages: int = 2

    @property
    def options(self) -> dict[str, Any]:
        """What a launch and a compilation take beside arguments and constants.

        Fusing products with sums is said, since Triton 3.10 changes what holds where it is not.
        """
        return {"num_warps": self.warps, "num_stages": self.stages, "enable_fp_fusion": True}


Launch = Callable[[Tiles], None]
Clock = Callable[[Callable[[], None]], float]


def run(
    kernel: str, key: tuple[object, ...], ways: Sequence[Tiles], launch: Launch, operand: Tensor
) -> None:
    """Launch a kernel, cut in the way that is best for a key, on an operand's device."""
    with on(operand):
        launch(chosen(kernel, key, ways, launch))


def on(operand: Tensor) -> AbstractContextManager[Any]:
    """Launch on an operand's device, which need not be the current one, in a ``with`` block.

    Every launch is in one, so here the interpreter is mended before the first.
    """
    interpreting.mend()
    return torch.cuda.device(operand.device) if operand.is_cuda else nullcontext()


def chosen(kernel: str, key: tuple[object, ...], ways: Sequence[Tiles], launch: Launch) -> Tiles:
    """Return the fastest of the ways in which ``launch`` can run for a key of shapes and types.

    ``launch`` is called many times, so it must write what it makes and not add to it. Where there
    is no GPU, in the interpreter, and while a CUDA graph is captured it is the first way.

    Raises:
        KernelError: None of the ways fits the device.
    """
    if len(ways) == 1 or not _can_time():
        return ways[0]
    return _choices(usual_cache(), _machine(torch.cuda.current_device())).best(
        kernel, key, ways, launch
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What was chosen on one machine, in memory and in a file that several processes share."""

    folder: Path
    machine: str
    clock: Clock
    misfits: tuple[type[Exception], ...] = ()
    _known: dict[str, Tiles] = field(default_factory=dict)

    def best(
        self, kernel: str, key: tuple[object, ...], ways: Sequence[Tiles], launch: Launch
    ) -> Tiles:
        """Return what is known to be fastest, or time all ways and remember.

        Raises:
            KernelError: None of the ways fits the device.
        """
        name = json.dumps([self.machine, _text_of(launch), kernel, [str(part) for part in key]])
        known = self._known.get(name) or _read(self.folder / FILE).get(name)
        if known is None or known not in ways:
            known = self._fastest(kernel, key, ways, launch)
            self._keep(name, known)
        self._known[name] = known
        return known

    def _fastest(
        self, kernel: str, key: tuple[object, ...], ways: Sequence[Tiles], launch: Launch
    ) -> Tiles:
        seconds: list[tuple[float, int]] = []
        for place, way in enumerate(ways):
            with suppress(*self.misfits):
                seconds.append((self.clock(partial(launch, way)), place))
        if not seconds:
            raise KernelError(
                f"{kernel} cannot run for {key} on {self.machine}: none of its {len(ways)} ways "
                "to cut it fits the device; use a smaller rank or width"
            )
        return ways[min(seconds)[1]]

    def _keep(self, name: str, tiles: Tiles) -> None:
        """Add a choice to those in the file, which another process may have written since."""
        file = self.folder / FILE
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(file.with_suffix(".lock"), timeout=10):
                whole = _read(file) | {name: tiles}
                write_json(file, {each: asdict(one) for each, one in sorted(whole.items())})
        except (OSError, OutputError, Timeout) as error:
            logger.warning("%s is tuned anew in every process: %s", file, error)


def _can_time() -> bool:
    """Return whether kernels run on a GPU here and now, and may be run several times."""
    if not torch.cuda.is_available() or torch.cuda.is_current_stream_capturing():
        return False
    from triton import knobs

    return not knobs.runtime.interpret


@cache
def _choices(folder: Path, machine: str) -> Choices:
    from triton.compiler.errors import CompileTimeAssertionFailure
    from triton.runtime.errors import OutOfResources, PTXASError
    from triton.testing import do_bench

    return Choices(
        folder=folder,
        machine=machine,
        clock=partial(do_bench, warmup=5, rep=25, return_mode="median"),
        misfits=(OutOfResources, PTXASError, CompileTimeAssertionFailure),
    )


@cache
def _machine(device: int) -> str:
    import triton

    name = torch.cuda.get_device_name(device)
    return f"{name}, torch {torch.__version__}, triton {triton.__version__}"


def _text_of(launch: Launch) -> str:
    """Return the digest of the folder in which a launcher is written, its kernels beside it."""
    function: Any = launch
    while isinstance(function, partial):
        function = function.func
    return _digest(Path(function.__code__.co_filename).parent)


@cache
def _digest(folder: Path) -> str:
    texts = [file.read_bytes() for file in sorted(folder.glob("*.py"))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:16]


def _read(file: Path) -> dict[str, Tiles]:
    """Return the choices in a file: none where it is absent, those that can be read where not."""
    try:
        document = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(document, dict):
        return {}
    known = {}
    for name, tiles in document.items():
        with suppress(TypeError, KeyError):
            known[name] = Tiles(
                blocks=tiles["blocks"], warps=tiles["warps"], stages=tiles["stages"]
            )
    return known
