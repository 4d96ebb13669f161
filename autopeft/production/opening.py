"""A plan's model with its trained weights in it, opened from where they lie."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopeft.errors import PlanError
from autopeft.plan import Plan
from autopeft.production.applying import Applied, applied
from autopeft.production.heads import Headed, check_weights, model_for
from autopeft.production.keeping import load
from autopeft.production.reading import Weights, read_weights
from autopeft.training.model_files import ModelFiles, find_model


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A plan with its weights, ready to be written in another form."""

    plan: Plan
    files: ModelFiles
    folder: Path
    weights: Weights

    def plain(self) -> Any:
        """Load the model as it was before the plan, with a fresh head."""
        if not set(self.weights.head) - {"weight", "bias"}:
            return model_for(self.plan, self.files.reference)
        name = self.weights.says.get("class", "")
        if (whole := of_class(self.plan, self.files, name)) is None:
            raise PlanError(
                f"the weights in {self.weights.file} were trained in a {name or 'model'} with a "
                f"head ({', '.join(self.weights.head)}) that neither autopeft nor transformers "
                "knows: load them in your own code with autopeft.load(model, folder)"
            )
        return whole

    def trained(self) -> Any:
        """Load the model with plan, trained weights and head."""
        return load(self.plain(), self.folder).eval()


def open_trained(plan: Plan, folder: Path, model: str | None = None) -> Opened:
    """Find a plan's model and the weights that were trained from it.

    Raises:
        PlanError: The model or the weights are not those of the plan.
        BackboneError: There is no such model.
    """
    files = find_model(model or plan.where.model)
    check_weights(plan, files)
    return Opened(plan=plan, files=files, folder=folder, weights=read_weights(folder))


def holds(model: Any) -> Applied:
    """Return the plan inside an opened model."""
    return applied(model)


def transformer_in(whole: Any) -> Any:
    """Return what transformers can save and `peft` can wrap: all but a head of our own."""
    return whole.backbone if isinstance(whole, Headed) else whole


def of_class(plan: Plan, files: ModelFiles, name: str) -> Any | None:
    """Load a plan's model in a class of transformers; None where there is no such class."""
    import torch
    import transformers

    kind: Any = getattr(transformers, name, None)
    if kind is None:
        return None
    options = {} if plan.task.head == "lm" else {"num_labels": plan.task.outputs}
    whole = kind.from_pretrained(
        files.path, dtype=torch.float32, local_files_only=True, trust_remote_code=False, **options
    )
    return whole.eval()
