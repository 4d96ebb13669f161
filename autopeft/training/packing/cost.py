"""How many trials make a pack, and how many of them go through the backbone in one pass."""

import os
from collections.abc import Sequence
from pathlib import Path

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Slot
from autopeft.training.trainer import Trainer
from autopeft.trial import Proposal

MOST_ABREAST = 2**20
"""Tokens times width that go through the backbone at once."""

SMALL = 2**18
"""Tokens times width of a batch up to which it gains something to go through with others.

A pass of several lanes saves what operators cost beside their arithmetic, and where LoRA is all
that they have, its products are larger. Above this size arithmetic is nearly all there is, and
memory grows; with other methods that is so above half of it (benchmarks/packing.py).
"""

_GROUPED = frozenset({"lora"})

_COPIES = 4  # of what is trained: itself, its gradient, and AdamW's two moments
_BYTES = 4
_SHARE = 1 / 4
_MEMORY = Path("/proc/meminfo")
_AVAILABLE = "MemAvailable:"


def packs(
    trainer: Trainer,
    slots: Sequence[Slot],
    proposals: Sequence[Proposal],
    memory: float | None = None,
) -> list[list[int]]:
    """Divide trials into packs, by their places in the sequence; one that gains nothing is alone.

    Lanes take turns, so that the activations of one pass are there at a time, whatever the number
    of lanes. What adds up is what is trained: a pack may have a quarter of ``memory`` bytes for it,
    of all that is available where that is None.
    """
    room = _SHARE * (_available() if memory is None else memory)
    found: list[list[int]] = []
    pack: list[int] = []
    needed = 0.0
    for number, proposal in enumerate(proposals):
        if not gains(trainer, slots, proposal):
            found.append([number])
            continue
        trained = _COPIES * _BYTES * proposal.configuration.parameters(slots)
        if pack and needed + trained > room:
            found.append(pack)
            pack, needed = [], 0.0
        pack.append(number)
        needed += trained
    return sorted([*found, *([pack] if pack else [])])


def gains(trainer: Trainer, slots: Sequence[Slot], proposal: Proposal) -> bool:
    """Tell whether a trial has something to share with others.

    That is the frozen blocks below its lowest, or a pass of small batches. With dropout there is
    neither: no two passes are the same, and random numbers come in an order of their own.
    """
    recipe, configuration = proposal.recipe, proposal.configuration
    if recipe.dropout > 0:
        return False
    if not any(configuration.sizes[0]):
        return True
    lengths = trainer.parts["train"].lengths
    tokens = recipe.batch_size * float(lengths.mean())
    methods = configuration.methods(slots)
    most = SMALL if _GROUPED.issuperset(methods) else SMALL / 2
    small = tokens * trainer.backbone.width <= most
    return small and all(METHODS[method].packs for method in methods)


def _available() -> float:
    """Return the bytes of memory that are not in use; half of all where that is not told."""
    try:
        lines = _MEMORY.read_text("utf-8").splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith(_AVAILABLE))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
