"""What a trial will cost, before any is run.

The backbone is built with random weights and few blocks, and takes some steps on the lengths of
the real data: once with one block a stack, and once with two. What a second block adds is taken for
every further one. No weights are loaded and nothing is trained.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autopeft.backbone import Backbone
from autopeft.methods.attending import ATTENTION
from autopeft.methods.inject import injected
from autopeft.search_spaces.baselines import BASELINES, fill
from autopeft.search_spaces.catalog import slots_of
from autopeft.study import Task, Where
from autopeft.tasks.reading import load_parts
from autopeft.training.batches import Batch, Examples
from autopeft.training.engine.blocks import run_on_halves
from autopeft.training.engine.halves import halves_in
from autopeft.training.footprint import saved_by
from autopeft.training.heads.choice import encode_part, model_for
from autopeft.training.heads.model import TaskModel
from autopeft.training.loop import autocast, dropout, steps_of
from autopeft.training.model_files import ModelFiles, find_model
from autopeft.training.pretrained import auto_class, check_kind, load_reader
from autopeft.training.room import spare_of
from autopeft.training.shape import architecture_for, shape_of
from autopeft.training.towers import tower_of
from autopeft.trial import Recipe

_REPEATS = 5
_RUNTIME_BYTES = 600_000_000  # Python, torch and transformers before any model is loaded
# What configurations of transformers call the number of blocks, of all of them or of a stack.
_DEPTHS = (
    *("num_hidden_layers", "num_layers", "num_decoder_layers"),
    *("encoder_layers", "decoder_layers"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What one trial is expected to cost on this machine.

    ``tokens`` are those of an example, ``memory`` is the peak of the process in bytes, on the
    longest batch of the data. Under a limit a batch may be taken in pieces of ``examples``, and
    blocks may run ``twice``; no ``examples`` at once are none that there is room for.
    """

    seconds: float
    steps: int
    tokens: float
    memory: int
    examples: int
    twice: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost:
    """Seconds for a typical batch, and bytes.

    ``saved`` is what the longest batch keeps, ``stays`` what the model's head and the copies in
    bf16 take.
    """

    seconds: float
    saved: int
    stays: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """The bytes of a process: what is there in any case, and what a batch keeps.

    ``apart`` is kept outside of the blocks, ``block`` by one of them, ``inputs`` come into it.
    """

    stays: float
    apart: float
    block: float
    inputs: float
    blocks: float
    batch: int

    def peak(self, examples: int, *, twice: bool) -> float:
        """Return what the process comes to with so many examples at once."""
        kept = self.block + self.blocks * self.inputs if twice else self.blocks * self.block
        return self.stays + examples / self.batch * (self.apart + kept)

    def within(self, limit: float) -> tuple[int, bool]:
        """Return how many examples are taken at once, 0 for none, and whether blocks run twice."""
        for twice in (False, True):
            each = self.peak(1, twice=twice) - self.stays
            if (most := int(min(self.batch, (limit - self.stays) / max(1.0, each)))) >= 1:
                pieces = math.ceil(self.batch / most)
                return math.ceil(self.batch / pieces), twice
        return 0, True


def estimate(
    task: Task, backbone: Backbone, where: Where, recipe: Recipe, limit: int | None = None
) -> Estimate:
    """Measure a shallow model on this machine and scale it up to a whole trial.

    ``limit`` are the bytes that the process may have, as in `room.Room`.
    """
    files = find_model(where.model)
    check_kind(files, task.kind)
    parts = load_parts(task, where.data, ["train"])
    reader = load_reader(files, task.kind)
    train = encode_part(reader, task, "train", parts["train"])
    order = np.argsort(train.lengths, kind="stable")
    typical = order[max(0, len(order) // 2 - recipe.batch_size // 2) :][: recipe.batch_size]
    longest = order[max(0, len(order) - recipe.batch_size) :]
    mean = float(train.lengths.mean())
    one, two = (_cost(task, files, recipe, train, typical, longest, depth) for depth in (1, 2))
    more = backbone.blocks / len(backbone.stacks) - 1
    seconds = one.seconds + max(0.0, two.seconds - one.seconds) * more
    per_token = seconds / (train.lengths[typical].max() * len(typical))
    training = per_token * mean * len(train) * recipe.epochs
    scoring = per_token / 3 * mean * task.examples[1]
    block = max(0, two.saved - one.saved)  # one in every stack
    longest_tokens = int(train.lengths[longest].max()) * len(longest)
    stays = one.stays + max(0, two.stays - one.stays) * more
    held = _Held(
        stays=_RUNTIME_BYTES + 4 * backbone.parameters + stays,
        apart=max(0, one.saved - block),
        block=block / len(backbone.stacks),
        inputs=backbone.width * longest_tokens * (2 if recipe.precision == "bf16" else 4),
        blocks=backbone.blocks,
        batch=len(longest),
    )
    allowed = math.inf if limit is None else limit - spare_of(limit)
    examples, twice = held.within(allowed)
    if twice:
        training *= 4 / 3  # the forward, a third of a step, once more
    return Estimate(
        seconds=float(training + scoring),
        steps=steps_of(len(train), recipe),
        tokens=mean,
        memory=round(held.peak(max(1, examples), twice=twice)),
        examples=examples,
        twice=twice,
    )


def _cost(  # noqa: PLR0917  # what is trained, and on what
    task: Task,
    files: ModelFiles,
    recipe: Recipe,
    train: Examples,
    typical: NDArray[np.int64],
    longest: NDArray[np.int64],
    depth: int,
) -> _Cost:
    whole = _shallow(task, files, depth)
    base = whole.base_model if task.head == "lm" else whole
    own = {id(parameter) for parameter in base.parameters()}
    head = sum(4 * p.numel() for p in whole.parameters() if id(p) not in own)
    with _tuned(task, files, recipe, train, whole, base) as model:
        seconds = _seconds(model, train, typical, recipe)
        halves = sum(half.nbytes for half in halves_in(cast("nn.Module", model)))
        return _Cost(
            seconds=seconds,
            saved=_saved_bytes(model, train.batch(longest), recipe),
            stays=head + halves,
        )


def _shallow(task: Task, files: ModelFiles, depth: int) -> Any:
    """Build the model with so many blocks in every stack."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(files.path, local_files_only=True)
    for part in (config, *(getattr(config, name) for name in config.sub_configs)):
        for name in _DEPTHS:
            if isinstance(getattr(part, name, None), int):
                setattr(part, name, depth)
        if getattr(part, "layer_types", None):
            part.layer_types = part.layer_types[:depth]
    # Embeddings cost nothing to train with, and a large vocabulary would take seconds to fill.
    with torch.device("meta"):
        model = auto_class(task.kind).from_config(config, attn_implementation=ATTENTION)
    model = model.to_empty(device="cpu")
    model.tie_weights()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.zero_() if not tensor.is_floating_point() else tensor.fill_(0.01)
    return model.requires_grad_(requires_grad=False)


@contextmanager
def _tuned(  # noqa: PLR0917  # what is trained, and on what
    task: Task, files: ModelFiles, recipe: Recipe, train: Examples, whole: Any, base: Any
) -> Iterator[TaskModel]:
    """Put plain LoRA of rank 8 and a fresh head in place."""
    reference = files.reference
    whole_shape = shape_of(base, architecture_for(base, reference), name=reference, digest="")
    shape = tower_of(whole_shape, task.kind)
    slots = slots_of(shape)
    names = [name.partition("@")[2] for name in BASELINES[0].slots]
    units = sum(s.unit for s in slots if s.method == "lora" and s.place in names)
    lora = fill(BASELINES[0], shape.blocks, slots, 8 * units * shape.blocks)
    if lora is None:
        raise ValueError("a rank of 8 always fits into its own count")
    run_on_halves(base, shape, whole.get_output_embeddings() if task.head == "lm" else None)
    generator = torch.Generator().manual_seed(0)
    with (
        dropout(whole, recipe.dropout),
        injected(base, shape, slots, lora, recipe.scales, generator),
    ):
        yield model_for(task, whole, train, generator)


def _seconds(model: TaskModel, train: Examples, rows: NDArray[np.int64], recipe: Recipe) -> float:
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        _step(model, train.batch(rows), recipe)
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:]))


def _saved_bytes(model: TaskModel, batch: Batch, recipe: Recipe) -> int:
    """Count what autograd keeps for the backward, beside weights and copies of them."""
    module = cast("nn.Module", model)  # as the socket says
    return saved_by(lambda: _loss(model, batch, recipe), (*module.parameters(), *halves_in(module)))


def _step(model: TaskModel, batch: Batch, recipe: Recipe) -> None:
    _loss(model, batch, recipe).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    model.zero_grad()


def _loss(model: TaskModel, batch: Batch, recipe: Recipe) -> Tensor:
    with autocast(recipe):
        return model.loss(batch)
