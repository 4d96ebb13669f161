"""How many trials make a pack, and how many of them go through the backbone in one pass."""

from collections.abc import Sequence

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Slot
from autopeft.training.fitting import COPIES, NUMBER_BYTES
from autopeft.training.trainer import Trainer
from autopeft.trial import Proposal

MOST_ABREAST = 2**19
"""Tokens times width that go through the backbone at once."""

SMALL = 2**17
"""Tokens times width of a batch up to which it gains something to go through with others.

A pass of several lanes saves what operators cost beside their arithmetic, and where LoRA is all
that they have, its products are larger. Above this size arithmetic is nearly all there is, and
memory grows; with other methods that is so above half of it (benchmarks/packing.py).
"""

_GROUPED = frozenset({"lora"})
_SHARE = 1 / 4


def packs(
    trainer: Trainer, slots: Sequence[Slot], proposals: Sequence[Proposal]
) -> list[list[int]]:
    """Divide trials into packs, by their places in the sequence; one that gains nothing is alone.

    Lanes take turns, so that the activations of one pass are there at a time, whatever the number
    of lanes. What adds up is what is trained: a pack may have a quarter for it of what the trainer
    may use.
    """
    room = _SHARE * trainer.room.free
    found: list[list[int]] = []
    pack: list[int] = []
    needed = 0.0
    for number, proposal in enumerate(proposals):
        if not gains(trainer, slots, proposal):
            found.append([number])
            continue
        trained = COPIES * NUMBER_BYTES * proposal.configuration.parameters(slots)
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
