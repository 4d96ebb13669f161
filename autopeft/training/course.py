"""The long training of a plan: kept on the way, ended early, written to TensorBoard."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import torch
from torch import nn

from autopeft.errors import OptionError, PlanError
from autopeft.files import write_json
from autopeft.study import Task
from autopeft.tasks.metrics import METRICS
from autopeft.training import checkpoint
from autopeft.training.batches import Examples
from autopeft.training.engine.blocks import run_on_own_weights
from autopeft.training.held import Bits
from autopeft.training.pausing import Paused
from autopeft.training.team import ALONE, Team
from autopeft.training.trainer import Tuned

_FOLDER = "checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a plan is trained, beyond what it says.

    Every batch is taken in ``accumulate`` pieces, which need less memory and give the same to
    rounding. The state is kept every ``checkpoint_every`` steps. Training ends when ``patience``
    epochs in a row were no better on the validation part than the best; the best is what is left.
    ``logs`` writes losses, rates and scores for TensorBoard. ``memory`` are the bytes that the
    process may use; None for what is free. Several processes ``shard`` the frozen weights among
    them; ``quantise`` holds the frozen matrices in fewer bits.
    """

    accumulate: int = 1
    checkpoint_every: int | None = None
    patience: int | None = None
    logs: bool = False
    memory: int | None = None
    shard: bool = False
    quantise: Bits | None = None


class LongCourse:
    """One training of a plan on its way. ``digest`` names what is trained."""

    def __init__(
        self,
        how: How,
        folder: Path,
        digest: str,
        team: Team = ALONE,
        blocks: Sequence[nn.Module] = (),
    ) -> None:
        if how.logs and find_spec("tensorboard") is None:
            raise OptionError("--logs needs the package tensorboard: pip install tensorboard")
        self.pieces, self.team = how.accumulate, team
        self._how, self._folder, self._blocks = how, folder / _FOLDER, blocks
        self._paused = Paused(self._folder / "state.safetensors", digest)
        self._digest = digest
        self._scores: dict[int, float] = {}
        self._writer = self._log(folder) if how.logs and team.rank == 0 else None

    def begin(
        self, tuned: Tuned, optimizer: torch.optim.Optimizer, task: Task, parts: Mapping[Any, Any]
    ) -> int:
        """Take up what was kept, and return how many steps are done.

        Raises:
            PlanError: Its state is to be kept, and a method has more state than its parameters.
        """
        self._tuned, self._optimizer, self._task = tuned, optimizer, task
        if self.team.shards:
            run_on_own_weights(self._blocks)
            self.team.shard(self._blocks, tuned.injection.tensors())
        self._validation: Examples = parts["validation"]
        self._epoch = -(-len(parts["train"]) // tuned.recipe.batch_size)
        if self._how.checkpoint_every is None:
            return 0
        if not tuned.injection.resumable:
            raise PlanError(
                "the plan has a method that keeps account of its steps or chose something by the "
                "data, and cannot go on from a checkpoint: leave --checkpoint-every out"
            )
        done = self._paused.load(optimizer)
        self._scores = {step: score for step, score in self._kept_scores() if step <= done}
        self.team.wait()
        return done

    def stepped(self, step: int, loss: float) -> None:
        """Write down what a step gave."""
        if self._writer:
            self._writer.add_scalar("loss", loss, step)
            for group in self._optimizer.param_groups:
                self._writer.add_scalar(f"rate/{group['name']}", group["lr"], step)

    def ends(self, step: int) -> bool:
        """Score where an epoch ends, keep the state where it is time, and tell whether to stop."""
        if step % self._epoch == 0 and (self._how.patience or self._writer):
            self._score(step)
        if self._how.checkpoint_every and step % self._how.checkpoint_every == 0:
            self._keep(step)
        return bool(self._how.patience) and self._since_best() >= (self._how.patience or 0)

    def settle(self) -> int | None:
        """Go back to the best epoch where training may end early, and return its step."""
        if not (self._how.patience and self._scores):
            return None
        self.team.wait()
        checkpoint.load(self._tuned, self._folder / "best.safetensors")
        return self._best()

    def forget(self) -> None:
        """Remove what was kept on the way: the weights are written."""
        self.team.wait()
        if self._writer:
            self._writer.close()
        if self.team.rank == 0:
            rmtree(self._folder, ignore_errors=True)

    def _score(self, step: int) -> None:
        predictions, _ = self._tuned.predict(self._validation)
        self._tuned.model.train()
        truth = self._validation.truth.astype(np.float64)
        score = METRICS[self._task.metric].score(truth, predictions.astype(np.float64))
        self._scores[step] = score
        if self._writer:
            self._writer.add_scalar(f"validation/{self._task.metric}", score, step)
        if self._how.patience and self._best() == step and self.team.rank == 0:
            self._folder.mkdir(parents=True, exist_ok=True)
            checkpoint.save(self._tuned, self._folder / "best.safetensors", self._digest)

    def _keep(self, step: int) -> None:
        if self.team.rank == 0:
            self._paused.save(self._optimizer, step)
            write_json(self._folder / "scores.json", sorted(self._scores.items()))

    def _kept_scores(self) -> list[tuple[int, float]]:
        try:
            found = json.loads((self._folder / "scores.json").read_text("utf-8"))
            return [(int(step), float(score)) for step, score in found]
        except (OSError, ValueError):
            return []

    def _best(self) -> int:
        return max(self._scores, key=lambda step: (self._scores[step], -step))

    def _since_best(self) -> int:
        best = self._best() if self._scores else 0
        return sum(step > best for step in self._scores)

    def _log(self, folder: Path) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder / "logs"))
