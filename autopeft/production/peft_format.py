"""An adapter of the `peft` library, written so that `peft.PeftModel` and others read it.

Axes: I inputs, O outputs, R rank.
"""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from autopeft.errors import PlanError
from autopeft.production import prompts
from autopeft.production.reading import check_files
from autopeft.production.terms import Adapter, Product

_ADAPTER = "default"
_WEIGHTS = "adapter_model.safetensors"


def write_peft(
    adapter: Adapter,
    model: Any,
    inner: str,
    folder: Path,
    *,
    saved: Sequence[str],
    told: Mapping[str, Any],
) -> Any:
    """Write an adapter for a plain model, and return the model with the adapter in it.

    ``inner`` is the path of the backbone in the model, empty where it is all of it. ``saved`` are
    modules outside of the backbone that are saved whole, such as a classifier. ``told`` are further
    fields of the configuration.
    """
    from peft import get_peft_model

    _fill_frozen(adapter, model, inner)
    config = config_of(adapter, model, inner, saved=saved, told=told)
    with _quiet():
        tuned = get_peft_model(model, config)
        if adapter.learned:
            prompts.fill(adapter, tuned)
        else:
            _fill(adapter, tuned.base_model.model, inner)
        # the library would name the directory that the model was loaded from on this machine
        tuned.peft_config[_ADAPTER].base_model_name_or_path = told["base_model_name_or_path"]
        tuned.save_pretrained(str(folder))
    return tuned.eval()


def read_peft(model: Any, folder: Path) -> Any:
    """Load an adapter into a plain model, as anyone would.

    Raises:
        PlanError: It has a tensor that is not the model's, or lacks one, which the library passes
            over; or it holds what is no number.
    """
    from peft import PeftModel

    file = folder / _WEIGHTS
    if not file.is_file():
        raise PlanError(f"there is no {_WEIGHTS} in {folder}: save the adapter as safetensors")
    check_files(folder)
    with _quiet():
        tuned = PeftModel.from_pretrained(model, str(folder)).eval()
    _check_taken(tuned, file)
    return tuned


def _check_taken(tuned: Any, file: Path) -> None:
    from peft import get_peft_model_state_dict

    with safe_open(file, "pt") as opened:
        brought = set(opened.keys())
    taken = set(get_peft_model_state_dict(tuned, save_embedding_layers=False))
    where = f"in a {type(tuned.get_base_model()).__name__}"
    if extra := sorted(brought - taken):
        raise PlanError(
            f"{file} has {extra[0]!r}, which has no place {where} ({len(extra)} too many): give "
            "the adapter as it was exported"
        )
    if missing := sorted(taken - brought):
        raise PlanError(
            f"{file} lacks {missing[0]!r}, which has a place {where} ({len(missing)} missing): "
            "give the adapter as it was exported"
        )


def config_of(
    adapter: Adapter, model: Any, inner: str, *, saved: Sequence[str], told: Mapping[str, Any]
) -> Any:
    """Describe an adapter as `peft` does: which modules, of which rank and scale."""
    from peft import IA3Config, LNTuningConfig, LoHaConfig, LoraConfig

    if adapter.learned:
        return prompts.config_of(adapter, told)
    whole = [*saved, *(f"{inner}{path}" for path in adapter.copies)]
    common = dict(told) | {"modules_to_save": whole or None}
    if adapter.kind == "IA3":
        targets = [f"{inner}{path}" for path in adapter.rescalings]
        read = [f"{inner}{path}" for path, own in adapter.rescalings.items() if own.of_inputs]
        return IA3Config(target_modules=targets, feedforward_modules=read, **common)
    if adapter.kind == "LN_TUNING":
        targets = [f"{inner}{path}" for path in adapter.copies]
        return LNTuningConfig(
            target_modules=targets, **(common | {"modules_to_save": list(saved) or None})
        )
    if adapter.kind == "LOHA":
        ranks = {f"{inner}{p}": len(v["first_down"]) for p, (v, _) in adapter.hadamard.items()}
        scales = {f"{inner}{p}": factor for p, (_, factor) in adapter.hadamard.items()}
        return LoHaConfig(**_targets(ranks, model), **_ranks(ranks, scales, "alpha"), **common)
    ranks = {f"{inner}{path}": product.rank for path, product in adapter.products.items()}
    scales = {f"{inner}{path}": product.scale for path, product in adapter.products.items()}
    conv = any(isinstance(model.get_submodule(path), Conv1D) for path in ranks)
    return LoraConfig(
        **_targets(ranks, model),
        **_ranks(ranks, _one_scale(scales), "lora_alpha"),
        use_dora=any(product.magnitude for product in adapter.products.values()),
        bias="all" if adapter.biases else "none",
        fan_in_fan_out=conv,
        **common,
    )


def _one_scale(scales: Mapping[str, float]) -> dict[str, float]:
    # One scale for all: vLLM reads alpha / r once, and no pattern. The rest goes into the factors.
    usual = Counter(scales.values()).most_common(1)[0][0]
    return dict.fromkeys(scales, usual)


def _ranks(ranks: Mapping[str, int], scales: Mapping[str, float], alpha: str) -> dict[str, Any]:
    usual = Counter(ranks.values()).most_common(1)[0][0]
    factor = Counter(scales.values()).most_common(1)[0][0]
    others = [path for path in ranks if (ranks[path], scales[path]) != (usual, factor)]
    return {
        "r": usual,
        alpha: _number(factor * usual),
        "rank_pattern": {path: ranks[path] for path in others if ranks[path] != usual},
        "alpha_pattern": {path: _number(scales[path] * ranks[path]) for path in others},
    }


def _number(value: float) -> float:
    return int(value) if value == int(value) else value


def _targets(paths: Mapping[str, int], model: nn.Module) -> dict[str, Any]:
    """Name the modules as people do, by their last names, where that means the same ones."""
    wanted = set(paths)
    names = {_last(path) for path in wanted}
    linears = {
        name for name, part in model.named_modules() if isinstance(part, (nn.Linear, Conv1D))
    }
    meant = {p for p in linears if any(p == n or p.endswith(f".{n}") for n in names)}
    if meant == wanted:
        return {"target_modules": sorted(names)}
    layers = {_layer(path) for path in wanted}
    lists = {of.rpartition(".")[2] for of, _ in filter(None, layers)}
    numbers = sorted({number for _, number in filter(None, layers)})
    if None not in layers and len(lists) == 1:
        pattern = lists.pop()
        # the lists of blocks of an encoder and its decoder have one name, and peft goes by that
        if {p for p in meant if _is_in(_layer(p), pattern, numbers)} == wanted:
            return {
                "target_modules": sorted(names),
                "layers_to_transform": numbers,
                "layers_pattern": pattern,
            }
    return {"target_modules": sorted(wanted)}


def _is_in(layer: tuple[str, int] | None, pattern: str, numbers: Sequence[int]) -> bool:
    return layer is not None and layer[0].rpartition(".")[2] == pattern and layer[1] in numbers


def _layer(path: str) -> tuple[str, int] | None:
    """Return the list of blocks that a module is in, and the number of its block there."""
    parts = path.split(".")
    for place, part in enumerate(parts):
        if part.isdecimal():
            return ".".join(parts[:place]), int(part)
    return None


def _last(path: str) -> str:
    """Return a module's name inside its block: ``self_attn.q_proj`` becomes ``q_proj``."""
    layer = _layer(path)
    if layer is None:
        return path
    inside = path.removeprefix(f"{layer[0]}.{layer[1]}.").split(".")
    # ``dense`` is the name of many layers of BERT
    return inside[-1] if inside[-1] != "dense" else ".".join(inside[-2:])


def _fill_frozen(adapter: Adapter, model: Any, inner: str) -> None:
    """Put into the plain model what the library saves from there: biases and copied modules."""
    with torch.no_grad():
        for place, value in adapter.biases.items():
            path, _, start = place.partition(":")
            bias = model.get_submodule(f"{inner}{path}").bias
            bias[int(start) : int(start) + len(value)] = value
        for path, values in adapter.copies.items():
            for name, value in values.items():
                model.get_submodule(f"{inner}{path}").get_parameter(name).copy_(value)


def _fill(adapter: Adapter, model: Any, inner: str) -> None:
    with torch.no_grad():
        for path, product in adapter.products.items():
            _fill_lora(model.get_submodule(f"{inner}{path}"), product)
        for path, own in adapter.rescalings.items():
            factors = model.get_submodule(f"{inner}{path}").ia3_l[_ADAPTER]
            factors.copy_(own.factors.reshape(factors.shape))
        for path, (values, _) in adapter.hadamard.items():
            layer = model.get_submodule(f"{inner}{path}")
            for name, part in (("w1", "first"), ("w2", "second")):
                getattr(layer, f"hada_{name}_a")[_ADAPTER].copy_(values[f"{part}_up"].T)
                getattr(layer, f"hada_{name}_b")[_ADAPTER].copy_(values[f"{part}_down"])


def _fill_lora(layer: Any, product: Product) -> None:
    factor = product.scale / layer.scaling[_ADAPTER]
    layer.lora_A[_ADAPTER].weight.copy_(product.down_RI)
    layer.lora_B[_ADAPTER].weight.copy_(factor * product.up_RO.T)
    if not layer.use_dora.get(_ADAPTER):
        return
    base = layer.get_base_layer()
    weight_OI = base.weight.T if isinstance(base, Conv1D) else base.weight
    whole_OI = weight_OI + product.scale * product.up_RO.T @ product.down_RI
    magnitude_O: Tensor = torch.linalg.vector_norm(whole_OI, dim=1)
    for start, own in product.magnitude.items():
        magnitude_O[start : start + len(own)] = own
    layer.lora_magnitude_vector[_ADAPTER].weight.copy_(magnitude_O)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Conv1D it says what it does by itself
        yield
