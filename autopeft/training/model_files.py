"""Where models lie: in directories, packages and on the hub; and whether one is whole."""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from autopeft.errors import BackboneError
from autopeft.study import Head

_PACKAGE = "package:"
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_PROCESSOR = "preprocessor_config.json"
_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """A directory with a checked model: configuration, weights and what reads its input."""

    reference: str
    path: Path
    model_type: str

    @property
    def has_tokenizer(self) -> bool:
        """Whether it can be given texts."""
        return any(any(self.path.glob(pattern)) for pattern in _TOKENIZERS)

    @property
    def has_processor(self) -> bool:
        """Whether it can be given images."""
        return (self.path / _PROCESSOR).is_file()


def find_model(reference: str) -> ModelFiles:
    """Find a model: a directory, ``package:NAME`` for one inside a package, or a hub id.

    Raises:
        BackboneError: It is not there, or lacks configuration, weights, or both tokenizer and
            image processor.
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
    files = ModelFiles(reference=reference, path=path, model_type=model_type)
    if not (files.has_tokenizer or files.has_processor):
        raise BackboneError(
            f"the model {reference!r} has no tokenizer: {path} holds no tokenizer.json or "
            f"vocabulary, and no {_PROCESSOR} of a model for images; save the tokenizer into the "
            "same directory, or the image processor"
        )
    return files


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


def weights_digest(path: Path) -> str:
    """Return the SHA-256 of a model's configuration, weights and what reads its input."""
    digest = hashlib.sha256()
    for pattern in ("config.json", *_WEIGHTS, *_TOKENIZERS, "tokenizer_config.json", _PROCESSOR):
        for file in sorted(path.glob(pattern)):
            digest.update(file.name.encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def revision_of(files: ModelFiles) -> str | None:
    """Return the commit of the hub, or the version of the package, that a model came from.

    None for a directory, which has no revision but its digest.
    """
    if files.reference.startswith(_PACKAGE):
        name = files.reference.removeprefix(_PACKAGE)
        return f"{name} {metadata.version(name)}"
    return files.path.name if files.path.parent.name == "snapshots" else None


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
    # Without a network this returns what an earlier call has brought, if there was one.
    try:
        return Path(snapshot_download(reference, allow_patterns=_WANTED, etag_timeout=5))
    except Exception as error:
        raise BackboneError(
            f"cannot get the model {reference!r} from the hub ({first_line(error)}): there is no "
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


def first_line(error: Exception) -> str:
    """Return what a library's error says first, or its name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
