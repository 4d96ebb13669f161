"""CPT: words of the data in front of the input, each moved a little (Blau et al. 2024, 2410.17222).

    [E(t) + Δ; E(x)]        t: P words of the training data; |Δₚ| ≤ ε = 0.1 · √(D / 2048) for each

The vectors are the `peft` library's ``CPTEmbedding``: E(t) stays frozen, and Δ is put back into its
ball before every use. It differs from the paper in three things.

- The context is not made of whole training examples between templates. It holds the words of the
  training data to whose embeddings the loss is most sensitive: those with the largest empirical
  Fisher information, which FISH masks are chosen by (``training/fisher.py``), the largest first.
  Where a model writes with the same embeddings as it reads, that counts too.
- All words are of one kind, that of inputs: there are no labels among them that would stay as they
  are, and no words of a template with an ε of their own.
- The loss is that of the task alone, without a part for the labels of the context (the library's
  ``opt_weighted_loss_type="none"``).

The words follow from the data, so they are chosen when the task model stands, and are kept beside
the trained values. Until then words drawn from the vocabulary stand in, so that everything but
training can be done. Not the identity at initialisation: every token attends to the context.
Count: length · width of an embedded word. Cannot be merged: the input has no place for more than
its own words. Only where a model reads embedded words.

Axes: P words of the context, D width of an embedded word, V words of the vocabulary.
"""

from typing import Any

import torch
from torch import Tensor, nn

from autopeft.errors import BackboneError
from autopeft.methods.opaque_layer import drawing_from
from autopeft.methods.places import Attached, Block, Choice, Making
from autopeft.methods.prompting import in_front, word_vectors

_INPUT = 2
"""The library's number for words of an input, which may move by ε."""


class Context(nn.Module):
    """Words and what is learned on top of each.

    ``tokens`` are their numbers, shape ``(P,)``. A word t that is not chosen for good yet is
    written as -1 - t: it acts, but cannot be trained.
    """

    def __init__(self, words: nn.Module, tokens_P: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        self._embed = words.__call__  # not the module itself, which would become a part of this one
        self.register_buffer("tokens", tokens_P.to(torch.int32), persistent=False)
        with drawing_from(generator):
            self.learned = _learned(words, self._acting())

    def forward(self) -> Tensor:
        """Return the moved words, shape ``(P, D)``.

        Raises:
            RuntimeError: The words are not chosen for good, and the model is being trained.
        """
        tokens_P = self.get_buffer("tokens")
        if self.training and torch.is_grad_enabled() and bool(tokens_P[0] < 0):
            raise RuntimeError(
                "a context is trained before its words are chosen: call choose_masks first, "
                "or load trained weights"
            )
        with torch.no_grad():
            self.learned.embedding.weight.data = self._embed(self._acting()).float()
        moved_PD: Tensor = self.learned(torch.arange(len(tokens_P), device=tokens_P.device))
        return moved_PD

    def choose(self, squared_gradient_VD: Tensor) -> None:
        """Take the words whose embeddings have the largest Fisher information, for good."""
        tokens_P = self.get_buffer("tokens")
        ranked_V = squared_gradient_VD.sum(1).argsort(descending=True, stable=True)
        tokens_P.copy_(ranked_V[torch.arange(len(tokens_P)) % len(ranked_V)])

    def _acting(self) -> Tensor:
        tokens_P = self.get_buffer("tokens").long()
        return torch.where(tokens_P < 0, -1 - tokens_P, tokens_P)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put a context of ``size`` words in front of what a stack reads.

    Raises:
        BackboneError: The model reads no embedded words.
    """
    if word_vectors(block, site) is None:
        raise BackboneError(
            f"cpt puts words in front of the input, and {block.backbone.architecture} reads no "
            "embedded words: leave cpt out, or take prompt_tuning"
        )
    owner: Any = block.model.get_submodule(block.sites[site].path.rpartition(".")[0])
    words: nn.Module = owner.get_input_embeddings()
    weight_VD = words.get_parameter("weight")
    drawn_P = torch.randint(len(weight_VD), (making.size,), generator=making.generator)
    tokens_P = (-1 - drawn_P).to(weight_VD.device)
    context = Context(words, tokens_P, making.generator).train(block.model.training)
    return Attached(
        parameters={"delta": context.learned.delta_embedding.weight},
        undo=in_front(block, site, "cpt", context),
        fixed={"tokens": context.get_buffer("tokens")},
        choice=Choice(weight=weight_VD, choose=context.choose),
    )


def _learned(words: nn.Module, tokens_P: Tensor) -> Any:
    """Let the library make the frozen and the learned part, in single precision."""
    from peft import CPTConfig, CPTEmbedding, TaskType

    config = CPTConfig(
        task_type=TaskType.CAUSAL_LM,
        cpt_token_ids=tokens_P.tolist(),
        cpt_tokens_type_mask=[_INPUT] * len(tokens_P),
    )
    config.token_dim = words.get_parameter("weight").shape[1]
    return CPTEmbedding(config, words).to(tokens_P.device)  # type: ignore[no-untyped-call]
