"""Whether a model's folder is nothing but data: no code of its own, no pickle, no way out of it."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from autopeft.errors import BackboneError

_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_ADAPTER = "adapter_config.json"
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack")
_MOST_JSON = 64 * 2**20  # tokenizer.json may be large; nothing else of a model is
_LOADERS = frozenset(("auto_map", "custom_pipelines"))
_KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation")


def must_be_plain(folder: Path, name: str, roots: Sequence[Path]) -> None:
    """Refuse a model that could run code of its own, or that leads to files outside of the roots.

    The library loads the weights that are looked for here before any others, so that pickles
    beside them are never opened. ``name`` is what the user called the model.

    Raises:
        BackboneError: It cannot be used; the message says why.
    """
    files = {entry.name: entry for entry in _entries(folder, name)}
    for file in files.values():
        if not any(file.resolve().is_relative_to(root) for root in roots):
            raise BackboneError(
                f"the model {name!r} is refused: its {file.name} is a link that leads out of the "
                "folders of models; put the file itself there"
            )
    if "config.json" not in files:
        raise BackboneError(
            f"{name!r} is no model: it has no config.json; name a folder that save_pretrained has "
            "written"
        )
    if _ADAPTER in files:
        raise BackboneError(
            f"the model {name!r} is refused: its {_ADAPTER} would load another model; name that "
            "model, or merge the adapter into it"
        )
    _check_weights(files, name)
    for file in files.values():
        if file.name.endswith(".json"):
            _check_json(file, name)


def _entries(folder: Path, name: str) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise BackboneError(
            f"cannot read the model {name!r}: {error.strerror}; check the folder's permissions"
        ) from None


def _check_weights(files: dict[str, Path], name: str) -> None:
    if _WHOLE in files:
        return
    if _INDEX in files:
        _check_shards(files, name)
        return
    pickles = [file for file in files if file.endswith(_PICKLES)]
    has = f"only {pickles[0]}, which may hold code" if pickles else "none"
    raise BackboneError(
        f"the model {name!r} is refused: weights must be in {_WHOLE}, and there is {has}; save it "
        "again with save_pretrained"
    )


def _check_shards(files: dict[str, Path], name: str) -> None:
    """Refuse an index whose parts are not beside it."""
    document = _json(files[_INDEX], name)
    parts = document.get("weight_map") if isinstance(document, dict) else None
    shards = set(parts.values()) if isinstance(parts, dict) and _texts(parts.values()) else set()
    if not shards or not all(s in files and s.endswith(".safetensors") for s in shards):
        raise BackboneError(
            f"the model {name!r} is refused: {_INDEX} names parts that are not *.safetensors files "
            "beside it; download or save it again"
        )


def _texts(values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _check_json(file: Path, name: str) -> None:
    for key, value in _pairs(_json(file, name), deep=file.name != "tokenizer.json"):
        if key in _LOADERS and value:
            raise BackboneError(
                f"the model {name!r} is refused: its {file.name} names code of its own ({key}), "
                "and the service runs none; use a model that transformers knows by itself"
            )
        if key in _KERNELS and _leads_out(value):
            raise BackboneError(
                f"the model {name!r} is refused: its {file.name} would load code from the hub "
                f"({key}); take the entry out"
            )


def _leads_out(value: Any) -> bool:
    """Whether an implementation is named by where it is loaded from: OWNER/NAME."""
    named = value.values() if isinstance(value, dict) else [value]
    return any(isinstance(one, str) and "/" in one for one in named)


def _pairs(document: Any, *, deep: bool) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a document and, if ``deep``, of all that is inside of it."""
    left = [document]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            yield from item.items()
        if deep and isinstance(item, (dict, list)):
            left += item.values() if isinstance(item, dict) else item


def _json(file: Path, name: str) -> Any:
    try:
        if file.stat().st_size > _MOST_JSON:
            raise BackboneError(
                f"the model {name!r} is refused: its {file.name} is larger than "
                f"{_MOST_JSON // 2**20} MiB"
            )
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BackboneError(
            f"the model {name!r} is refused: cannot read its {file.name} "
            f"({type(error).__name__}); is the download complete?"
        ) from None
