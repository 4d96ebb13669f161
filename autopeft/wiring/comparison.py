"""Results of the method comparison that the `peft` project publishes, in autopeft's terms.

Each file tells of one training: its settings as `peft` writes them, what was trained and what came
out. The same method at the same modules is looked for; the size is the one that trains exactly as
many parameters as the file says. Where there is none, the two are not the same.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopeft.backbone import Backbone, Site
from autopeft.errors import DataError
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.catalog.opaque import REFUSED
from autopeft.search_spaces.configuration import Slot
from autopeft.search_spaces.method import Method

_TUNED_ELSEWHERE = {"p_tuning"}  # what makes the prompts falls away, and is counted there
_LARGEST = 2**24
_NO_TARGETS = {
    "prefix": "attention",
    "llama_adapter": "attention",
    "prompt_tuning": "embeddings",
    "p_tuning": "embeddings",
    "cpt": "embeddings",
}
_OTHER_NAMES = {"ptuning": "promptencoder"}
# Of LoRA's many settings those that change nothing, or that are read below; others are variants.
_PLAIN_LORA = {
    "task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision",
    "inference_mode", "r", "target_modules", "lora_alpha", "lora_dropout", "use_rslora", "use_dora",
    "megatron_core", "qalora_group_size", "layers_to_transform", "layers_pattern", "runtime_config",
    "ensure_weight_tying", "monteclora_config",
}  # fmt: skip
_PLAIN_VALUES: dict[str, tuple[object, ...]] = {
    "init_lora_weights": (True, "gaussian"),
    "bias": ("none",),
}


class InexpressibleError(Exception):
    """A result that is not the same as anything in autopeft; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One training as published. ``settings`` are those of `peft`, None for full fine-tuning.

    ``score`` is the accuracy on the test questions, ``parameters`` what was trained, and
    ``backbone_parameters`` what the model had before.
    """

    name: str
    file: str
    model: str
    settings: Mapping[str, Any] | None
    optimizer: str
    learning_rate: float
    weight_decay: float
    steps: int
    batch_size: int
    max_length: int
    precision: str
    examples: int
    seed: int
    score: float
    loss: float
    seconds: float
    parameters: int
    backbone_parameters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expressed:
    """A result as a table: the size in each row of each slot that it uses, and LoRA's scale."""

    method: str
    size: int
    slots: tuple[Slot, ...]
    rows: tuple[int, ...]
    scale: float | None


def read_result(file: Path) -> Result:
    """Read a result file.

    Raises:
        DataError: It is none, or of a training that did not end well.
    """
    try:
        document = json.loads(file.read_text("utf-8"))
        run, train = document["run_info"], document["train_info"]
        config = run["train_config"]
        if train["status"] != "success":
            raise InexpressibleError(f"its training ended as {train['status']!r}")
        tested = next(m for m in reversed(train["metrics"]) if "test accuracy" in m)
        return Result(
            name=str(run["experiment_name"]),
            file=file.name,
            model=str(config["model_id"]),
            settings=run["peft_config"],
            optimizer=str(config["optimizer_type"]),
            learning_rate=float(config["optimizer_kwargs"]["lr"]),
            weight_decay=float(config["optimizer_kwargs"].get("weight_decay", 0.0)),
            steps=int(config["max_steps"]),
            batch_size=int(config["batch_size"]),
            max_length=int(config["max_seq_length"]),
            precision=str(config["dtype"]),
            examples=int(tested["train samples"]),
            seed=int(config["seed"]),
            score=float(tested["test accuracy"]),
            loss=float(tested["train loss"]),
            seconds=float(train["train_time"]),
            parameters=int(train["num_trainable_params"]),
            backbone_parameters=int(train["num_total_params"])
            - (int(train["num_trainable_params"]) if run["peft_config"] else 0),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise DataError(
            f"{file} is no result of peft's method comparison: {_said(error)}; give files of its "
            "folder 'results'"
        ) from None


def expressed(result: Result, backbone: Backbone, slots: tuple[Slot, ...]) -> Expressed:
    """Find the method, the slots and the size that are the same as what was trained.

    Raises:
        InexpressibleError: There are none; the message says why.
    """
    settings = result.settings
    if settings is None:
        raise InexpressibleError("it trains all weights of the model")
    if result.optimizer != "AdamW":
        raise InexpressibleError(f"it is trained by {result.optimizer!r}, and autopeft by AdamW")
    if not math.isfinite(result.score):
        raise InexpressibleError("its score is no number")
    method = _method(settings)
    used = tuple(_used(method, settings, backbone, slots))
    rows = _rows(settings, backbone, used)
    size = _size(method, settings, result, used, rows)
    return Expressed(
        method=method.name, size=size, slots=used, rows=rows, scale=_scale(method, settings)
    )


def _method(settings: Mapping[str, Any]) -> Method:
    kind = str(settings["peft_type"]).replace("_", "").lower()
    if kind == "lora":
        _must_be_plain(settings)
        return METHODS["dora" if settings.get("use_dora") else "lora"]
    if settings.get("prefix_projection"):
        raise InexpressibleError("its prefixes come out of a network that falls away afterwards")
    if settings.get("encoder_reparameterization_type", "MLP") not in {"MLP", None}:
        raise InexpressibleError("its prompts come out of an LSTM, and autopeft's out of an MLP")
    wanted = f"{_OTHER_NAMES.get(kind, kind)}config"
    for method in METHODS.values():
        if method.peft.lower() == wanted:
            return method
    name = str(settings["peft_type"]).lower()
    raise InexpressibleError(REFUSED.get(name, f"autopeft has no method of the type {name!r}"))


def _must_be_plain(settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        plain = _PLAIN_VALUES.get(name)
        if plain is not None:
            if value not in plain:
                raise InexpressibleError(f"it is a variant of LoRA: {name} is {value!r}")
        elif value and name not in _PLAIN_LORA:
            raise InexpressibleError(f"it is a variant of LoRA: {name} is set")


def _used(
    method: Method, settings: Mapping[str, Any], backbone: Backbone, slots: tuple[Slot, ...]
) -> Iterator[Slot]:
    """Yield the slots of a method at the modules that were changed."""
    own = {slot.site: slot for slot in slots if slot.method == method.name}
    if (place := _NO_TARGETS.get(method.name)) is not None:
        found = [slot for slot in own.values() if slot.place == place]
        if not found:
            raise InexpressibleError(f"the model has no place for {method.name!r}")
        yield from found
        return
    targets = settings.get("target_modules")
    if not targets:
        raise InexpressibleError("it does not say which modules it changes")
    sites = [site for site in backbone.sites if site.path and _is_meant(site, targets)]
    names = {site.path.rpartition(".")[2] for site in sites}
    unknown = [] if isinstance(targets, str) else [name for name in targets if name not in names]
    if unknown or not sites:
        which = ", ".join(map(repr, unknown)) or repr(targets)
        raise InexpressibleError(f"the model has no site at the modules {which}")
    for site in sites:
        if site.name not in own:
            raise InexpressibleError(f"autopeft has no {method.name!r} at {site.name}")
        yield own[site.name]


def _is_meant(site: Site, targets: Any) -> bool:
    """Tell whether modules are named: by a list of last names, a pattern, or ``all-linear``."""
    if targets == "all-linear":
        return site.kind == "linear"
    if isinstance(targets, str):
        path = site.path.format(block=site.blocks[0])
        return any(re.fullmatch(targets, f"{front}{path}") for front in ("", "model."))
    return site.kind in {"linear", "norm"} and site.path.rpartition(".")[2] in targets


def _rows(
    settings: Mapping[str, Any], backbone: Backbone, used: tuple[Slot, ...]
) -> tuple[int, ...]:
    rows = set(range(backbone.blocks))
    if (layers := settings.get("layers_to_transform")) is not None:
        rows &= set(layers) if isinstance(layers, list) else {int(layers)}
    if (last := settings.get("adapter_layers")) is not None:
        rows &= set(range(backbone.blocks - int(last), backbone.blocks))
    found = tuple(row for row in sorted(rows) if any(slot.has(row) for slot in used))
    if not found:
        raise InexpressibleError("the model has none of its layers")
    return found


def _size(
    method: Method,
    settings: Mapping[str, Any],
    result: Result,
    used: tuple[Slot, ...],
    rows: tuple[int, ...],
) -> int:
    """Find the size at which as many parameters are trained as the result says."""
    if method.name in _TUNED_ELSEWHERE:
        return int(settings["num_virtual_tokens"])

    def trained(size: int) -> int:
        once = sum(slot.once for slot in used)
        return once + sum(slot.parameters(size) for slot in used for row in rows if slot.has(row))

    low, high = 1, min((slot.most for slot in used if slot.most is not None), default=_LARGEST)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if trained(middle) < result.parameters else (low, middle)
    if trained(low) != result.parameters:
        raise InexpressibleError(
            f"it trains {result.parameters:,} parameters, and {method.name!r} at its modules none "
            f"such number (next is {trained(low):,})"
        )
    return low


def _scale(method: Method, settings: Mapping[str, Any]) -> float | None:
    if method.name not in {"lora", "dora"}:
        return None
    rank = int(settings["r"])
    return float(settings["lora_alpha"]) / (math.sqrt(rank) if settings["use_rslora"] else rank)


def _said(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r}"
    if isinstance(error, StopIteration):
        return "it has no 'test accuracy'"
    return str(error) or type(error).__name__
