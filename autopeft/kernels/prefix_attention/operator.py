"""The operator that callers use: it takes the form for the device of its operands.

Axes as in ``naive.py``.
"""

import torch
from torch import Tensor

from autopeft.errors import KernelError
from autopeft.kernels.forms import check_operands, form_for, in_autocast
from autopeft.kernels.prefix_attention import eager, naive

_WIDEST = 256


def prefix_attention(  # noqa: PLR0917  # operands, in the order of the formula
    query_BHTK: Tensor,
    key_BGSK: Tensor,
    value_BGSK: Tensor,
    prefix: tuple[Tensor, Tensor] | None,
    mask_BHTS: Tensor | None,
    scale: float,
    dropout: float = 0.0,
    *,
    causal: bool = False,
    softcap: float | None = None,
    gate_BTP: Tensor | None = None,
) -> Tensor:
    """Return ``softmax(scale · Q [P_K; K]ᵀ) [P_V; V]``, shape ``(B, H, T, K)``.

    ``naive.prefix_attention`` says what the operands are. Under autocast queries, keys and values
    take its precision, and so does the output; a prefix keeps its own, in which its gradient comes
    back. Any strides will do. Dropout draws from the generator of the device. On a processor a
    softcap and gates have no form but the definition, and that is what a report names.

    Raises:
        KernelError: The operands do not fit together, or a kernel does not know them.
    """
    _check_kinds(query_BHTK, key_BGSK, value_BGSK, prefix, mask_BHTS, gate_BTP)
    query, key, value = (in_autocast(x) for x in (query_BHTK, key_BGSK, value_BGSK))
    _check_sequence(query, key, value)
    _check_beside(query, key, value, prefix, mask_BHTS, gate_BTP)
    _check_numbers(dropout, softcap)
    form = form_for(query)
    if form == "triton":
        return _by_triton(
            query, key, value, prefix, mask_BHTS, scale, dropout, causal, softcap, gate_BTP
        )
    operands = query, key, value, prefix, mask_BHTS, scale, dropout
    # Chosen here, and not inside of the eager form, so that a report names what runs. Without a
    # query torch's own attention gives a mask no gradient, not even of zeros.
    if form == "naive" or softcap is not None or gate_BTP is not None or query.numel() == 0:
        return naive.prefix_attention(*operands, causal=causal, softcap=softcap, gate_BTP=gate_BTP)
    return eager.prefix_attention(*operands, causal=causal)


def _by_triton(  # noqa: PLR0917  # as above
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prefix: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
    scale: float,
    dropout: float,
    causal: bool,
    softcap: float | None,
    gate: Tensor | None,
) -> Tensor:
    # A machine without a GPU has no triton.
    from autopeft.kernels.prefix_attention import registered

    if max(query.shape[3], value.shape[3]) > _WIDEST:
        raise KernelError(
            f"prefix_attention cannot take heads of width {max(query.shape[3], value.shape[3])}: "
            f"its kernels hold up to {_WIDEST} numbers of a head at once"
        )
    batch, heads, queries = query.shape[:3]
    if mask is not None:
        mask = mask.expand(batch, heads, queries, key.shape[2])
    if gate is not None:
        gate = gate.expand(batch, queries, -1)
    seed = None
    if dropout:
        seed = torch.randint(2**62, (1,), device=query.device)
    keys, values = prefix or (None, None)
    out: Tensor = registered.prefix_attention(
        query, key, value, keys, values, mask, gate, seed, scale, dropout, causal, softcap
    )[0]
    return out


def _check_kinds(  # noqa: PLR0917  # as above
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prefix: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
    gate: Tensor | None,
) -> None:
    keys, values = prefix or (None, None)
    added = mask if mask is None or mask.dtype != torch.bool else mask[None][:0].to(torch.float32)
    check_operands(
        "prefix_attention", query=query, key=key, value=value, prefix_key=keys,
        prefix_value=values, mask=added, gate=gate,
    )  # fmt: skip


def _check_numbers(dropout: float, softcap: float | None) -> None:
    if not 0 <= dropout < 1:
        raise KernelError(f"prefix_attention cannot drop {dropout} of its weights: write 0 to 0.99")
    if softcap is not None and not softcap > 0:
        raise KernelError(
            f"prefix_attention cannot bound scores by {softcap}: write a softcap above 0, or None"
        )


def _check_sequence(query: Tensor, key: Tensor, value: Tensor) -> None:
    if not query.dtype == key.dtype == value.dtype:
        raise KernelError(
            "prefix_attention needs query, key and value in one type, and got "
            f"{query.dtype}, {key.dtype} and {value.dtype}: convert two of them"
        )
    fits = (
        query.dim() == key.dim() == value.dim() == 4
        and len(query) == len(key) == len(value)
        and key.shape[1:3] == value.shape[1:3]
        and query.shape[3] == key.shape[3]
        and key.shape[1] > 0
        and query.shape[1] % key.shape[1] == 0
    )
    if not fits:
        raise KernelError(
            "prefix_attention needs query (B, H, T, K) and key and value (B, G, S, K) where G "
            f"divides H, and got {_shapes(query, key, value)}"
        )


def _check_beside(  # noqa: PLR0917  # as above
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prefix: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
    gate: Tensor | None,
) -> None:
    """Check what stands beside the sequence: prefix, mask and gate."""
    if prefix is not None:
        widths = [key.shape[1] * key.shape[3], value.shape[1] * value.shape[3]]
        if [p.shape[1:].numel() for p in prefix] != widths or len(prefix[0]) != len(prefix[1]):
            raise KernelError(
                "prefix_attention needs a prefix of as many keys as values, as wide as all heads "
                f"of the sequence, {widths[0]} and {widths[1]}, and got {_shapes(*prefix)}"
            )
    whole = (*query.shape[:3], key.shape[2])
    if mask is not None and not _spreads(mask, whole):
        raise KernelError(
            f"prefix_attention needs a mask that spreads to {whole}, and got {_shapes(mask)}"
        )
    if gate is None:
        return
    learned = 0 if prefix is None else len(prefix[0])
    if gate.dim() != 3 or gate.shape[2] != learned or not _spreads(gate, (*whole[::2], learned)):
        raise KernelError(
            f"prefix_attention needs gates on each of the {learned} positions of its prefix, "
            f"that spread to {(*whole[::2], learned)}, and got {_shapes(gate)}"
        )


def _spreads(tensor: Tensor, shape: tuple[int, ...]) -> bool:
    sizes = zip(tensor.shape, shape, strict=False)
    return tensor.dim() == len(shape) and all(size in {1, whole} for size, whole in sizes)


def _shapes(*tensors: Tensor) -> str:
    return " and ".join(str(tuple(tensor.shape)) for tensor in tensors)
