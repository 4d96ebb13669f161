"""What a trial will cost, before any is run.

One block of the backbone is built with random weights and takes a few steps on the lengths of the
real data; time and memory are those of the block times the number of blocks. No weights are
loaded and nothing is trained.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from autopeft.backbone import Backbone
from autopeft.methods.inject import injected
from autopeft.methods.prefix import ATTENTION
from autopeft.search_spaces.baselines import BASELINES, fill
from autopeft.search_spaces.catalog import slots_of
from autopeft.study import Task, Where
from autopeft.tasks.reading import load_parts
from autopeft.training.batches import Batch, Encoded, collate, encode
from autopeft.training.head import TaskModel
from autopeft.training.loop import dropout, steps_of
from autopeft.training.model_files import find_model
from autopeft.training.pretrained import load_tokenizer
from autopeft.trial import Recipe

_REPEATS = 5
_RUNTIME_BYTES = 400_000_000  # Python, torch and transformers before any model is loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What one trial is expected to cost on this machine.

    ``memory`` is the peak of the process in bytes, on the longest batch of the data.
    """

    seconds: float
    steps: int
    tokens: float
    memory: int


def estimate(task: Task, backbone: Backbone, where: Where, recipe: Recipe) -> Estimate:
    """Measure one block on this machine and scale it up to a whole trial."""
    files = find_model(where.model)
    parts = load_parts(task, where.data, ["train", "validation"])
    tokenizer = load_tokenizer(files)
    train = encode(tokenizer, parts["train"], task.max_length)
    order = np.argsort(train.lengths, kind="stable")
    middle = len(order) // 2
    typical = _rows(order, max(0, middle - recipe.batch_size // 2), recipe.batch_size)
    longest = _rows(order, max(0, len(order) - recipe.batch_size), recipe.batch_size)
    mean = float(train.lengths.mean())
    with _one_block(task, backbone, where, recipe, train) as model:
        batch = collate(train, typical)
        per_token = _seconds(model, batch, recipe) / batch.inputs["input_ids"].numel()
        saved = _saved_bytes(model, collate(train, longest), recipe)
    steps = steps_of(len(train), recipe)
    tokens = mean * len(train) * recipe.epochs
    training = per_token * tokens * backbone.blocks
    scoring = per_token / 3 * mean * task.examples[1] * backbone.blocks
    memory = _RUNTIME_BYTES + 4 * backbone.parameters + saved * backbone.blocks
    return Estimate(seconds=training + scoring, steps=steps, tokens=mean, memory=memory)


def _rows(order: np.ndarray, start: int, size: int) -> np.ndarray:
    return order[start : start + size]


@contextmanager
def _one_block(
    task: Task, backbone: Backbone, where: Where, recipe: Recipe, train: Encoded
) -> Iterator[TaskModel]:
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(find_model(where.model).path, local_files_only=True)
    config.num_hidden_layers = 1
    # Embeddings cost nothing to train with, and a large vocabulary would take seconds to fill.
    with torch.device("meta"):
        model = AutoModel.from_config(config, attn_implementation=ATTENTION)
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.zero_() if not tensor.is_floating_point() else tensor.fill_(0.01)
    single = replace(backbone, blocks=1)
    slots = slots_of(single)
    lora = fill(
        BASELINES[0], 1, slots, 8 * sum(s.unit for s in slots if s.name in BASELINES[0].slots)
    )
    if lora is None:
        raise ValueError("a rank of 8 always fits into its own count")
    generator = torch.Generator().manual_seed(0)
    with (
        dropout(model, recipe.dropout),
        injected(model, single, slots, lora, recipe.scales, generator),
    ):
        yield TaskModel(model, task, train, generator)


def _seconds(model: TaskModel, batch: Batch, recipe: Recipe) -> float:
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        _step(model, batch, recipe)
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:]))


def _saved_bytes(model: TaskModel, batch: Batch, recipe: Recipe) -> int:
    """Count what autograd keeps for the backward of one block."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _step(model, batch, recipe)
    return sum(size for pointer, size in kept.items() if pointer not in weights)


def _step(model: TaskModel, batch: Batch, recipe: Recipe) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.precision == "bf16"):
        loss = model.loss(batch)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    model.zero_grad()
