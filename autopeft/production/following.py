"""What a few methods want of a training loop, for the Trainer of transformers.

AdaLoRA adds a penalty to the loss and prunes ranks as training goes on, DyLoRA draws another rank
every step. All other methods want nothing, and need no callback.
"""

from typing import Any

from torch import nn
from transformers import TrainerCallback

from autopeft.production.applying import applied


class FollowPlan(TrainerCallback):  # type: ignore[misc]  # transformers is untyped to mypy
    """Give to `Trainer(callbacks=...)`. The penalty's gradients are added after clipping."""

    def __init__(self, model: nn.Module) -> None:
        self._injection = applied(model).injection

    def on_pre_optimizer_step(self, *_args: Any, **_kwargs: Any) -> None:
        """Add what the methods add to the loss of a step."""
        if (penalty := self._injection.penalty()) is not None:
            penalty.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def on_optimizer_step(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        """Tell the methods that a step is done, while its gradients are there."""
        self._injection.stepped(state.global_step + 1, state.max_steps)
