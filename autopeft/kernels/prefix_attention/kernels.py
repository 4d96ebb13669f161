"""Prefix attention on a GPU: one kernel forward, three backward, none of which joins the prefix.

A program of the forward and of the queries' backward owns some queries of one head, and walks over
the prefix and then over the sequence with a softmax that is corrected as it goes. A program of the
keys' backward owns some keys, learned or of the sequence, and walks over the queries that saw them.
README.md derives what they compute.

Axes: B batch, H heads of queries, G heads of keys and values (of which H is a multiple), T queries,
S keys, P prefix, K width of a query and a key, V width of a value. In a kernel ``p_`` is a pointer,
``b_`` a block of values, ``o_`` its offsets, ``i_`` the index of a program, ``m_`` what is inside;
a pointer with an axis behind it (``query_t``) is the stride along it, along widths always 1.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
# The score of what is hidden: finite, so that a query that sees nothing weighs all keys alike, as
# the definition does, and so far down that any score beside it vanishes.
HIDDEN = tl.constexpr(-1e30)


@triton.jit
def _scores(
    b_query, b_key, p_mask, p_gate, o_t, o_s, T, S, mask_t, mask_s, gate_t, gate_p, scale, softcap,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, GATED: tl.constexpr, CAPPED: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Return gates, scaled products, scores before and after masks, and what was not hidden."""
    m_ts = (o_t[:, None] < T) & (o_s[None, :] < S)
    b_raw = tl.dot(b_query, tl.trans(b_key), input_precision=PRECISION) * scale
    b_gate = tl.full(b_raw.shape, 1.0, tl.float32)
    b_bounded = b_raw
    if GATED:
        o_gate = o_t.to(tl.int64)[:, None] * gate_t + o_s[None, :] * gate_p
        b_gate = tl.load(p_gate + o_gate, mask=m_ts, other=0.0).to(tl.float32)
        b_bounded = b_raw * b_gate
    if CAPPED:
        b_bounded = softcap * (2 * tl.sigmoid(2 * b_bounded / softcap) - 1)
    b_scores = b_bounded
    m_seen = m_ts
    o_mask = o_t.to(tl.int64)[:, None] * mask_t + o_s[None, :] * mask_s
    if MASK == "boolean":
        m_seen = m_seen & (tl.load(p_mask + o_mask, mask=m_ts, other=0) != 0)
    if MASK == "added":
        b_mask = tl.load(p_mask + o_mask, mask=m_ts, other=0.0).to(tl.float32)
        b_scores = b_scores + tl.maximum(b_mask, HIDDEN)
    if CAUSAL:
        m_past = o_s[None, :] <= o_t[:, None]
        if MASK == "added":
            b_scores = tl.where(m_past, b_scores, HIDDEN)
        else:
            m_seen = m_seen & m_past
    b_scores = tl.where(m_seen, b_scores, HIDDEN)
    return b_gate, b_raw, b_bounded, tl.where(o_s[None, :] < S, b_scores, -float("inf")), m_seen


@triton.jit
def _kept(p_seed, i_bh, o_t, o_column, dropout):
    """Return 1 / (1 - dropout) where a weight is kept and 0 elsewhere, the same at every call."""
    b_column = o_column[None, :] + tl.zeros_like(o_t)[:, None]
    b_row = o_t[:, None] + tl.zeros_like(o_column)[None, :]
    b_head = tl.zeros_like(b_row) + i_bh.to(tl.int32)
    b_bits, _, _, _ = tl.philox(tl.load(p_seed), b_column, b_row, b_head, tl.zeros_like(b_row))
    return tl.where(tl.uint_to_uniform_float(b_bits) >= dropout, 1 / (1 - dropout), 0.0)


@triton.jit
def _attend(
    b_out, b_peak, b_sum, b_query, p_key, p_value, p_mask, p_gate, p_seed,
    i_bh, o_t, o_k, o_v, end, before, T, S, K, V, key_s, value_s, mask_t, mask_s, gate_t, gate_p,
    scale, softcap, dropout,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, GATED: tl.constexpr, CAPPED: tl.constexpr,
    DROPPED: tl.constexpr, PRECISION: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Take the first ``end`` of one set of keys into a softmax under way; return it."""
    for start in range(0, end, BLOCK):
        o_s = start + tl.arange(0, BLOCK)
        m_key = (o_s[:, None] < S) & (o_k[None, :] < K)
        b_key = tl.load(p_key + o_s[:, None] * key_s + o_k[None, :], mask=m_key, other=0.0)
        m_value = (o_s[:, None] < S) & (o_v[None, :] < V)
        b_value = tl.load(p_value + o_s[:, None] * value_s + o_v[None, :], mask=m_value, other=0.0)
        b_gate, _, _, b_scores, _ = _scores(
            b_query, b_key.to(b_query.dtype), p_mask, p_gate, o_t, o_s, T, S, mask_t, mask_s,
            gate_t, gate_p, scale, softcap, MASK, CAUSAL, GATED, CAPPED, PRECISION,
        )  # fmt: skip
        b_higher = tl.maximum(b_peak, tl.max(b_scores, 1))
        b_shrunk = tl.exp2((b_peak - b_higher) * LOG2E)
        b_weights = tl.exp2((b_scores - b_higher[:, None]) * LOG2E)
        b_sum = b_sum * b_shrunk + tl.sum(b_weights, 1)
        b_peak = b_higher
        if GATED:
            b_weights = b_weights * b_gate
        if DROPPED:
            b_weights = b_weights * _kept(p_seed, i_bh, o_t, before + o_s, dropout)
        b_seen = tl.dot(
            b_weights.to(b_query.dtype), b_value.to(b_query.dtype), input_precision=PRECISION
        )
        b_out = b_out * b_shrunk[:, None] + b_seen
    return b_out, b_peak, b_sum


@triton.jit
def prefix_attention_fwd_kernel(
    p_query, p_key, p_value, p_prefix_key, p_prefix_value, p_mask, p_gate, p_seed,
    p_out, p_peak, p_sum,
    scale, softcap, dropout, H, G, T, S, P, K, V,
    query_b, query_h, query_t, key_b, key_g, key_s, value_b, value_g, value_s,
    prefix_key_p, prefix_value_p, mask_b, mask_h, mask_t, mask_s, gate_b, gate_t, gate_p,
    out_b, out_h, out_t,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, SKIPPED: tl.constexpr, GATED: tl.constexpr,
    CAPPED: tl.constexpr, DROPPED: tl.constexpr, PRECISION: tl.constexpr, BLOCK_T: tl.constexpr,
    BLOCK_S: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """Write the output of some queries of one head, and the peak and the sum of their softmax."""
    blocks = tl.cdiv(T, BLOCK_T)
    i_t = tl.program_id(0) % blocks
    i_bh = (tl.program_id(0) // blocks).to(tl.int64)
    i_b = i_bh // H
    i_h = i_bh % H
    i_g = i_h // (H // G)
    o_t = i_t * BLOCK_T + tl.arange(0, BLOCK_T)
    o_k = tl.arange(0, BLOCK_K)
    o_v = tl.arange(0, BLOCK_V)
    m_query = (o_t[:, None] < T) & (o_k[None, :] < K)
    p_query += i_b * query_b + i_h * query_h
    b_query = tl.load(p_query + o_t[:, None] * query_t + o_k[None, :], mask=m_query, other=0.0)
    b_out = tl.zeros([BLOCK_T, BLOCK_V], tl.float32)
    b_peak = tl.full([BLOCK_T], -float("inf"), tl.float32)
    b_sum = tl.zeros([BLOCK_T], tl.float32)
    b_out, b_peak, b_sum = _attend(
        b_out, b_peak, b_sum, b_query, p_prefix_key + i_g * K, p_prefix_value + i_g * V,
        None, p_gate + i_b * gate_b if GATED else None, p_seed,
        i_bh, o_t, o_k, o_v, P, 0, T, P, K, V, prefix_key_p, prefix_value_p, 0, 0, gate_t, gate_p,
        scale, softcap, dropout, "none", False, GATED, CAPPED, DROPPED, PRECISION, BLOCK_P,
    )  # fmt: skip
    end = S
    if SKIPPED:
        end = tl.minimum(S, (i_t + 1) * BLOCK_T)
    b_out, b_peak, b_sum = _attend(
        b_out, b_peak, b_sum, b_query, p_key + i_b * key_b + i_g * key_g,
        p_value + i_b * value_b + i_g * value_g,
        None if MASK == "none" else p_mask + i_b * mask_b + i_h * mask_h, None, p_seed,
        i_bh, o_t, o_k, o_v, end, P, T, S, K, V, key_s, value_s, mask_t, mask_s, 0, 0,
        scale, softcap, dropout, MASK, CAUSAL, False, CAPPED, DROPPED, PRECISION, BLOCK_S,
    )  # fmt: skip
    m_out = (o_t[:, None] < T) & (o_v[None, :] < V)
    p_out += i_b * out_b + i_h * out_h
    b_out = (b_out / b_sum[:, None]).to(p_out.dtype.element_ty)
    tl.store(p_out + o_t[:, None] * out_t + o_v[None, :], b_out, mask=m_out)
    tl.store(p_peak + i_bh * T + o_t, b_peak, mask=o_t < T)
    tl.store(p_sum + i_bh * T + o_t, b_sum, mask=o_t < T)


@triton.jit
def prefix_attention_bwd_kernel_delta(
    p_out, p_grad, p_delta, H, T, V, out_b, out_h, out_t, grad_b, grad_h, grad_t,
    BLOCK_T: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """Write each query's sum of output times gradient."""
    blocks = tl.cdiv(T, BLOCK_T)
    i_bh = (tl.program_id(0) // blocks).to(tl.int64)
    o_t = (tl.program_id(0) % blocks) * BLOCK_T + tl.arange(0, BLOCK_T)
    o_v = tl.arange(0, BLOCK_V)
    m_tv = (o_t[:, None] < T) & (o_v[None, :] < V)
    p_out += (i_bh // H) * out_b + (i_bh % H) * out_h
    p_grad += (i_bh // H) * grad_b + (i_bh % H) * grad_h
    b_out = tl.load(p_out + o_t[:, None] * out_t + o_v[None, :], mask=m_tv, other=0.0)
    b_grad = tl.load(p_grad + o_t[:, None] * grad_t + o_v[None, :], mask=m_tv, other=0.0)
    b_delta = tl.sum(b_out.to(tl.float32) * b_grad.to(tl.float32), 1)
    tl.store(p_delta + i_bh * T + o_t, b_delta, mask=o_t < T)


@triton.jit
def _gradients(
    b_query, b_key, b_value, b_grad, b_peak, b_sum, b_delta, p_mask, p_gate, p_seed,
    i_bh, o_t, o_s, before, T, S, mask_t, mask_s, gate_t, gate_p, scale, softcap, dropout,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, GATED: tl.constexpr, CAPPED: tl.constexpr,
    DROPPED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Return the weights on values, and the gradients of products, masks and gates."""
    b_gate, b_raw, b_bounded, b_scores, m_seen = _scores(
        b_query, b_key, p_mask, p_gate, o_t, o_s, T, S, mask_t, mask_s, gate_t, gate_p,
        scale, softcap, MASK, CAUSAL, GATED, CAPPED, PRECISION,
    )  # fmt: skip
    b_soft = tl.exp2((b_scores - b_peak[:, None]) * LOG2E) / b_sum[:, None]
    b_soft = tl.where(o_t[:, None] < T, b_soft, 0.0)
    b_weights = b_soft
    b_dweights = tl.dot(b_grad, tl.trans(b_value), input_precision=PRECISION)
    if DROPPED:
        b_kept = _kept(p_seed, i_bh, o_t, before + o_s, dropout)
        b_weights = b_weights * b_kept
        b_dweights = b_dweights * b_kept
    b_dgate = b_dweights * b_soft
    b_dmask = b_soft * (b_dweights * b_gate - b_delta[:, None])
    b_dscores = tl.where(m_seen, b_dmask, 0.0)
    if CAUSAL:
        b_dmask = tl.where(o_s[None, :] <= o_t[:, None], b_dmask, 0.0)
    if CAPPED:
        b_tanh = b_bounded / softcap
        b_dscores = b_dscores * (1 - b_tanh * b_tanh)
    if GATED:
        b_weights = b_weights * b_gate
        b_dgate += b_dscores * b_raw
        b_dscores = b_dscores * b_gate
    return b_weights, b_dscores, b_dmask, b_dgate


@triton.jit
def _pull(
    b_dquery, b_query, b_grad, b_peak, b_sum, b_delta, p_key, p_value, p_mask, p_gate, p_seed,
    p_dmask, p_dgate,
    i_bh, o_t, o_k, o_v, end, before, T, S, K, V, key_s, value_s, mask_t, mask_s, gate_t, gate_p,
    scale, softcap, dropout,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, GATED: tl.constexpr, CAPPED: tl.constexpr,
    DROPPED: tl.constexpr, DMASK: tl.constexpr, PRECISION: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add what the first ``end`` of one set of keys give to the gradient of queries; return it."""
    for start in range(0, end, BLOCK):
        o_s = start + tl.arange(0, BLOCK)
        m_key = (o_s[:, None] < S) & (o_k[None, :] < K)
        b_key = tl.load(p_key + o_s[:, None] * key_s + o_k[None, :], mask=m_key, other=0.0)
        b_key = b_key.to(b_query.dtype)
        m_value = (o_s[:, None] < S) & (o_v[None, :] < V)
        b_value = tl.load(p_value + o_s[:, None] * value_s + o_v[None, :], mask=m_value, other=0.0)
        _, b_dscores, b_dmask, b_dgate = _gradients(
            b_query, b_key, b_value.to(b_query.dtype), b_grad, b_peak, b_sum, b_delta,
            p_mask, p_gate, p_seed, i_bh, o_t, o_s, before, T, S, mask_t, mask_s, gate_t, gate_p,
            scale, softcap, dropout, MASK, CAUSAL, GATED, CAPPED, DROPPED, PRECISION,
        )  # fmt: skip
        o_ts = o_t.to(tl.int64)[:, None] * S + o_s[None, :]
        m_ts = (o_t[:, None] < T) & (o_s[None, :] < S)
        if DMASK:
            tl.store(p_dmask + o_ts, b_dmask.to(p_dmask.dtype.element_ty), mask=m_ts)
        if GATED:
            tl.store(p_dgate + o_ts, b_dgate, mask=m_ts)
        b_dquery += tl.dot(b_dscores.to(b_query.dtype), b_key, input_precision=PRECISION)
    return b_dquery


@triton.jit
def prefix_attention_bwd_kernel_queries(
    p_query, p_key, p_value, p_prefix_key, p_prefix_value, p_mask, p_gate, p_seed,
    p_grad, p_peak, p_sum, p_delta, p_dquery, p_dmask, p_dgate,
    scale, softcap, dropout, H, G, T, S, P, K, V,
    query_b, query_h, query_t, key_b, key_g, key_s, value_b, value_g, value_s,
    prefix_key_p, prefix_value_p, mask_b, mask_h, mask_t, mask_s, gate_b, gate_t, gate_p,
    grad_b, grad_h, grad_t, dquery_b, dquery_h, dquery_t,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, SKIPPED: tl.constexpr, GATED: tl.constexpr,
    CAPPED: tl.constexpr, DROPPED: tl.constexpr, DMASK: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr,
):  # fmt: skip
    """Write the gradient of some queries of one head, and what they give to mask and gates."""
    blocks = tl.cdiv(T, BLOCK_T)
    i_t = tl.program_id(0) % blocks
    i_bh = (tl.program_id(0) // blocks).to(tl.int64)
    i_b = i_bh // H
    i_h = i_bh % H
    i_g = i_h // (H // G)
    o_t = i_t * BLOCK_T + tl.arange(0, BLOCK_T)
    o_k = tl.arange(0, BLOCK_K)
    o_v = tl.arange(0, BLOCK_V)
    m_query = (o_t[:, None] < T) & (o_k[None, :] < K)
    m_grad = (o_t[:, None] < T) & (o_v[None, :] < V)
    p_query += i_b * query_b + i_h * query_h
    p_grad += i_b * grad_b + i_h * grad_h
    b_query = tl.load(p_query + o_t[:, None] * query_t + o_k[None, :], mask=m_query, other=0.0)
    b_grad = tl.load(p_grad + o_t[:, None] * grad_t + o_v[None, :], mask=m_grad, other=0.0)
    b_peak = tl.load(p_peak + i_bh * T + o_t, mask=o_t < T, other=0.0)
    b_sum = tl.load(p_sum + i_bh * T + o_t, mask=o_t < T, other=1.0)
    b_delta = tl.load(p_delta + i_bh * T + o_t, mask=o_t < T, other=0.0)
    b_dquery = tl.zeros([BLOCK_T, BLOCK_K], tl.float32)
    b_dquery = _pull(
        b_dquery, b_query, b_grad, b_peak, b_sum, b_delta,
        p_prefix_key + i_g * K, p_prefix_value + i_g * V,
        None, p_gate + i_b * gate_b if GATED else None, p_seed,
        None, p_dgate + i_bh * T * P if GATED else None,
        i_bh, o_t, o_k, o_v, P, 0, T, P, K, V, prefix_key_p, prefix_value_p, 0, 0, gate_t, gate_p,
        scale, softcap, dropout, "none", False, GATED, CAPPED, DROPPED, False, PRECISION, BLOCK_P,
    )  # fmt: skip
    end = S
    if SKIPPED:
        end = tl.minimum(S, (i_t + 1) * BLOCK_T)
    b_dquery = _pull(
        b_dquery, b_query, b_grad, b_peak, b_sum, b_delta,
        p_key + i_b * key_b + i_g * key_g, p_value + i_b * value_b + i_g * value_g,
        None if MASK == "none" else p_mask + i_b * mask_b + i_h * mask_h, None, p_seed,
        p_dmask + i_bh * T * S if DMASK else None, None,
        i_bh, o_t, o_k, o_v, end, P, T, S, K, V, key_s, value_s, mask_t, mask_s, 0, 0,
        scale, softcap, dropout, MASK, CAUSAL, False, CAPPED, DROPPED, DMASK, PRECISION, BLOCK_S,
    )  # fmt: skip
    p_dquery += i_b * dquery_b + i_h * dquery_h
    b_dquery = (b_dquery * scale).to(p_dquery.dtype.element_ty)
    tl.store(p_dquery + o_t[:, None] * dquery_t + o_k[None, :], b_dquery, mask=m_query)


@triton.jit
def prefix_attention_bwd_kernel_keys(
    p_query, p_key, p_value, p_mask, p_gate, p_seed, p_grad, p_peak, p_sum, p_delta,
    p_dkey, p_dvalue,
    scale, softcap, dropout, before, chunks, rows, H, G, T, S, K, V,
    query_b, query_h, query_t, key_b, key_g, key_s, value_b, value_g, value_s,
    mask_b, mask_h, mask_t, mask_s, gate_b, gate_t, gate_p, grad_b, grad_h, grad_t,
    dkey_n, dkey_g, dkey_s, dvalue_n, dvalue_g, dvalue_s,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, SKIPPED: tl.constexpr, GATED: tl.constexpr,
    CAPPED: tl.constexpr, DROPPED: tl.constexpr, PRECISION: tl.constexpr, BLOCK_T: tl.constexpr,
    BLOCK_S: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """Write what one chunk of an example's queries gives to some keys and values of one head.

    ``rows`` is the length of a chunk, of which an example has ``chunks``.
    """
    blocks = tl.cdiv(S, BLOCK_S)
    i_s = tl.program_id(0) % blocks
    i_ng = (tl.program_id(0) // blocks).to(tl.int64)
    i_n = i_ng // G
    i_g = i_ng % G
    i_b = i_n // chunks
    o_s = i_s * BLOCK_S + tl.arange(0, BLOCK_S)
    o_k = tl.arange(0, BLOCK_K)
    o_v = tl.arange(0, BLOCK_V)
    m_key = (o_s[:, None] < S) & (o_k[None, :] < K)
    m_value = (o_s[:, None] < S) & (o_v[None, :] < V)
    p_key += i_b * key_b + i_g * key_g
    p_value += i_b * value_b + i_g * value_g
    b_key = tl.load(p_key + o_s[:, None] * key_s + o_k[None, :], mask=m_key, other=0.0)
    b_value = tl.load(p_value + o_s[:, None] * value_s + o_v[None, :], mask=m_value, other=0.0)
    b_key = b_key.to(p_query.dtype.element_ty)
    b_value = b_value.to(p_query.dtype.element_ty)
    b_dkey = tl.zeros([BLOCK_S, BLOCK_K], tl.float32)
    b_dvalue = tl.zeros([BLOCK_S, BLOCK_V], tl.float32)
    first = (i_n % chunks).to(tl.int32) * rows
    end = tl.minimum(T, first + rows)
    if SKIPPED:
        first = tl.maximum(first, i_s * BLOCK_S // BLOCK_T * BLOCK_T)
    for n in range(H // G):
        i_h = i_g * (H // G) + n
        i_bh = i_b * H + i_h
        for start in range(first, end, BLOCK_T):
            o_t = start + tl.arange(0, BLOCK_T)
            m_query = (o_t[:, None] < end) & (o_k[None, :] < K)
            m_grad = (o_t[:, None] < end) & (o_v[None, :] < V)
            o_query = i_b * query_b + i_h * query_h + o_t[:, None] * query_t + o_k[None, :]
            o_grad = i_b * grad_b + i_h * grad_h + o_t[:, None] * grad_t + o_v[None, :]
            b_query = tl.load(p_query + o_query, mask=m_query, other=0.0)
            b_grad = tl.load(p_grad + o_grad, mask=m_grad, other=0.0)
            b_peak = tl.load(p_peak + i_bh * T + o_t, mask=o_t < end, other=0.0)
            b_sum = tl.load(p_sum + i_bh * T + o_t, mask=o_t < end, other=1.0)
            b_delta = tl.load(p_delta + i_bh * T + o_t, mask=o_t < end, other=0.0)
            b_weights, b_dscores, _, _ = _gradients(
                b_query, b_key, b_value, b_grad, b_peak, b_sum, b_delta,
                None if MASK == "none" else p_mask + i_b * mask_b + i_h * mask_h,
                p_gate + i_b * gate_b if GATED else None, p_seed,
                i_bh, o_t, o_s, before, end, S, mask_t, mask_s, gate_t, gate_p,
                scale, softcap, dropout, MASK, CAUSAL, GATED, CAPPED, DROPPED, PRECISION,
            )  # fmt: skip
            b_weights = tl.trans(b_weights.to(b_grad.dtype))
            b_dscores = tl.trans(b_dscores.to(b_query.dtype))
            b_dvalue += tl.dot(b_weights, b_grad, input_precision=PRECISION)
            b_dkey += tl.dot(b_dscores, b_query, input_precision=PRECISION)
    o_dkey = i_n * dkey_n + i_g * dkey_g + o_s[:, None] * dkey_s + o_k[None, :]
    o_dvalue = i_n * dvalue_n + i_g * dvalue_g + o_s[:, None] * dvalue_s + o_v[None, :]
    b_dkey = (b_dkey * scale).to(p_dkey.dtype.element_ty)
    tl.store(p_dkey + o_dkey, b_dkey, mask=m_key)
    tl.store(p_dvalue + o_dvalue, b_dvalue.to(p_dvalue.dtype.element_ty), mask=m_value)
