"""LoRA's linear map on a GPU: a kernel for output and input gradient, and one for the factors'.

The input gradient ``g W + s (g Uᵀ) D`` is the forward with the factors swapped and W transposed, so
both are ``lora_linear_fwd_kernel``: it reads ``x_NK``, ``weight_JK``, a first factor ``(R, K)`` and
a second ``(R, J)``. README.md derives it. The blocks that the kernels are made of serve the grouped
operator as well.

Axes: N rows, K what is summed over, J outputs of a kernel, R rank, S splits of the rows. In a
kernel ``p_`` is a pointer, ``b_`` a block of values, ``o_`` its offsets, ``i_`` the index of a
program, ``m_`` what is inside; a name with an axis behind it (``x_n``) is the stride along it.
Along the last axis of all but the weight it is 1.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl


@triton.jit
def _kept(seed, o_n, o_k, width, dropout):
    """Return 1 / (1 - dropout) where an input is kept and 0 elsewhere, the same at every call."""
    b_place = o_n.to(tl.int64)[:, None] * width + o_k[None, :]
    return tl.where(tl.rand(seed, b_place) >= dropout, 1 / (1 - dropout), 0.0)


@triton.jit
def _products(
    b_y, b_hidden, p_x, p_weight, p_first, o_n, o_j, o_r, m_n, J, K, R,
    x_n, weight_j, weight_k, first_r, dropout, seed,
    FUSED: tl.constexpr, DROPS: tl.constexpr, PRECISION: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Add ``x Wᵀ`` to a block of outputs and, if fused, ``drop(x) firstᵀ`` to one of rank r."""
    for start in range(0, K, BLOCK_K):
        o_k = start + tl.arange(0, BLOCK_K)
        o_x = o_n.to(tl.int64)[:, None] * x_n + o_k[None, :]
        b_x = tl.load(p_x + o_x, m_n[:, None] & (o_k[None, :] < K), other=0.0)
        o_weight = o_j.to(tl.int64)[:, None] * weight_j + o_k[None, :] * weight_k
        m_weight = (o_j[:, None] < J) & (o_k[None, :] < K)
        b_weight = tl.load(p_weight + o_weight, m_weight, other=0.0)
        b_y = tl.dot(b_x, tl.trans(b_weight), b_y, input_precision=PRECISION)
        if FUSED:
            o_first = o_r[:, None] * first_r + o_k[None, :]
            m_first = (o_r[:, None] < R) & (o_k[None, :] < K)
            b_first = tl.load(p_first + o_first, m_first, other=0.0).to(b_x.dtype)
            if DROPS:
                b_x = (b_x * _kept(seed, o_n, o_k, K, dropout)).to(b_x.dtype)
            b_hidden = tl.dot(b_x, tl.trans(b_first), b_hidden, input_precision=PRECISION)
    return b_y, b_hidden


@triton.jit
def _read_product(
    p_hidden, p_second, o_n, o_j, m_n, m_j, R, hidden_n, second_r,
    PRECISION: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """Return ``h second`` with the h in memory."""
    b_added = tl.zeros([BLOCK_N, BLOCK_J], tl.float32)
    for start in range(0, R, BLOCK_R):
        o_r = start + tl.arange(0, BLOCK_R)
        o_hidden = o_n.to(tl.int64)[:, None] * hidden_n + o_r[None, :]
        b_hidden = tl.load(p_hidden + o_hidden, m_n[:, None] & (o_r[None, :] < R), other=0.0)
        o_second = o_r[:, None] * second_r + o_j[None, :]
        b_second = tl.load(p_second + o_second, (o_r[:, None] < R) & m_j[None, :], other=0.0)
        b_second = b_second.to(b_hidden.dtype)
        b_added = tl.dot(b_hidden, b_second, b_added, input_precision=PRECISION)
    return b_added


@triton.jit
def mapped_block(
    p_x, p_weight, p_bias, p_first, p_second, p_ratio, p_residual, p_hidden, p_plain, p_y,
    o_n, m_n, i_j,
    J, K, R, x_n, weight_j, weight_k, first_r, second_r, residual_n, hidden_n, scale, dropout, seed,
    FUSED: tl.constexpr, DROPS_X: tl.constexpr, DROPS_Y: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """Write a block of ``ratio ∘ u + b + residual``, with ``u = x Wᵀ + scale · drop(h second)``.

    Fused, ``h = drop(x) firstᵀ`` is made here, and written if it has a place; else it is read. At
    most one of the two is dropped: ``DROPS_X`` in the forward, ``DROPS_Y`` in the backward. With a
    ratio, u is written as well if it has a place.
    """
    o_j = i_j * BLOCK_J + tl.arange(0, BLOCK_J)
    o_r = tl.arange(0, BLOCK_R)
    m_j = o_j < J
    b_y = tl.zeros([BLOCK_N, BLOCK_J], tl.float32)
    b_hidden = tl.zeros([BLOCK_N, BLOCK_R], tl.float32)
    if p_weight is not None:
        b_y, b_hidden = _products(
            b_y, b_hidden, p_x, p_weight, p_first, o_n, o_j, o_r, m_n, J, K, R,
            x_n, weight_j, weight_k, first_r, dropout, seed, FUSED, DROPS_X, PRECISION, BLOCK_K,
        )  # fmt: skip
    if FUSED:
        if p_hidden is not None and i_j == 0:
            o_hidden = o_n.to(tl.int64)[:, None] * hidden_n + o_r[None, :]
            m_hidden = m_n[:, None] & (o_r[None, :] < R)
            tl.store(p_hidden + o_hidden, b_hidden.to(p_hidden.dtype.element_ty), m_hidden)
        o_second = o_r[:, None] * second_r + o_j[None, :]
        b_second = tl.load(p_second + o_second, (o_r[:, None] < R) & m_j[None, :], other=0.0)
        b_second = b_second.to(p_x.dtype.element_ty)
        b_added = tl.dot(b_hidden.to(b_second.dtype), b_second, input_precision=PRECISION)
    else:
        b_added = _read_product(
            p_hidden, p_second, o_n, o_j, m_n, m_j, R, hidden_n, second_r,
            PRECISION, BLOCK_N, BLOCK_J, BLOCK_R,
        )  # fmt: skip
    b_added = b_added * scale
    if DROPS_Y:
        b_added = b_added * _kept(seed, o_n, o_j, J, dropout)
    b_y += b_added
    m_y = m_n[:, None] & m_j[None, :]
    o_y = o_n.to(tl.int64)[:, None] * J + o_j[None, :]
    if p_ratio is not None:
        if p_plain is not None:
            tl.store(p_plain + o_y, b_y.to(p_plain.dtype.element_ty), m_y)
        b_y *= tl.load(p_ratio + o_j, m_j, other=0.0).to(tl.float32)[None, :]
    if p_bias is not None:
        b_y += tl.load(p_bias + o_j, m_j, other=0.0).to(tl.float32)[None, :]
    if p_residual is not None:
        o_residual = o_n.to(tl.int64)[:, None] * residual_n + o_j[None, :]
        b_y += tl.load(p_residual + o_residual, m_y, other=0.0).to(tl.float32)
    tl.store(p_y + o_y, b_y.to(p_y.dtype.element_ty), m_y)


@triton.jit
def hidden_block(
    p_x, p_first, p_hidden, o_n, m_n, i_r, K, R, x_n, first_r, hidden_n, dropout, seed,
    DROPS_X: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """Write a block of ``drop(x) firstᵀ``."""
    o_r = i_r * BLOCK_R + tl.arange(0, BLOCK_R)
    m_r = o_r < R
    b_hidden = tl.zeros([BLOCK_N, BLOCK_R], tl.float32)
    for start in range(0, K, BLOCK_K):
        o_k = start + tl.arange(0, BLOCK_K)
        m_k = o_k < K
        o_x = o_n.to(tl.int64)[:, None] * x_n + o_k[None, :]
        b_x = tl.load(p_x + o_x, m_n[:, None] & m_k[None, :], other=0.0)
        if DROPS_X:
            b_x = (b_x * _kept(seed, o_n, o_k, K, dropout)).to(b_x.dtype)
        o_first = o_r[:, None] * first_r + o_k[None, :]
        b_first = tl.load(p_first + o_first, m_r[:, None] & m_k[None, :], other=0.0)
        b_first = b_first.to(b_x.dtype)
        b_hidden = tl.dot(b_x, tl.trans(b_first), b_hidden, input_precision=PRECISION)
    o_hidden = o_n.to(tl.int64)[:, None] * hidden_n + o_r[None, :]
    b_hidden = b_hidden.to(p_hidden.dtype.element_ty)
    tl.store(p_hidden + o_hidden, b_hidden, m_n[:, None] & m_r[None, :])


@triton.jit
def factor_block(
    p_hidden, p_x, p_gradient, begin, end, i_r, i_j, J, R, x_n, hidden_n, scale, dropout, seed,
    DROPS_X: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """Write a block of ``scale · hᵀ drop(x)``, of the rows from begin to end alone, in fp32."""
    o_j = i_j * BLOCK_J + tl.arange(0, BLOCK_J)
    o_r = i_r * BLOCK_R + tl.arange(0, BLOCK_R)
    m_j, m_r = o_j < J, o_r < R
    b_gradient = tl.zeros([BLOCK_R, BLOCK_J], tl.float32)
    for start in range(begin, end, BLOCK_N):
        o_n = start + tl.arange(0, BLOCK_N)
        m_n = o_n < end
        o_hidden = o_n.to(tl.int64)[:, None] * hidden_n + o_r[None, :]
        b_hidden = tl.load(p_hidden + o_hidden, m_n[:, None] & m_r[None, :], other=0.0)
        o_x = o_n.to(tl.int64)[:, None] * x_n + o_j[None, :]
        b_x = tl.load(p_x + o_x, m_n[:, None] & m_j[None, :], other=0.0)
        if DROPS_X:
            b_x = (b_x * _kept(seed, o_n, o_j, J, dropout)).to(b_x.dtype)
        b_gradient = tl.dot(tl.trans(b_hidden), b_x, b_gradient, input_precision=PRECISION)
    o_gradient = o_r.to(tl.int64)[:, None] * J + o_j[None, :]
    tl.store(p_gradient + o_gradient, b_gradient * scale, m_r[:, None] & m_j[None, :])


@triton.jit(do_not_specialize=["seed"])
def lora_linear_fwd_kernel(
    p_x, p_weight, p_bias, p_first, p_second, p_ratio, p_residual, p_hidden, p_plain, p_y,
    N, J, K, R, x_n, weight_j, weight_k, first_r, second_r, residual_n, scale, dropout, seed,
    FUSED: tl.constexpr, DROPS_X: tl.constexpr, DROPS_Y: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """Write ``ratio ∘ (x Wᵀ + scale · drop(h second)) + b + residual``, neighbours near in time."""
    across = tl.cdiv(J, BLOCK_J)
    i_n, i_j = tl.swizzle2d(
        tl.program_id(0) // across, tl.program_id(0) % across, tl.cdiv(N, BLOCK_N), across, 8
    )
    o_n = i_n * BLOCK_N + tl.arange(0, BLOCK_N)
    mapped_block(
        p_x, p_weight, p_bias, p_first, p_second, p_ratio, p_residual, p_hidden, p_plain, p_y,
        o_n, o_n < N, i_j,
        J, K, R, x_n, weight_j, weight_k, first_r, second_r, residual_n, R, scale, dropout, seed,
        FUSED, DROPS_X, DROPS_Y, PRECISION, BLOCK_N, BLOCK_J, BLOCK_K, BLOCK_R,
    )  # fmt: skip


@triton.jit(do_not_specialize=["seed"])
def lora_linear_fwd_kernel_hidden(
    p_x, p_first, p_hidden, N, K, R, x_n, first_r, dropout, seed,
    DROPS_X: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """Write ``drop(x) firstᵀ``, shape ``(N, R)``."""
    o_n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    hidden_block(
        p_x, p_first, p_hidden, o_n, o_n < N, tl.program_id(1), K, R, x_n, first_r, R,
        dropout, seed, DROPS_X, PRECISION, BLOCK_N, BLOCK_K, BLOCK_R,
    )  # fmt: skip


@triton.jit(do_not_specialize=["seed"])
def lora_linear_bwd_kernel_factor(
    p_hidden, p_x, p_gradient, N, J, R, rows, x_n, scale, dropout, seed,
    DROPS_X: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """Write ``scale · hᵀ drop(x)``, shape ``(S, R, J)``, of ``rows`` rows for each split s."""
    i_s = tl.program_id(2)
    factor_block(
        p_hidden, p_x, p_gradient + i_s.to(tl.int64) * R * J, i_s * rows,
        tl.minimum(i_s * rows + rows, N), tl.program_id(1), tl.program_id(0), J, R, x_n, R,
        scale, dropout, seed, DROPS_X, PRECISION, BLOCK_N, BLOCK_J, BLOCK_R,
    )  # fmt: skip


@triton.jit
def lora_linear_fwd_kernel_norms(
    p_weight, p_down, p_up, p_norms, O, I, R, weight_o, weight_i, down_r, up_r, scale,
    PRECISION: tl.constexpr,
    BLOCK_O: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """Write the norms of the rows of ``W + scale · Uᵀ D``, which is nowhere whole."""
    o_o = tl.program_id(0) * BLOCK_O + tl.arange(0, BLOCK_O)
    m_o = o_o < O
    b_squares = tl.zeros([BLOCK_O], tl.float32)
    for start in range(0, I, BLOCK_I):
        o_i = start + tl.arange(0, BLOCK_I)
        m_i = o_i < I
        b_added = tl.zeros([BLOCK_O, BLOCK_I], tl.float32)
        for first in range(0, R, BLOCK_R):
            o_r = first + tl.arange(0, BLOCK_R)
            m_r = o_r[:, None] < R
            b_up = tl.load(p_up + o_r[:, None] * up_r + o_o[None, :], m_r & m_o[None, :], other=0.0)
            o_down = o_r[:, None] * down_r + o_i[None, :]
            b_down = tl.load(p_down + o_down, m_r & m_i[None, :], other=0.0).to(b_up.dtype)
            b_added = tl.dot(tl.trans(b_up), b_down, b_added, input_precision=PRECISION)
        o_weight = o_o.to(tl.int64)[:, None] * weight_o + o_i[None, :] * weight_i
        b_weight = tl.load(p_weight + o_weight, m_o[:, None] & m_i[None, :], other=0.0)
        b_whole = b_weight.to(tl.float32) + scale * b_added
        b_squares += tl.sum(b_whole * b_whole, 1)
    tl.store(p_norms + o_o, tl.sqrt(b_squares), m_o)
