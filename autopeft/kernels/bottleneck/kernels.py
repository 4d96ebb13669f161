"""The bottleneck on a GPU: one kernel forward, and two kinds backward. ``README.md`` derives them.

Axes: N rows, I inputs, H bottleneck, O outputs, J features of what a factor's gradient is summed
with, S splits of the rows. In a kernel ``p_`` is a pointer, ``b_`` a block of values, ``o_`` its
offsets, ``m_`` what is inside.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl


@triton.jit
def _activated(b_p, ACTIVATION: tl.constexpr):
    if ACTIVATION == "relu":
        b_h = tl.where(b_p <= 0, 0.0, b_p)  # so, NaN stays NaN
    elif ACTIVATION == "gelu":
        b_h = 0.5 * b_p * (1 + tl.erf(b_p * 0.7071067811865476))
    elif ACTIVATION == "gelu_tanh":
        b_h = b_p * tl.sigmoid(1.5957691216057308 * (b_p + 0.044715 * b_p * b_p * b_p))
    else:
        b_h = b_p * tl.sigmoid(b_p)
    return b_h


@triton.jit
def _slope(b_p, ACTIVATION: tl.constexpr):
    if ACTIVATION == "relu":
        b_slope = tl.where(b_p <= 0, 0.0, 1.0)
    elif ACTIVATION == "gelu":
        b_density = 0.3989422804014327 * tl.exp(-0.5 * b_p * b_p)
        b_slope = 0.5 * (1 + tl.erf(b_p * 0.7071067811865476)) + b_p * b_density
    elif ACTIVATION == "gelu_tanh":
        b_s = tl.sigmoid(1.5957691216057308 * (b_p + 0.044715 * b_p * b_p * b_p))
        b_inner = 1.5957691216057308 * (1 + 0.134145 * b_p * b_p)
        b_slope = b_s + b_p * b_s * (1 - b_s) * b_inner
    else:
        b_s = tl.sigmoid(b_p)
        b_slope = b_s * (1 + b_p * (1 - b_s))
    return b_slope


@triton.jit
def bottleneck_fwd_kernel(
    p_x,
    p_down,
    p_bias,
    p_up,
    p_last,
    p_weight,
    p_shift,
    p_residual,
    p_y,
    p_inner,
    p_mean,
    p_rstd,
    scale,
    epsilon,
    N,
    I,
    H,
    O,
    ACTIVATION: tl.constexpr,
    NORM: tl.constexpr,
    RESIDUAL: tl.constexpr,
    KEEP: tl.constexpr,
    BN: tl.constexpr,
    BH: tl.constexpr,
    BI: tl.constexpr,
    BO: tl.constexpr,
):
    o_N = tl.program_id(0).to(tl.int64) * BN + tl.arange(0, BN)
    o_H = tl.arange(0, BH)
    m_N, m_H = o_N < N, o_H < H
    kind = p_x.dtype.element_ty
    if NORM:
        # Chan's update: mean and squared deviations of what has been seen and of the next part.
        b_mean = tl.zeros((BN,), tl.float32)
        b_squares = tl.zeros((BN,), tl.float32)
        for start in range(0, I, BI):
            o_I = start + tl.arange(0, BI)
            m_NI = m_N[:, None] & (o_I < I)[None, :]
            b_x = tl.load(p_x + o_N[:, None] * I + o_I[None, :], m_NI, 0.0).to(tl.float32)
            new = tl.minimum(I - start, BI).to(tl.float32)
            b_part = tl.sum(b_x, 1) / new
            b_off = tl.where(m_NI, b_x - b_part[:, None], 0.0)
            b_step = b_part - b_mean
            share = new / (start + new)
            b_squares += tl.sum(b_off * b_off, 1) + b_step * b_step * share * start
            b_mean += b_step * share
        b_rstd = tl.rsqrt(b_squares / I + epsilon)
        if KEEP:
            tl.store(p_mean + o_N, b_mean, m_N)
            tl.store(p_rstd + o_N, b_rstd, m_N)

    b_p = tl.zeros((BN, BH), tl.float32)
    for start in range(0, I, BI):
        o_I = start + tl.arange(0, BI)
        m_I = o_I < I
        b_x = tl.load(p_x + o_N[:, None] * I + o_I[None, :], m_N[:, None] & m_I[None, :], 0.0)
        if NORM:
            b_weight = tl.load(p_weight + o_I, m_I, 0.0).to(tl.float32)
            b_shift = tl.load(p_shift + o_I, m_I, 0.0).to(tl.float32)
            b_x = (b_x.to(tl.float32) - b_mean[:, None]) * b_rstd[:, None]
            b_x = (b_x * b_weight[None, :] + b_shift[None, :]).to(kind)
        b_down = tl.load(p_down + o_H[None, :] * I + o_I[:, None], m_H[None, :] & m_I[:, None], 0.0)
        b_p = tl.dot(b_x, b_down.to(kind), b_p, input_precision="ieee")
    b_p += tl.load(p_bias + o_H, m_H, 0.0).to(tl.float32)[None, :]
    # Rounded before the activation, so that the backward works out the same one from what is kept.
    b_p = b_p.to(kind)
    if KEEP:
        m_NH = m_N[:, None] & m_H[None, :]
        tl.store(p_inner + o_N[:, None] * H + o_H[None, :], b_p, m_NH)
    b_h = _activated(b_p.to(tl.float32), ACTIVATION).to(kind)

    for start in range(0, O, BO):
        o_O = start + tl.arange(0, BO)
        m_O = o_O < O
        m_NO = m_N[:, None] & m_O[None, :]
        b_up = tl.load(p_up + o_H[:, None] * O + o_O[None, :], m_H[:, None] & m_O[None, :], 0.0)
        b_y = tl.dot(b_h, b_up.to(kind), input_precision="ieee")
        b_last = tl.load(p_last + o_O, m_O, 0.0).to(tl.float32)
        b_y = scale * (b_y + b_last[None, :])
        if RESIDUAL:
            b_r = tl.load(p_residual + o_N[:, None] * O + o_O[None, :], m_NO, 0.0)
            b_y += b_r.to(tl.float32)
        tl.store(p_y + o_N[:, None] * O + o_O[None, :], b_y, m_NO)


@triton.jit
def bottleneck_bwd_kernel_rows(
    p_g,
    p_x,
    p_inner,
    p_mean,
    p_rstd,
    p_down,
    p_up,
    p_weight,
    p_slant,
    p_offset,
    p_d_inner,
    p_d_x,
    scale,
    N,
    I,
    H,
    O,
    ACTIVATION: tl.constexpr,
    NORM: tl.constexpr,
    INPUT: tl.constexpr,
    ONTO: tl.constexpr,
    BN: tl.constexpr,
    BH: tl.constexpr,
    BI: tl.constexpr,
    BO: tl.constexpr,
):
    o_N = tl.program_id(0).to(tl.int64) * BN + tl.arange(0, BN)
    o_H = tl.arange(0, BH)
    m_N, m_H = o_N < N, o_H < H
    m_NH = m_N[:, None] & m_H[None, :]
    kind = p_inner.dtype.element_ty
    b_d = tl.zeros((BN, BH), tl.float32)
    for start in range(0, O, BO):
        o_O = start + tl.arange(0, BO)
        m_O = o_O < O
        b_g = tl.load(p_g + o_N[:, None] * O + o_O[None, :], m_N[:, None] & m_O[None, :], 0.0)
        b_up = tl.load(p_up + o_H[None, :] * O + o_O[:, None], m_H[None, :] & m_O[:, None], 0.0)
        b_d = tl.dot(b_g.to(kind), b_up.to(kind), b_d, input_precision="ieee")
    b_p = tl.load(p_inner + o_N[:, None] * H + o_H[None, :], m_NH, 0.0).to(tl.float32)
    b_d = (scale * b_d * _slope(b_p, ACTIVATION)).to(kind)
    tl.store(p_d_inner + o_N[:, None] * H + o_H[None, :], b_d, m_NH)

    if INPUT:
        if NORM:
            # The two means over I of LayerNorm's backward, as sums over H.
            b_mean = tl.load(p_mean + o_N, m_N, 0.0)
            b_rstd = tl.load(p_rstd + o_N, m_N, 0.0)
            b_slant = tl.load(p_slant + o_H, m_H, 0.0)
            b_offset = tl.load(p_offset + o_H, m_H, 0.0)
            b_wide = b_d.to(tl.float32)
            b_along = tl.sum(b_wide * (b_p - b_offset[None, :]), 1) / I
            b_level = tl.sum(b_wide * b_slant[None, :], 1) / I
        for start in range(0, I, BI):
            o_I = start + tl.arange(0, BI)
            m_I = o_I < I
            m_NI = m_N[:, None] & m_I[None, :]
            o_NI = o_N[:, None] * I + o_I[None, :]
            b_down = tl.load(
                p_down + o_H[:, None] * I + o_I[None, :], m_H[:, None] & m_I[None, :], 0.0
            )
            b_dx = tl.dot(b_d, b_down.to(kind), input_precision="ieee")
            if NORM:
                b_x = tl.load(p_x + o_NI, m_NI, 0.0).to(tl.float32)
                b_x = (b_x - b_mean[:, None]) * b_rstd[:, None]
                b_weight = tl.load(p_weight + o_I, m_I, 0.0).to(tl.float32)
                b_dx = b_dx * b_weight[None, :] - b_level[:, None] - b_x * b_along[:, None]
                b_dx = b_dx * b_rstd[:, None]
            if ONTO:
                b_dx += tl.load(p_g + o_NI, m_NI, 0.0).to(tl.float32)
            tl.store(p_d_x + o_NI, b_dx, m_NI)


@triton.jit
def bottleneck_bwd_kernel_factors(
    p_left,
    p_right,
    p_mean,
    p_rstd,
    p_products,
    p_left_sums,
    p_right_sums,
    rows,
    N,
    H,
    J,
    ACTIVATION: tl.constexpr,
    NORM: tl.constexpr,
    LEFT: tl.constexpr,
    BN: tl.constexpr,
    BH: tl.constexpr,
    BJ: tl.constexpr,
):
    split = tl.program_id(2)
    o_J = tl.program_id(0) * BJ + tl.arange(0, BJ)
    o_H = tl.program_id(1) * BH + tl.arange(0, BH)
    m_J, m_H = o_J < J, o_H < H
    kind = p_left.dtype.element_ty
    b_products = tl.zeros((BH, BJ), tl.float32)
    b_sums_H = tl.zeros((BH,), tl.float32)
    b_sums_J = tl.zeros((BJ,), tl.float32)
    first = split.to(tl.int64) * rows
    for start in range(0, rows, BN):
        o_row = start + tl.arange(0, BN)
        o_N = first + o_row
        m_N = (o_row < rows) & (o_N < N)
        b_left = tl.load(p_left + o_N[None, :] * H + o_H[:, None], m_H[:, None] & m_N[None, :], 0.0)
        m_NJ = m_N[:, None] & m_J[None, :]
        b_right = tl.load(p_right + o_N[:, None] * J + o_J[None, :], m_NJ, 0.0)
        if ACTIVATION != "":
            b_left = _activated(b_left.to(tl.float32), ACTIVATION).to(kind)
        if NORM:
            b_mean = tl.load(p_mean + o_N, m_N, 0.0)
            b_rstd = tl.load(p_rstd + o_N, m_N, 0.0)
            b_right = (b_right.to(tl.float32) - b_mean[:, None]) * b_rstd[:, None]
        b_products = tl.dot(b_left, b_right.to(kind), b_products, input_precision="ieee")
        if LEFT:
            b_sums_H += tl.sum(b_left.to(tl.float32), 1)
        else:
            b_sums_J += tl.sum(b_right.to(tl.float32), 0)
    o_HJ = (split.to(tl.int64) * H + o_H[:, None]) * J + o_J[None, :]
    tl.store(p_products + o_HJ, b_products, m_H[:, None] & m_J[None, :])
    # The first programs alone have the sums: by the mask, as a branch makes registers spill.
    if LEFT:
        tl.store(p_left_sums + split * H + o_H, b_sums_H, o_H < H - H * tl.program_id(0))
    else:
        tl.store(p_right_sums + split * J + o_J, b_sums_J, o_J < J - J * tl.program_id(1))
