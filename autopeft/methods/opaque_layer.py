"""One layer of the `peft` library around one frozen matrix, beside whatever else is there.

The library changes whole models; here it is given a model that consists of a single linear layer,
whose weight is a view of the backbone's. What it makes of it is put beside the backbone's own
layer: added is the difference between its output and that of the frozen layer. So it goes with
other slots at the same site, works on GPT-2's ``Conv1D`` and on slices of fused matrices, and goes
away as everything else does. Each method sees the frozen matrix alone, not what others add to it.

Axes: N tokens of all examples, I inputs, O outputs of the site.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from autopeft.methods.linears import beside, bias_of, weight_of
from autopeft.methods.places import Attached, Block, Making
from autopeft.methods.precision import single

_ONLY = "linear"
_ADAPTER = "default"


class Silent(nn.Linear):
    """A linear layer that has a weight and says nothing: what is added to it stands alone."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the name that torch gives it
        """Return zeros, shape ``(..., O)``."""
        return input.new_zeros(*input.shape[:-1], self.out_features)


class Change(nn.Module):
    """What a layer of the library adds to the output of a frozen one.

    ``frozen`` is None where the layer was built around a silent one and returns the change itself.
    """

    def __init__(self, layer: nn.Module, frozen: nn.Linear | None, extra: dict[str, Any]) -> None:
        super().__init__()
        self.layer = layer
        self.frozen = frozen
        self._extra = extra

    def forward(self, x_I: Tensor) -> Tensor:
        """Return the change, shape ``(..., O)``."""
        rows_1NI = x_I.reshape(1, -1, x_I.shape[-1])
        y: Tensor = self.layer(rows_1NI, **self._extra)
        if self.frozen is not None:
            y = y - self.frozen(rows_1NI)
        return y.reshape(*x_I.shape[:-1], y.shape[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked of the library.

    ``kind`` is the name of the method there, ``options`` the fields of its configuration.
    ``only_adds`` tells that the layer adds to the output of the frozen one, so that this need not
    be computed twice. ``bias`` tells that it changes the bias too. ``extra`` goes to its forward.
    ``shared`` names the submodule that all blocks of a column have in common.
    """

    kind: str
    options: dict[str, Any]
    only_adds: bool = True
    bias: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    shared: str = ""


def attach_layer(block: Block, site: str, making: Making, wanted: Wanted) -> Attached:
    """Put a layer of the library beside the linear layer at a site."""
    kind = Silent if wanted.only_adds else nn.Linear
    layer = _built(view(block, site, kind, bias=wanted.bias), wanted, making)
    frozen = None if wanted.only_adds else view(block, site, bias=wanted.bias)
    change = Change(layer, frozen, wanted.extra)
    change.train(block.original(site).training)
    trained = {
        name.replace(f".{_ADAPTER}", ""): parameter
        for name, parameter in layer.named_parameters()
        if parameter.requires_grad
    }
    summed: list[Tensor] = []
    return Attached(
        parameters=trained,
        undo=beside(block, site, change),
        before_merge=lambda: summed.extend(_as_weight_and_bias(change, block.sites[site].inputs)),
        merge=lambda: _merge(block, site, *summed, bias=wanted.bias),
    )


def view(
    block: Block, site: str, kind: type[nn.Linear] = nn.Linear, *, bias: bool = False
) -> nn.Linear:
    """Return the frozen layer as a plain linear one, which shares its memory in single precision.

    Of one in half precision it is a copy in single.
    """
    weight_OI = single(weight_of(block, site))
    bias_O = bias_of(block, site) if bias else None
    outputs, inputs = weight_OI.shape
    linear = kind(inputs, outputs, bias=bias_O is not None, device="meta")
    linear.weight = nn.Parameter(weight_OI, requires_grad=False)
    if bias_O is not None:
        linear.bias = nn.Parameter(single(bias_O), requires_grad=False)
    return linear


def _built(frozen: nn.Linear, wanted: Wanted, making: Making) -> nn.Module:
    """Let the library wrap a layer, with random numbers that are the generator's."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
    from peft.utils.peft_types import PeftType

    kind = PeftType(wanted.kind)
    model = nn.ModuleDict({_ONLY: frozen})
    config = PEFT_TYPE_TO_CONFIG_MAPPING[kind](target_modules=[_ONLY], **wanted.options)
    with drawing_from(making.generator), warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        PEFT_TYPE_TO_TUNER_MAPPING[kind](model, config, _ADAPTER)
    layer = model[_ONLY].to(frozen.weight.device)
    if wanted.shared:
        setattr(layer, wanted.shared, making.shared.setdefault("", getattr(layer, wanted.shared)))
    for parameter in layer.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return layer


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Seed the global random numbers, which the library draws from, and leave them as they were."""
    seed = int(torch.randint(2**31, (), generator=generator))
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def _as_weight_and_bias(change: Change, inputs: int) -> tuple[Tensor, Tensor]:
    """Return what a change makes of the unit vectors, as a matrix, and of zero."""
    training = change.training
    change.eval()
    device = next(change.parameters()).device
    with torch.no_grad():
        zero_O = change(torch.zeros(1, inputs, device=device))[0]
        units_IO = change(torch.eye(inputs, device=device)) - zero_O
    change.train(training)
    return units_IO.T, zero_O


def _merge(block: Block, site: str, added_OI: Tensor, added_O: Tensor, *, bias: bool) -> None:
    with torch.no_grad():
        weight_OI = weight_of(block, site)
        weight_OI += added_OI.to(weight_OI.dtype)
        bias_O = bias_of(block, site) if bias else None
        if bias_O is not None:
            bias_O += added_O.to(bias_O.dtype)
