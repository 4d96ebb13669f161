"""Kernels compiled ahead of time, without the GPU that they are for, and what that tells of them.

``python -m autopeft.kernels.ahead [OPERATOR ...]`` compiles all variants and ends with 1 where one
would not run well: what does not fit into registers or shared memory, and products that miss the
tensor cores. Triton keeps what it has compiled; it compiles anew what has changed.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import prod
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from autopeft.errors import KernelError
from autopeft.kernels.variants import Variant

KERNELS = Path(__file__).parent
ALIGNED = 16
"""What the runtime asks of pointers and numbers, and takes advantage of, where they have it."""

_CORES = re.compile(r"\b(wgmma)\.mma_async|\b(mma)\.sync|\b(v_mfma)_|\b(v_smfmac)_")
_HALF_PRODUCT = re.compile(r"tt\.dot .*tensor<\d+x\d+x(?:bf16|f16)>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A kind of GPU. ``shared`` are the bytes of shared memory that one program may have."""

    name: str
    gpus: str
    shared: int
    triton: GPUTarget


# CUDA C++ Programming Guide, "Technical Specifications per Compute Capability": maximum amount of
# shared memory per thread block; AMD Instinct MI300 (CDNA 3) ISA guide: LDS of a compute unit.
TARGETS = (
    Target(name="sm_80", gpus="A100", shared=163 * 1024, triton=GPUTarget("cuda", 80, 32)),
    Target(name="sm_90", gpus="H100", shared=227 * 1024, triton=GPUTarget("cuda", 90, 32)),
    Target(name="gfx942", gpus="MI300X", shared=64 * 1024, triton=GPUTarget("hip", "gfx942", 64)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What one variant takes on one target: registers of a thread, bytes of shared memory.

    ``spilled`` are the bytes of a thread that its registers had no room for. ``cores`` names the
    matrix instructions; it is empty where there are none. ``halves`` tells whether there are
    products of 16-bit numbers, which should have some. ``even`` tells whether all pointers and
    numbers are multiples of 16; a width of 500 or a slice of a matrix is not.
    """

    variant: Variant
    target: Target
    even: bool
    registers: int
    spilled: int
    shared: int
    cores: str
    halves: bool

    @property
    def problems(self) -> list[str]:
        """Say why it would not run, or not as fast as it should; nothing where all is well.

        Reading uneven sizes number by number takes registers, and what spills there is let pass.
        """
        said = []
        if self.spilled and self.even:
            said.append(f"spills {self.spilled} bytes of a thread's registers into memory")
        if self.shared > self.target.shared:
            said.append(
                f"needs {self.shared:,} bytes of shared memory, and {self.target.gpus} has "
                f"{self.target.shared:,}"
            )
        if self.halves and not self.cores:
            said.append("multiplies 16-bit numbers without the tensor cores")
        return said


def operators() -> tuple[str, ...]:
    """Name the operators that have kernels, by their folders."""
    return tuple(sorted(file.parent.name for file in KERNELS.glob("*/triton.py")))


def variants(operator: str) -> tuple[Variant, ...]:
    """Return what an operator's folder wants compiled, and what is asked for twice only once.

    Raises:
        KernelError: There is no such operator, or it has no kernels.
    """
    if operator not in operators():
        raise KernelError(
            f"there are no kernels of an operator {operator!r}: there are {', '.join(operators())}"
        )
    asked: tuple[Variant, ...] = import_module(f"autopeft.kernels.{operator}.triton").VARIANTS
    found: list[Variant] = []
    for variant in asked:
        if variant not in found:
            found.append(variant)
    return tuple(found)


def compile_all(operator: str) -> Iterator[Compiled]:
    """Yield every variant of an operator, compiled for every target, as ``asked`` lists them."""
    for variant, even in asked(operator):
        for target in TARGETS:
            yield compile_ahead(variant, target, even=even)


def asked(operator: str) -> Iterator[tuple[Variant, bool]]:
    """Yield every variant with even sizes, and the leanest of each kind with uneven ones."""
    leanest: dict[tuple[object, ...], Variant] = {}
    for variant in variants(operator):
        yield variant, True
        kind = (variant.kernel.__name__, *variant.types.items())
        leanest[kind] = min(leanest.get(kind, variant), variant, key=_numbers_of_a_warp)
    for variant in leanest.values():
        yield variant, False


def _numbers_of_a_warp(variant: Variant) -> float:
    return prod(variant.tiles.blocks.values()) / variant.tiles.warps


def compile_ahead(variant: Variant, target: Target, *, even: bool = True) -> Compiled:
    """Compile a variant for a target; not ``even``, nothing is taken to be a multiple of 16.

    Raises:
        KernelError: It cannot be compiled, leaves an argument out, or Triton only interprets here.
    """
    source = _source(variant, even)
    try:
        kernel = triton.compile(source, target=target.triton, options=variant.tiles.options)
    except Exception as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise KernelError(
            f"{variant.name} cannot be compiled for {target.name}: {first}"
        ) from error
    read = _of_nvidia if target.triton.backend == "cuda" else _of_amd
    registers, spilled, assembly = read(kernel.asm)
    return Compiled(
        variant=variant,
        target=target,
        even=even,
        registers=registers,
        spilled=spilled,
        shared=kernel.metadata.shared,
        cores=", ".join(sorted({"".join(found) for found in _CORES.findall(assembly)})),
        halves=_HALF_PRODUCT.search(kernel.asm["ttir"]) is not None,
    )


def _source(variant: Variant, even: bool) -> ASTSource:
    """Say of each argument what the runtime would: its type, its value, or what divides it."""
    if knobs.runtime.interpret:
        raise KernelError("kernels that Triton interprets are not compiled: unset TRITON_INTERPRET")
    constants = {**variant.constants, **variant.tiles.blocks}
    names: list[str] = variant.kernel.arg_names
    silent = [name for name in names if name not in variant.types and name not in constants]
    unknown = sorted({*variant.types, *constants} - set(names))
    if silent or unknown:
        raise KernelError(
            f"the variant {variant.name} says nothing of {', '.join(silent) or 'no argument'}, "
            f"and names {', '.join(unknown) or 'none'} that its kernel has not"
        )
    types, aligned = {}, {}
    for place, name in enumerate(names):
        kind, _, known = variant.types.get(name, "constexpr").partition(":")
        types[name] = "constexpr" if name in constants else kind
        if even and kind.startswith(("*", "i")) and known != "1" and name not in constants:
            aligned[(place,)] = [["tt.divisibility", ALIGNED]]
    return ASTSource(fn=variant.kernel, signature=types, constexprs=constants, attrs=aligned)


def _of_nvidia(asm: dict[str, Any]) -> tuple[int, int, str]:
    """Return registers, bytes spilled, and assembly.

    None of our kernels has arrays of its own, so that a stack is what registers had no room for.
    """
    with NamedTemporaryFile(suffix=".cubin") as file:
        file.write(asm["cubin"])
        file.flush()
        command = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    used = {name: int(number) for name, number in re.findall(r"\b([A-Z]+):(\d+)", told)}
    return used["REG"], used["STACK"] + used["LOCAL"], asm["ptx"]


def _of_amd(asm: dict[str, Any]) -> tuple[int, int, str]:
    """Return vector registers, bytes spilled, and assembly; accumulators are registers too."""
    assembly: str = asm["amdgcn"]
    used = {
        name: int(number)
        for name, number in re.findall(r"^\s*\.(\w+):\s+(\d+)$", assembly, re.MULTILINE)
    }
    return used["vgpr_count"], used["private_segment_fixed_size"], assembly


def main(names: Sequence[str]) -> int:
    """Compile operators, say what was found, and return how many compilations have a problem."""
    wrong = 0
    for operator in names or operators():
        for line, well in _told(operator):
            sys.stdout.write(f"{operator}: {line}\n")
            sys.stdout.flush()
            wrong += not well
    return wrong


def _told(operator: str) -> Iterator[tuple[str, bool]]:
    """Yield a line for each variant and target, and whether it is free of problems."""
    for variant, even in asked(operator):
        for target in TARGETS:
            try:
                found = compile_ahead(variant, target, even=even)
            except KernelError as error:
                yield str(error), False
                continue
            what = (
                f"{found.registers} registers, {found.shared:,} bytes shared, "
                f"{found.cores or 'no tensor cores'}"
            )
            said = "; ".join((what, *found.problems))
            cut = f"{variant.tiles.warps} warps, {variant.tiles.stages} stages"
            cut += "" if even else ", uneven sizes"
            yield f"{variant.name}, {cut}, on {target.name}: {said}", not found.problems


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
