"""Calls of every operator with made-up operands, held against its definition in float64.

`benchmarks/gpu.py` times these calls and `tests/kernels/test_on_gpu.py` only checks them. On a
machine without a GPU the same code checks the eager forms, which is how it is itself tested.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autopeft.kernels import cost
from autopeft.kernels.bottleneck import naive as bottleneck_naive
from autopeft.kernels.bottleneck.naive import Norm
from autopeft.kernels.bottleneck.operator import bottleneck
from autopeft.kernels.cost import Passes
from autopeft.kernels.gated_sum import naive as gated_sum_naive
from autopeft.kernels.gated_sum.operator import gated_sum
from autopeft.kernels.grouped_lora_linear import naive as grouped_naive
from autopeft.kernels.grouped_lora_linear.operator import grouped_lora_linear
from autopeft.kernels.lora_linear import naive as lora_naive
from autopeft.kernels.lora_linear.operator import lora_linear
from autopeft.kernels.prefix_attention import naive as attention_naive
from autopeft.kernels.prefix_attention.operator import prefix_attention
from autopeft.kernels.scale_shift import naive as scale_shift_naive
from autopeft.kernels.scale_shift.operator import scale_shift

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
# A result is rounded to its type (2^-9 in bf16, 2^-12 in fp16), and what it is made of once or
# twice before; sums of thousands in fp32 err by some 1e-5. TF32, which is not asked for, would err
# by 1e-3.
TOLERANCES = {torch.float32: 5e-5, torch.float16: 5e-3, torch.bfloat16: 3e-2}

Operands = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A call of an operator: how its operands look, the operator, its definition, and its cost.

    ``shapes`` are those of all operands; the ones in ``frozen`` get no gradient, those in
    ``streams`` are in the type under test, and the others are trained, in fp32.
    """

    name: str
    shapes: dict[str, tuple[int, ...]]
    streams: frozenset[str]
    operator: Callable[[Operands], Tensor]
    definition: Callable[[Operands], Tensor]
    cost: Callable[[int], Passes]
    frozen: frozenset[str] = frozenset()

    def operands(self, dtype: torch.dtype, device: torch.device, seed: int = 0) -> Operands:
        """Draw the operands: factors are small, and ratios near one, as training leaves them."""
        generator = torch.Generator(device).manual_seed(seed)
        drawn = {}
        for name, shape in self.shapes.items():
            scale = 1.0 if name in {"x", "residual"} else shape[-1] ** -0.5
            x = scale * torch.randn(shape, generator=generator, device=device)
            x = 1 + x if name == "ratio" else x
            x = x.to(dtype) if name in self.streams else x
            drawn[name] = x.requires_grad_(name not in self.frozen)
        return drawn


def results(call: Callable[[Operands], Tensor], operands: Operands, seed: int = 1) -> Operands:
    """Return the output of a call, and its gradients by the names of the operands."""
    out = call(operands)
    generator = torch.Generator(out.device).manual_seed(seed)
    upstream = torch.randn(out.shape, generator=generator, device=out.device).to(out.dtype)
    trained = {name: x for name, x in operands.items() if x.requires_grad}
    grads = torch.autograd.grad(out, list(trained.values()), upstream)
    return {"output": out.detach(), **dict(zip(trained, grads, strict=True))}


def differences(case: Case, dtype: torch.dtype, device: torch.device) -> list[str]:
    """Say what of a call is not what its definition gives in float64; nothing where all is."""
    operands = case.operands(dtype, device)
    exact = {
        name: x.detach().double().requires_grad_(x.requires_grad) for name, x in operands.items()
    }
    found = results(case.operator, operands)
    expected = results(case.definition, exact)
    said = []
    for name, value in expected.items():
        actual = found[name]
        if actual.shape != value.shape:
            said.append(f"{case.name}: {name} has shape {tuple(actual.shape)}")
            continue
        error = ((actual.double() - value).abs().max() / value.abs().max()).item()
        if not error <= TOLERANCES[dtype]:  # NaN is no small error
            said.append(f"{case.name} in {dtype}: {name} is off by {error:.1e} of its largest")
    return said


def lora(
    rows: int, inputs: int, outputs: int, rank: int, *, ratio: bool = False, residual: bool = False
) -> Case:
    """Return a call of LoRA's linear map, or with a ratio of DoRA's."""
    shapes = {
        "x": (rows, inputs), "weight": (outputs, inputs), "bias": (outputs,),
        "down": (rank, inputs), "up": (rank, outputs),
        **({"ratio": (outputs,)} if ratio else {}),
        **({"residual": (rows, outputs)} if residual else {}),
    }  # fmt: skip

    def call(way: Callable[..., Tensor]) -> Callable[[Operands], Tensor]:
        names = ("x", "weight", "bias", "down", "up")
        return lambda has: way(
            *(has[n] for n in names), 2.0, ratio_O=has.get("ratio"), residual_O=has.get("residual")
        )

    return Case(
        name=f"lora_linear {rows} x {inputs} -> {outputs}, rank {rank}"
        + (", ratio" if ratio else "")
        + (", residual" if residual else ""),
        shapes=shapes,
        streams=frozenset({"x", "weight", "bias", "residual"}),
        frozen=frozenset({"weight", "bias"}),
        operator=call(lora_linear),
        definition=call(lora_naive.lora_linear),
        cost=lambda width: cost.lora_linear(
            rows, inputs, outputs, rank, width=width, ratio=ratio, residual=residual
        ),
    )


def grouped(rows: Sequence[int], ranks: Sequence[int], inputs: int, outputs: int) -> Case:
    """Return a call of one linear map with a low-rank product for each segment."""
    shapes = {
        "x": (sum(rows), inputs), "weight": (outputs, inputs), "bias": (outputs,),
        "down": (sum(ranks), inputs), "up": (sum(ranks), outputs),
    }  # fmt: skip
    scales = [1.0 + segment for segment in range(len(rows))]

    def call(way: Callable[..., Tensor]) -> Callable[[Operands], Tensor]:
        return lambda has: way(*(has[n] for n in shapes), scales, list(ranks), list(rows))

    return Case(
        name=f"grouped_lora_linear {sum(rows)} x {inputs} -> {outputs}, ranks "
        + " ".join(map(str, ranks)),
        shapes=shapes,
        streams=frozenset({"x", "weight", "bias"}),
        frozen=frozenset({"weight", "bias"}),
        operator=call(grouped_lora_linear),
        definition=call(grouped_naive.grouped_lora_linear),
        cost=lambda width: cost.grouped_lora_linear(rows, ranks, inputs, outputs, width=width),
    )


def adapter(
    rows: int, width: int, hidden: int, activation: str = "gelu", *, norm: bool = False
) -> Case:
    """Return a call of a serial adapter: from the stream, and added to it."""
    shapes = {
        "x": (rows, width), "down": (hidden, width), "bias": (hidden,), "up": (hidden, width),
        "shift": (width,), "residual": (rows, width),
        **({"norm": (width,), "norm_shift": (width,)} if norm else {}),
    }  # fmt: skip

    def call(way: Callable[..., Tensor]) -> Callable[[Operands], Tensor]:
        names = ("x", "down", "bias", "up", "shift")
        return lambda has: way(
            *(has[n] for n in names),
            0.5,
            activation,
            norm=Norm(has["norm"], has["norm_shift"]) if norm else None,
            residual_O=has["residual"],
        )

    return Case(
        name=f"bottleneck {rows} x {width}, hidden {hidden}, {activation}"
        + (", norm" if norm else ""),
        shapes=shapes,
        streams=frozenset({"x", "residual"}),
        operator=call(bottleneck),
        definition=call(bottleneck_naive.bottleneck),
        cost=lambda each: cost.bottleneck(
            rows, width, hidden, width, width=each, residual=True, norm=norm
        ),
    )


def attention(
    *, batch: int, heads: int, key_heads: int, tokens: int, prefix: int, head: int, causal: bool
) -> Case:
    """Return a call of self-attention that also sees a prefix."""
    learned = (prefix, key_heads * head)
    shapes = {
        "query": (batch, heads, tokens, head), "key": (batch, key_heads, tokens, head),
        "value": (batch, key_heads, tokens, head), "keys": learned, "values": learned,
    }  # fmt: skip

    def call(way: Callable[..., Tensor]) -> Callable[[Operands], Tensor]:
        return lambda has: way(
            has["query"], has["key"], has["value"], (has["keys"], has["values"]), None, head**-0.5,
            causal=causal,
        )  # fmt: skip

    return Case(
        name=f"prefix_attention {batch} x {heads}/{key_heads} heads of {head}, {tokens} tokens, "
        f"prefix {prefix}{', causal' if causal else ''}",
        shapes=shapes,
        streams=frozenset({"query", "key", "value"}),
        operator=call(prefix_attention),
        definition=call(attention_naive.prefix_attention),
        cost=lambda width: cost.prefix_attention(
            batch=batch, heads=heads, key_heads=key_heads, queries=tokens, keys=tokens,
            prefix=prefix, head=head, width=width, causal=causal,
        ),
    )  # fmt: skip


def scaling(rows: int, features: int, *, shift: bool = True) -> Case:
    """Return a call that scales and shifts every feature."""
    names = ("scale", "shift") if shift else ("scale",)

    def call(way: Callable[..., Tensor]) -> Callable[[Operands], Tensor]:
        return lambda has: way(has["x"], has["scale"], has.get("shift"))

    return Case(
        name=f"scale_shift {rows} x {features}{'' if shift else ', no shift'}",
        shapes={"x": (rows, features), **dict.fromkeys(names, (features,))},
        streams=frozenset({"x"}),
        operator=call(scale_shift),
        definition=call(scale_shift_naive.scale_shift),
        cost=lambda width: cost.scale_shift(rows, features, width=width, shift=shift),
    )


def gates(rows: int, features: int, deltas: int) -> Case:
    """Return a call that adds streams, each times a gate for every row."""
    streams = {"x": (rows, features), **{f"delta {n}": (rows, features) for n in range(deltas)}}
    weighing = {f"gate {n}": (rows,) for n in range(deltas)}

    def call(way: Callable[..., Tensor]) -> Callable[[Operands], Tensor]:
        return lambda has: way(
            has["x"], [has[f"delta {n}"] for n in range(deltas)], [has[n] for n in weighing]
        )

    return Case(
        name=f"gated_sum {rows} x {features}, {deltas} streams",
        shapes={**streams, **weighing},
        streams=frozenset(streams),
        operator=call(gated_sum),
        definition=call(gated_sum_naive.gated_sum),
        cost=lambda width: cost.gated_sum(rows, features, deltas, width=width, gates=rows * deltas),
    )


ODD = (
    lora(63, 500, 129, 5),
    lora(63, 500, 129, 5, residual=True),
    lora(1, 17, 33, 1),
    lora(63, 500, 129, 5, ratio=True),
    lora(63, 500, 129, 70, ratio=True, residual=True),
    grouped((17, 1, 45), (5, 1, 16), 100, 63),
    grouped((17, 9, 37), (0, 3, 8), 100, 63),
    *(adapter(63, 100, 17, activation) for activation in ("relu", "gelu", "gelu_tanh", "silu")),
    adapter(63, 500, 5, norm=True),
    attention(batch=2, heads=6, key_heads=2, tokens=63, prefix=5, head=40, causal=False),
    attention(batch=2, heads=4, key_heads=4, tokens=129, prefix=17, head=64, causal=True),
    scaling(63, 500),
    scaling(63, 17, shift=False),
    gates(63, 500, 3),
)
"""Sizes that are no multiples of any block."""

USUAL = (
    lora(4096, 768, 768, 8),
    lora(4096, 768, 3072, 8),
    lora(4096, 4096, 4096, 16),
    lora(4096, 4096, 14336, 16, residual=True),
    lora(4096, 768, 768, 8, ratio=True),
    lora(4096, 4096, 4096, 16, ratio=True),
    grouped((512,) * 8, (4, 8, 8, 8, 16, 16, 32, 64), 768, 768),
    adapter(4096, 768, 64),
    adapter(4096, 4096, 64, norm=True),
    attention(batch=32, heads=12, key_heads=12, tokens=128, prefix=16, head=64, causal=False),
    attention(batch=2, heads=32, key_heads=8, tokens=2048, prefix=16, head=128, causal=True),
    scaling(4096, 4096),
    gates(4096, 768, 3),
)
"""Sizes of BERT-base and of Llama-3 8B, 4,096 tokens at once."""
