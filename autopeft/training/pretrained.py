"""Pretrained models: where they lie, what shape they have, and how they are loaded."""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from autopeft.backbone import Architecture, Backbone, Site, architecture_of
from autopeft.errors import BackboneError
from autopeft.study import Head

_PACKAGE = "package:"
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "tokenizer_config.json")
# Their first token has the position after the number of the padding token.
_POSITIONS_AFTER_PADDING = {"roberta", "xlm-roberta", "camembert"}
_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """A directory with a checked model: configuration, weights and tokenizer are there."""

    reference: str
    path: Path
    model_type: str


def find_model(reference: str) -> ModelFiles:
    """Find a model: a directory, ``package:NAME`` for one inside a package, or a hub id.

    Raises:
        BackboneError: It is not there, or lacks configuration, weights or tokenizer.
    """
    path = _locate(reference)
    config = path / "config.json"
    if not config.is_file():
        raise BackboneError(
            f"{reference!r} is no model: {path} has no config.json; give a directory that "
            "save_pretrained has written"
        )
    try:
        model_type = json.loads(config.read_text("utf-8"))["model_type"]
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise BackboneError(f"cannot read {config}: {error!r}; is the download complete?") from None
    if not any(any(path.glob(pattern)) for pattern in _WEIGHTS):
        raise BackboneError(
            f"the model {reference!r} has no weights: {path} holds no *.safetensors file; "
            "download or save it again"
        )
    if not any(any(path.glob(pattern)) for pattern in _TOKENIZERS):
        raise BackboneError(
            f"the model {reference!r} has no tokenizer: {path} holds no tokenizer.json or "
            "vocabulary; save the tokenizer into the same directory"
        )
    return ModelFiles(reference=reference, path=path, model_type=model_type)


def packaged_models() -> tuple[str, ...]:
    """List installed packages that carry a model, as references that ``find_model`` takes."""
    found = set()
    for package in metadata.distributions():
        names = [str(file) for file in package.files or ()]
        if any(name.endswith("/config.json") for name in names) and any(
            name.endswith(".safetensors") for name in names
        ):
            found.add(f"{_PACKAGE}{package.name}")
    return tuple(sorted(found))


def read_backbone(files: ModelFiles) -> Backbone:
    """Read a model's shape without loading its weights.

    The model is built on the meta device, where tensors have shapes and no memory.

    Raises:
        BackboneError: The architecture is unknown, or lacks a site that its file names.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    architecture = architecture_of(files.model_type)
    try:
        config = AutoConfig.from_pretrained(files.path, local_files_only=True)
        with torch.device("meta"):
            model = AutoModel.from_config(config)
    except Exception as error:  # whatever a configuration's own code raises on wrong values
        raise BackboneError(
            f"cannot read the configuration of {files.reference!r}: {_first_line(error)}"
        ) from None
    blocks = len(model.get_submodule(architecture.blocks))
    sites = _sites(architecture, model, files.reference)
    return Backbone(
        name=files.reference,
        architecture=files.model_type,
        blocks=blocks,
        width=config.hidden_size,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        sites=sites,
        digest=_weights_digest(files.path),
    )


def load_backbone(files: ModelFiles) -> Any:
    """Load the weights in single precision, all frozen, with autopeft's attention.

    Raises:
        BackboneError: The weights cannot be read, are not all there or do not fit the
            configuration.
    """
    import torch
    from transformers import AutoModel, logging

    from autopeft.methods.prefix import ATTENTION

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, report = AutoModel.from_pretrained(
            files.path,
            output_loading_info=True,
            dtype=torch.float32,
            attn_implementation=ATTENTION,
            local_files_only=True,
            trust_remote_code=False,
        )
    except Exception as error:
        raise BackboneError(
            f"cannot load the weights of {files.reference!r}: {_first_line(error)}; "
            "is the download complete?"
        ) from error
    # What the file lacks, transformers fills with random numbers. Checkpoints of masked language
    # models lack the pooler, which few heads need.
    missing = sorted(report["missing_keys"])
    if lost := [name for name in missing if not name.startswith("pooler.")]:
        raise BackboneError(
            f"the weights of {files.reference!r} lack {len(lost)} tensors, such as {lost[0]!r}: "
            "is this the model that config.json describes?"
        )
    if missing:
        model.pooler = None
    return model.requires_grad_(requires_grad=False).eval()


def load_tokenizer(files: ModelFiles) -> Any:
    """Load the tokenizer that lies beside the weights; it knows how long a text may be.

    Raises:
        BackboneError: Its files cannot be read, or it knows no padding token.
    """
    from transformers import AutoConfig, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(files.path, local_files_only=True)
        config = AutoConfig.from_pretrained(files.path, local_files_only=True)
    except Exception as error:
        raise BackboneError(
            f"cannot load the tokenizer of {files.reference!r}: {_first_line(error)}"
        ) from error
    if tokenizer.pad_token_id is None:
        raise BackboneError(
            f"the tokenizer of {files.reference!r} has no padding token: set pad_token in its "
            "tokenizer_config.json"
        )
    positions = config.max_position_embeddings
    if files.model_type in _POSITIONS_AFTER_PADDING:
        positions -= config.pad_token_id + 1
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return tokenizer


def default_head(files: ModelFiles) -> Head:
    """Choose how a sequence becomes one vector: as the model says, else the mean of its tokens.

    Sentence encoders carry ``1_Pooling/config.json``. Elsewhere the mean is the safer choice for a
    frozen backbone: it did better than the first token on the encoders we could measure.

    Raises:
        BackboneError: That file cannot be read.
    """
    pooling = files.path / "1_Pooling" / "config.json"
    if not pooling.is_file():
        return "mean"
    try:
        said = json.loads(pooling.read_text("utf-8"))
        # sentence-transformers has written one name since version 6, and flags before
        first = said.get("pooling_mode") == "cls" or said.get("pooling_mode_cls_token") is True
    except (ValueError, AttributeError, OSError) as error:
        raise BackboneError(
            f"cannot read {pooling}: {error!r}; is the download complete?"
        ) from None
    return "cls" if first else "mean"


def _locate(reference: str) -> Path:
    if reference.startswith(_PACKAGE):
        return _inside_package(reference.removeprefix(_PACKAGE))
    path = Path(os.path.expanduser(reference))  # noqa: PTH111  # Path's own raises for ~nobody
    if path.is_dir():
        return path.resolve()
    looks_like_path = reference.startswith((".", "/", "~")) or reference.count("/") > 1
    if path.exists() or looks_like_path or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", reference):
        raise BackboneError(
            f"there is no model directory {reference!r}: give a directory, a hub id such as "
            "'bert-base-uncased', or package:NAME for a model inside an installed package"
        )
    return _from_hub(reference)


def _from_hub(reference: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    try:
        return Path(snapshot_download(reference, local_files_only=True, allow_patterns=_WANTED))
    except Exception:
        pass
    try:
        return Path(snapshot_download(reference, allow_patterns=_WANTED, etag_timeout=5))
    except Exception as error:
        raise BackboneError(
            f"cannot get the model {reference!r} from the hub ({_first_line(error)}): there is no "
            "such directory here either; check the name and the network, or give a local directory"
        ) from None


def _inside_package(name: str) -> Path:
    try:
        files = metadata.files(name) or []
    except (metadata.PackageNotFoundError, ValueError):  # the latter for an empty name
        raise BackboneError(
            f"the package {name!r} is not installed: pip install {name}, or give another model"
        ) from None
    for file in files:
        if file.name == "config.json":
            folder = Path(str(file.locate())).parent
            if any(folder.glob("*.safetensors")):
                return folder
    raise BackboneError(f"the package {name!r} carries no model (config.json with *.safetensors)")


def _sites(architecture: Architecture, model: Any, reference: str) -> tuple[Site, ...]:
    from torch import nn

    sites = []
    for place in architecture.places:
        try:
            module = model.get_submodule(place.path.format(block=0))
        except AttributeError:
            raise BackboneError(
                f"the model {reference!r} has no {place.name} at {place.path.format(block=0)!r}, "
                f"where the architecture file {architecture.name}.yaml expects it"
            ) from None
        inputs, outputs, bias = 0, 0, False
        if isinstance(module, nn.Linear):
            inputs, outputs, bias = module.in_features, module.out_features, module.bias is not None
        elif place.kind == "norm":
            inputs = outputs = module.weight.numel()
            bias = getattr(module, "bias", None) is not None
        sites.append(
            Site(
                name=place.name,
                kind=place.kind,
                path=place.path,
                inputs=inputs,
                outputs=outputs,
                bias=bias,
            )
        )
    return tuple(_with_attention_widths(sites))


def _with_attention_widths(sites: list[Site]) -> list[Site]:
    from dataclasses import replace

    widths = {site.name: site.outputs for site in sites}
    keys, values = widths.get("attention.key", 0), widths.get("attention.value", 0)
    return [
        replace(site, inputs=keys, outputs=values) if site.kind == "attention" else site
        for site in sites
    ]


def _weights_digest(path: Path) -> str:
    digest = hashlib.sha256()
    for pattern in ("config.json", *_WEIGHTS, *_TOKENIZERS):
        for file in sorted(path.glob(pattern)):
            digest.update(file.name.encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
