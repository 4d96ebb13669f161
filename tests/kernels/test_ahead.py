"""Kernels are compiled for GPUs that are not here, and what would not run well there is found."""

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is for Linux")

import triton
import triton.language as tl
from triton import knobs

from autopeft.errors import KernelError
from autopeft.kernels.ahead import (
    KERNELS,
    TARGETS,
    asked,
    compile_ahead,
    compile_all,
    operators,
    variants,
)
from autopeft.kernels.tuning import Tiles
from autopeft.kernels.variants import Variant

DOCS = Path(__file__).parents[2] / "docs"

if knobs.runtime.interpret:
    pytest.skip("Triton only interprets in this process", allow_module_level=True)


@triton.jit
def product_kernel(
    p_x, p_w, p_y, n, i, o, stride, BLOCK: tl.constexpr, INNER: tl.constexpr, TIMES: tl.constexpr
):
    """Multiply two matrices, the second one the other way around, and scale by many constants."""
    o_n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    o_o = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    b_y = tl.zeros((BLOCK, BLOCK), tl.float32)
    for start in range(0, i, INNER):
        o_i = start + tl.arange(0, INNER)
        m_x = (o_n[:, None] < n) & (o_i[None, :] < i)
        b_x = tl.load(p_x + o_n[:, None] * i + o_i[None, :] * stride, mask=m_x, other=0.0)
        m_w = (o_i[:, None] < i) & (o_o[None, :] < o)
        b_w = tl.load(p_w + o_o[None, :] * i + o_i[:, None] * stride, mask=m_w, other=0.0)
        b_y = tl.dot(b_x, b_w, b_y, input_precision="ieee")
    m_y = (o_n[:, None] < n) & (o_o[None, :] < o)
    tl.store(p_y + o_n[:, None] * o + o_o[None, :], b_y * TIMES, mask=m_y)


@triton.jit
def share_kernel(p_x, p_y, BLOCK: tl.constexpr):
    """Divide a row by its sum: all of it is needed until the sum is known."""
    o_x = tl.arange(0, BLOCK)
    b_x = tl.load(p_x + o_x)
    tl.store(p_y + o_x, b_x / tl.sum(b_x, 0))


def name_of(value):
    return getattr(value, "name", value)


def product(dtype="bf16", block=64, warps=4, **changes):
    given = {"p_x": f"*{dtype}", "p_w": f"*{dtype}", "p_y": "*fp32", "n": "i32", "i": "i32"}
    return replace(
        Variant(
            name=f"product {dtype}",
            kernel=product_kernel,
            types={**given, "o": "i32:1"},
            constants={"stride": 1, "TIMES": 2.0},
            tiles=Tiles(blocks={"BLOCK": block, "INNER": 32}, warps=warps, stages=3),
        ),
        **changes,
    )


@pytest.mark.parametrize(
    ("target", "cores"), list(zip(TARGETS, ("mma", "wgmma", "v_mfma"), strict=True)), ids=name_of
)
def test_a_product_uses_the_tensor_cores_of_each_gpu(target, cores):
    found = compile_ahead(product(), target)

    assert (found.cores, found.problems) == (cores, [])
    assert 16 <= found.registers <= 255
    assert 8_192 <= found.shared <= target.shared


@pytest.mark.parametrize(
    ("target", "numbers"),
    [
        (TARGETS[0], 16_384),
        pytest.param(TARGETS[1], 16_384, marks=pytest.mark.slow),
        pytest.param(TARGETS[2], 32_768, marks=pytest.mark.slow),
    ],
    ids=name_of,
)
def test_what_registers_have_no_room_for_is_a_problem(target, numbers):
    """A thread of a warp of 32 has at most 255 registers for its 512 numbers, one of 64 all 512."""
    row = Variant(
        name="share",
        kernel=share_kernel,
        types={"p_x": "*fp32", "p_y": "*fp32"},
        tiles=Tiles(blocks={"BLOCK": numbers}, warps=1),
    )

    [problem] = compile_ahead(row, target).problems

    assert problem.startswith("spills ")


def test_uneven_sizes_are_compiled_for_as_well():
    """What is known to be a multiple of 16 is read 16 bytes at a time, and all else singly."""
    even, uneven = (compile_ahead(product(), TARGETS[0], even=known) for known in (True, False))

    assert (even.even, uneven.even) == (True, False)
    assert replace(uneven, spilled=8).problems == [] != replace(even, spilled=8).problems
    assert uneven.problems == []
    assert uneven.registers != even.registers


@pytest.mark.parametrize("operator", operators())
def test_every_kernel_is_asked_for_with_uneven_sizes_in_every_type(operator):
    kinds = [
        {(v.kernel.__name__, *v.types.items()) for v, even in asked(operator) if even == known}
        for known in (True, False)
    ]

    assert kinds[0] == kinds[1]


def test_more_shared_memory_than_there_is_is_a_problem():
    deep = Tiles(blocks={"BLOCK": 128, "INNER": 128}, warps=8, stages=4)
    found = compile_ahead(product(tiles=deep), TARGETS[0])

    assert found.shared == 196_608
    assert found.problems == ["needs 196,608 bytes of shared memory, and A100 has 166,912"]


def test_exact_products_of_32_bits_need_no_tensor_cores():
    found = compile_ahead(product("fp32", block=32), TARGETS[0])

    assert (found.cores, found.problems) == ("", [])


def test_halves_that_miss_the_tensor_cores_are_a_problem():
    found = replace(compile_ahead(product(), TARGETS[0]), cores="")

    assert found.problems == ["multiplies 16-bit numbers without the tensor cores"]


def test_an_argument_that_is_left_out_is_named():
    with pytest.raises(KernelError, match=r"product bf16 says nothing of stride, TIMES, and names"):
        compile_ahead(product(constants={}), TARGETS[0])


def test_an_argument_that_the_kernel_has_not_is_named():
    constants = {"stride": 1, "TIMES": 2.0, "SPEED": 9}
    with pytest.raises(KernelError, match=r"says nothing of no argument, and names SPEED that its"):
        compile_ahead(product(constants=constants), TARGETS[0])


def test_a_kernel_that_cannot_be_compiled_is_named_with_the_reason():
    odd = Tiles(blocks={"BLOCK": 48, "INNER": 32})
    with pytest.raises(KernelError, match="product bf16 cannot be compiled for sm_80: "):
        compile_ahead(product(tiles=odd), TARGETS[0])


def test_nothing_is_compiled_where_triton_interprets(monkeypatch):
    monkeypatch.setattr(knobs.runtime, "interpret", True)

    with pytest.raises(KernelError, match="unset TRITON_INTERPRET"):
        compile_ahead(product(), TARGETS[0])


def test_an_operator_without_kernels_is_refused():
    with pytest.raises(KernelError, match="there are no kernels of an operator 'nothing'"):
        variants("nothing")


def test_every_operator_has_kernels():
    assert operators() == tuple(
        sorted(file.parent.name for file in KERNELS.glob("*/__init__.py") if file.parent != KERNELS)
    )


@pytest.mark.parametrize("operator", operators())
def test_an_operator_compiles_every_kernel_that_it_has(operator):
    written = "".join(file.read_text("utf-8") for file in (KERNELS / operator).glob("*.py"))
    kernels = set(re.findall(r"^def (\w*_kernel\w*)\(", written, re.MULTILINE))

    assert kernels == {variant.kernel.__name__ for variant in variants(operator)}


@pytest.mark.parametrize("operator", operators())
def test_variants_are_told_apart(operator):
    told = [(each.name, each.tiles.warps, each.tiles.stages) for each in variants(operator)]

    assert len(set(told)) == len(told)


@pytest.mark.parametrize("operator", operators())
@pytest.mark.parametrize("target", TARGETS, ids=name_of)
def test_the_first_variant_of_an_operator_compiles_for_each_gpu(operator, target):
    found = compile_ahead(variants(operator)[0], target)

    assert found.problems == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("operator", operators())
def test_every_variant_compiles_for_each_gpu_and_runs_well_there(operator):
    wrong = [
        f"{found.variant.name} on {found.target.name} {problem}"
        for found in compile_all(operator)
        for problem in found.problems
    ]

    assert wrong == []


def generate():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_kernels_lists_what_there_is():
    """`python docs/generate.py kernels` writes it anew."""
    page = (DOCS / "kernels.md").read_text("utf-8")
    listed = re.findall(r"^\| `(\w+)` \| ([\w, ]*) \| (\d+) \|", page, re.MULTILINE)

    assert f"by Triton {triton.__version__}" in page
    assert listed == [
        (kernel, numbers, str(len(ways)))
        for operator in operators()
        for kernel, numbers, ways in generate().kinds_of(variants(operator))
    ]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_page_of_kernels_is_what_the_compiler_says_now():
    assert (DOCS / "kernels.md").read_text("utf-8") == generate().kernels()
