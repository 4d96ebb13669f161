"""The processes that train one model together, each on its part of every batch.

``accelerate launch`` and ``torchrun`` start them and say so in the environment. What is trained is
small, so the sum of all gradients is taken in one exchange after each batch. All processes draw the
same batches and take the same steps; the first of them writes.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn


def is_first() -> bool:
    """Tell whether this is the process that writes and speaks, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """This process among ``size`` others."""

    rank: int = 0
    size: int = 1

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add up the gradients of all processes, in all of them."""
        if self.size == 1:
            return
        pieces = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        together = torch.cat([piece.flatten() for piece in pieces])
        distributed.all_reduce(together)
        start = 0
        for parameter in parameters:
            end = start + parameter.numel()
            parameter.grad = together[start:end].view_as(parameter).clone()
            start = end

    def sum_of(self, value: float) -> float:
        """Add up a number of all processes."""
        if self.size == 1:
            return value
        found = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(found)
        return float(found)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            distributed.barrier()


ALONE = Team()


@contextmanager
def team() -> Iterator[Team]:
    """Join the processes that were launched together, for the time of a ``with`` block."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    distributed.init_process_group("gloo")
    try:
        yield Team(rank=distributed.get_rank(), size=size)
    finally:
        distributed.destroy_process_group()
