"""Tiny models with a head, and spaces of one method, for supernets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from autopeft.backbone import Backbone
from autopeft.search_spaces.catalog import METHODS, slots_of
from autopeft.search_spaces.checking import clashes, partners
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.genes import Gene
from autopeft.search_spaces.space import SearchSpace
from autopeft.study import Columns, Task
from autopeft.supernet.elastic import Supernet
from autopeft.training.batches import Batch
from autopeft.training.trainer import Trainer
from tests.models import Tiny, padded_inputs, recipe_of

TASK = Task(
    kind="tokens", metric="token_accuracy", columns=Columns(text="text", label="label"),
    labels=("O", "B"), head="tokens", max_length=16, digest="e" * 64, split_seed=0,
    examples=(3, 3, 0),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SameBatch:
    """Three examples, of which every batch is made, whatever rows are asked for."""

    inputs: dict[str, torch.Tensor]
    tokens: int

    @property
    def truth(self) -> Any:
        return np.zeros(3)

    @property
    def lengths(self) -> Any:
        return np.full(3, self.tokens)

    def __len__(self) -> int:
        return 3

    def batch(self, rows: Sequence[int]) -> Batch:
        labels = torch.arange(3 * self.tokens).reshape(3, self.tokens) % 2
        words = tuple(tuple((n % 2, n) for n in range(self.tokens)) for _ in range(3))
        return Batch(inputs=self.inputs, labels=labels, rows=np.asarray(rows), words=words)


def trainer_on(small: Tiny) -> Trainer:
    """Put a head on every token of a tiny model of any family."""
    inputs = padded_inputs(small.backbone.architecture)
    with torch.no_grad():
        tokens = small.model(**inputs).last_hidden_state.shape[1]
    part = SameBatch(inputs=inputs, tokens=tokens)
    return Trainer(TASK, small.backbone, small.model, {"train": part, "validation": part})


def space_of(backbone: Backbone, *methods: str, sizes: Sequence[int] = (0, 1, 2, 3)) -> SearchSpace:
    """Return the space in which every cell of some methods is free.

    Of slots that clash the first is taken; what is nothing alone comes with what it acts on.
    """
    every = slots_of(backbone)
    own = {slot.name for slot in every if slot.method in methods}
    for column, allowed in partners(every):
        if every[column].name in own:
            served = [every[i].name for i in allowed if METHODS[every[i].method].identity]
            own = own | {served[0]} if served else own - {every[column].name}
    kept = tuple(slot for slot in every if slot.name in own)
    dropped = {second for _, second in clashes(kept)}
    slots = tuple(slot for column, slot in enumerate(kept) if column not in dropped)
    genes = tuple(
        Gene(
            name=f"{block} {slot.name}",
            choices=tuple(size for size in sizes if size <= (slot.most or size)),
            cells=((block, column),),
        )
        for column, slot in enumerate(slots)
        for block in range(*slot.blocks)
    )
    return SearchSpace(
        name="-".join(methods), summary="", blocks=backbone.blocks, slots=slots, genes=genes
    )


def falling(space: SearchSpace, first: int = 2) -> Configuration:
    """Return a table whose sizes are ``first`` in the first row and one less in every later."""
    return Configuration(
        tuple(
            tuple(
                min(max(1, first - block), slot.most or first) if slot.has(block) else 0
                for slot in space.slots
            )
            for block in range(space.blocks)
        )
    )


def perturbed(net: Supernet, space: SearchSpace, seed: int = 1) -> Supernet:
    """Make all that the space can hold at its largest, and move every number off its start."""
    for first in (1, 2, 3):  # sizes that have weights of their own too
        with net.active(falling(space, first)):
            pass
    generator = torch.Generator().manual_seed(seed)
    for name in sorted(net.tensors):
        value = net.tensors[name]
        if value.is_floating_point():
            upwards = 5 if name.endswith("down_bias") else 0
            value.add_(0.1 * torch.randn(value.shape, generator=generator) + upwards)
    return net


def supernet_on(
    small: Tiny, space: SearchSpace, *, ceiling: int = 10**9, **recipe: Any
) -> Supernet:
    """Build a supernet over a tiny model."""
    return Supernet(trainer_on(small), space, ceiling, recipe_of(**recipe), seed=0)
