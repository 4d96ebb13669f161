"""What a configuration costs, where that is an objective: operations, memory and time.

Operations and memory are counted and come out equal every time; time is measured and does not.
"""

import math
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from autopeft.kernels.product import POINTWISE
from autopeft.methods.inject import Injection
from autopeft.study import Objective
from autopeft.training.batches import Batch, Examples
from autopeft.training.engine.halves import halves_in
from autopeft.training.fitting import COPIES
from autopeft.training.footprint import saved_by
from autopeft.training.heads.model import TaskModel
from autopeft.training.loop import autocast
from autopeft.trial import Recipe

_WARMUPS = 2
_REPEATS = 15


def costs_of(  # noqa: PLR0917  # what is used, and on what
    model: TaskModel,
    injection: Injection,
    train: Examples,
    validation: Examples,
    recipe: Recipe,
    objectives: Collection[Objective],
) -> dict[str, float]:
    """Measure those of ``flops``, ``memory`` and ``latency`` that are objectives.

    ``flops`` are those of the forward of one validation example of median length: a multiplication
    and an addition for each term of a product of matrices, of attention and of a convolution. What
    works element by element is not counted, so that methods that only scale or shift cost nothing,
    nor are Fourier transforms and solvers. ``memory`` are the bytes that a
    step on the longest training examples keeps: what is trained, four times over, and what is
    saved for the backward; frozen weights are not among it, because every configuration has them.
    ``latency`` is the median of the seconds that the forward of that one example takes, modules
    in place and nothing merged. It is noisy: other processes on the machine are in it.

    Call it when training has ended: networks that fall away then have fallen away afterwards.
    """
    found: dict[str, float] = {}
    if "memory" in objectives:
        found["memory"] = float(_kept(model, injection, train, recipe))
    if "flops" in objectives or "latency" in objectives:
        injection.load(injection.state())  # scaffolds go: nothing computes them later
        model.eval()
        example = validation.batch([_by_length(validation)[(len(validation) - 1) // 2]])
        if "flops" in objectives:
            found["flops"] = float(_operations(model, example, recipe))
        if "latency" in objectives:
            found["latency"] = _seconds(model, example, recipe)
    return found


def _by_length(part: Examples) -> list[int]:
    """Return the rows of a part, the shortest first."""
    return [int(row) for row in np.argsort(part.lengths, kind="stable")]


def _operations(model: TaskModel, example: Batch, recipe: Recipe) -> int:
    counter = FlopCounterMode(display=False, custom_mapping=_ALSO)
    # The counter follows modules through the graph, so gradients stay enabled.
    with torch.enable_grad(), autocast(recipe), counter:
        model.judge(example)
    return counter.get_total_flops()


def _seconds(model: TaskModel, example: Batch, recipe: Recipe) -> float:
    times = []
    with torch.inference_mode(), autocast(recipe):
        for _ in range(_WARMUPS + _REPEATS):
            began = time.perf_counter()
            model.judge(example)
            times.append(time.perf_counter() - began)
    return float(np.median(times[_WARMUPS:]))


def _kept(model: TaskModel, injection: Injection, train: Examples, recipe: Recipe) -> int:
    trained = [*(p for group in injection.by_method().values() for p in group)]
    trained += model.head().values()
    return COPIES * sum(tensor.nbytes for tensor in trained) + _saved(
        model, injection, train, recipe
    )


def _saved(model: TaskModel, injection: Injection, train: Examples, recipe: Recipe) -> int:
    """Count what autograd keeps of a step's forward, each storage once."""
    module = cast("nn.Module", model)  # as the socket says
    known = (*module.parameters(), *module.buffers(), *halves_in(module))
    with _training(model):
        return saved_by(lambda: _loss(model, injection, _longest(train, recipe), recipe), known)


def _longest(train: Examples, recipe: Recipe) -> Batch:
    """Return the batch that needs the most memory."""
    return train.batch(_by_length(train)[-recipe.batch_size :])


def _loss(model: TaskModel, injection: Injection, batch: Batch, recipe: Recipe) -> Tensor:
    with autocast(recipe):
        loss = model.loss(batch)
        added = injection.penalty()
    return loss if added is None else loss + added


@contextmanager
def _training(model: TaskModel) -> Iterator[None]:
    """Switch to training, with random numbers of its own for dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.train()
        yield


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Count the two products of attention, from shapes ``(batch, heads, tokens, width)``."""
    batch, heads, queries, width = query
    return int(2 * batch * heads * queries * key[2] * (width + value[3]))


def _product(x: Any, weight: Any, *_: Any, **__: Any) -> int:
    """Count a frozen matrix's product, from shapes ``(..., inputs)`` and ``(outputs, inputs)``."""
    return int(2 * math.prod(x) * weight[0])


def _added(_: Any, x: Any, weight: Any, *__: Any, **___: Any) -> int:
    """Count a product that is added in place, of shapes ``(rows, I)`` and ``(I, O)``."""
    return int(2 * math.prod(x) * weight[1])


# What torch's counter leaves out: the fused attention of CPUs, what is added in place, and oneDNN's
# products.
_ALSO: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,  # noqa: SLF001
    torch.ops.aten.addmm_: _added,
}
if POINTWISE:
    _ALSO[POINTWISE] = _product
