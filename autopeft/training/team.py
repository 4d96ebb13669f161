"""The processes that train one model together, each on its part of every batch.

``accelerate launch`` and ``torchrun`` start them and say so in the environment. What is trained is
small, so the sum of all gradients is taken in one exchange after each batch. All processes draw the
same batches and take the same steps; the first of them writes.

Where they shard, each holds its part of every block's frozen weights, and a block is put together
only while it runs (PyTorch's ``fully_shard``). What is trained is whole in all of them, as ever.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from autopeft.errors import OptionError


def is_first() -> bool:
    """Tell whether this is the process that writes and speaks, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """This process among ``size`` others."""

    rank: int = 0
    size: int = 1
    shards: bool = False

    def shard(self, blocks: Iterable[nn.Module], kept: Iterable[Tensor]) -> None:
        """Leave each process its part of the blocks' weights, but for what is ``kept`` whole.

        All processes must run the blocks equally often from here on.
        """
        mesh = init_device_mesh("cpu", (self.size,))
        whole = {tensor for tensor in kept if isinstance(tensor, nn.Parameter)}
        for block in dict.fromkeys(blocks):
            fully_shard(block, mesh=mesh, ignored_params=whole)

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
def team(*, shards: bool = False) -> Iterator[Team]:
    """Join the processes that were launched together, for the time of a ``with`` block.

    They shard where that is asked for, here or by ``accelerate launch --use_fsdp``.

    Raises:
        OptionError: It is asked for here, and there is one process.
    """
    asked = shards or os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        if shards:
            raise OptionError(
                "--shard divides the weights among processes, and there is one: start several "
                "with torchrun --nproc-per-node N -m autopeft train ..."
            )
        yield ALONE
        return
    distributed.init_process_group("gloo")
    try:
        yield Team(rank=distributed.get_rank(), size=size, shards=asked)
    finally:
        distributed.destroy_process_group()
