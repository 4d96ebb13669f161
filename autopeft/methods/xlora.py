"""X-LoRA: LoRA experts, mixed anew for every token (Buehler and Buehler 2024, arXiv 2402.07148).

    y = x Wᵀ + b + s · Σₑ pₑ(x) · (x Aₑᵀ) Bₑᵀ        p(x) = softmax(x Cᵀ + c)

    Aₑ: rank x inputs, Bₑ: outputs x rank, for four experts e; C: 4 x inputs, c: 4

The experts and the classifier that shares them out are the `peft` library's own classes, one of
each for every cell: its classifier of one layer with layer-wise scalings, all experts taken. It
differs from the paper in two things.

- The model runs once. In the paper it runs without experts first, and one classifier makes the
  shares of all layers of its last hidden states; here that of a cell reads what the site reads.
- The experts are not brought along from other tasks. They are trained from scratch together with
  the classifier (``use_trainable_adapters``), and differ by their random A at first.

Identity at initialisation: every B is zero. The scale s does not depend on the rank.
Count: 4 · rank · (inputs + outputs) + 4 · (inputs + 1). Cannot be merged: the shares differ from
one token to the next.

Axes: N tokens of all examples, I inputs, O outputs of the site, E experts.
"""

import warnings
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from autopeft.methods.linears import beside
from autopeft.methods.opaque_layer import Silent, drawing_from, view
from autopeft.methods.places import Attached, Block, Making
from autopeft.search_spaces.catalog.opaque import EXPERTS

_NAMES = [str(number) for number in range(EXPERTS)]


class Mixture(nn.Module):
    """Experts of the library around a silent layer, and the classifier that shares them out."""

    def __init__(self, experts: nn.Module, config: Any) -> None:
        from peft.tuners.xlora.classifier import XLoraClassifier
        from peft.tuners.xlora.layer import XLoraLinearLayer

        super().__init__()
        self.experts = experts
        device = experts.get_parameter("base_layer.weight").device
        self.classifier = XLoraClassifier(experts, config, EXPERTS, 1, device)
        self._mixed = XLoraLinearLayer(
            model=SimpleNamespace(disabled=False),  # type: ignore[arg-type]  # it asks for no more
            target=experts,  # type: ignore[arg-type]  # a LoRA layer of the library
            target_forward=experts.forward,
            layer_number=0,
            config=config,
        )

    def forward(self, x_I: Tensor) -> Tensor:
        """Return what the experts add, shape ``(..., O)``."""
        # The classifier takes no other precision than its own.
        rows_1NI = x_I.reshape(1, -1, x_I.shape[-1]).float()
        read = SimpleNamespace(hidden_states=(rows_1NI,))
        shares_1N1E = self.classifier(read, inputs_embeds=rows_1NI)
        y: Tensor = self._mixed.forward(rows_1NI, scalings=shares_1N1E)
        return y.reshape(*x_I.shape[:-1], y.shape[-1])


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put four experts of rank ``size`` beside the linear layer at a site."""
    with drawing_from(making.generator), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixture = _mixture(view(block, site, Silent), making)
    trained = {n: p for n, p in mixture.named_parameters() if p.requires_grad}
    for parameter in trained.values():
        parameter.data = parameter.data.float()
    return Attached(
        parameters={name.removeprefix("experts."): p for name, p in trained.items()},
        undo=beside(block, site, mixture),
    )


def _mixture(frozen: nn.Linear, making: Making) -> Mixture:
    """Let the library make the experts, each adding its product whole, and what mixes them."""
    from peft import LoraConfig, XLoraConfig
    from peft.tuners.lora.layer import Linear

    rank = making.size
    config = LoraConfig(r=rank, lora_alpha=rank)
    experts = Linear(frozen, _NAMES[0], config, r=rank, lora_alpha=rank)
    for name in _NAMES[1:]:
        experts.update_layer(name, rank, lora_alpha=rank, config=config)
    experts.set_adapter(_NAMES)
    mixing = XLoraConfig(
        hidden_size=frozen.in_features,
        adapters=dict.fromkeys(_NAMES, ""),
        layerwise_scalings=True,
        use_trainable_adapters=True,
        global_scaling_weight=making.scale,
    )
    return Mixture(experts, mixing)
