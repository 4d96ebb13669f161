"""In what a backbone's frozen weights are held, and which methods go with that.

Single precision goes with all. What is trained is single precision beside half precision and fewer
bits too (see ``methods/precision``), so that most go with those as well. Some need more of a matrix
than its product with the input: its gradient, a copy of it to train, or its exact values.
"""

import logging
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any, Literal

from torch import nn

from autopeft.backbone import Backbone
from autopeft.errors import OptionError, PlanError
from autopeft.methods.places import Undo
from autopeft.methods.precision import HALVES, is_quantised
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.search_spaces.within import layers_within

Bits = Literal["int8", "nf4"]

_EXACT = frozenset(("magnitude_mask", "supertuning", "psoft", "osf", "tinylora"))
"""Methods that work out of a matrix's values what they train, each time that it is loaded."""
_WHOLE = frozenset(("full", "magnitude_mask", "fish_mask"))
"""Methods that train elements of a matrix, or a copy of it."""
_REPACKS = "support_avx512bf16_for_cpu"
_COPYING = ("autopeft.methods.opaque", "autopeft.methods.xlora")
"""Where methods are at home whose layer holds a copy of the matrix."""


def held_in(base: nn.Module) -> str:
    """Name in what a model's weights are held: a library of fewer bits, or the least precision."""
    layers = [layer for layer in base.modules() if is_quantised(layer)]
    if layers:
        return type(layers[0].get_parameter("weight")).__module__.partition(".")[0]
    found = {p.dtype for p in base.parameters() if p.is_floating_point()}
    kinds = [dtype for dtype in HALVES if dtype in found] or sorted(found, key=str)
    return str(kinds[0]).removeprefix("torch.") if kinds else "float32"


def at_odds(
    backbone: Backbone, slots: Sequence[Slot], configuration: Configuration, held: str
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield each cell that does not go with how weights are held, why, and its layers' paths."""
    if held == "float32":
        return
    for number, row in enumerate(configuration.sizes):
        for slot, size in zip(slots, row, strict=True):
            if size and (why := _why_not(slot.method, held)):
                site = backbone.site(slot.site)
                sites = layers_within(backbone, site) or (site,)
                paths = tuple(backbone.module_path(s, number) for s in sites)
                yield f"{slot.name} in block {number}", why, paths


def _why_not(method: str, held: str) -> str:
    if held in {"bfloat16", "float16"}:
        return f"works out of exact weights what it trains, and {held} rounds them" * (
            method in _EXACT
        )
    if method in _WHOLE:
        return "trains elements of the matrix itself"
    module = METHODS[method].attach.partition(":")[0]
    return "takes a copy of the matrix in single precision" * (module in _COPYING)


def keeps_packing(base: nn.Module) -> Undo:
    """Let 4 bit layers of bitsandbytes keep their weights as they are in evaluation too.

    On some processors they repack them there for speed, with scales that are rounded once more.

    Raises:
        PlanError: They have done so already.
    """
    layers = [vars(layer) for layer in base.modules() if _REPACKS in vars(layer)]
    before = [layer[_REPACKS] for layer in layers]
    for module in base.modules():
        state = getattr(
            dict(module.named_parameters(recurse=False)).get("weight"), "quant_state", 0
        )
        if getattr(state, "packing_format_for_cpu", False):
            raise PlanError(
                "the model's 4 bit weights were repacked when it was evaluated, which rounds them: "
                "load it again, and put the plan in before anything else"
            )
    for layer in layers:
        layer[_REPACKS] = False

    def undo() -> None:
        for layer, own in zip(layers, before, strict=True):
            layer[_REPACKS] = own

    return undo


def quantisation(
    bits: Bits, backbone: Backbone, slots: Sequence[Slot], configuration: Configuration
) -> Any:
    """Return how transformers loads a model in fewer bits, for training a configuration in it.

    Layers at which a cell needs the weights stay as they are, and so do heads and poolers.

    Raises:
        OptionError: The package for it is not installed.
    """
    if not (find_spec("bitsandbytes") and find_spec("accelerate")):
        raise OptionError(
            "--quantise needs the packages bitsandbytes and accelerate: "
            "pip install 'autopeft[quantised]'"
        )
    from transformers import BitsAndBytesConfig

    # it says in every product that it takes half precision inside, which is what it is there for
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    apart = ["lm_head", "embed_out", "pooler"]
    for _, _, paths in at_odds(backbone, slots, configuration, "bitsandbytes"):
        apart += [path for path in paths if path not in apart]
    if bits == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=apart)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", llm_int8_skip_modules=apart
    )
