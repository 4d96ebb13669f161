"""What a request may name of the machine that serves it: models and files below its roots.

A command line reads whatever its user may read. A service reads for others, so it takes names only
from the folders, packages and hubs that whoever runs it has allowed, and says the same of a file
that is elsewhere as of one that is nowhere.
"""

import os
import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from autopeft.errors import BackboneError, DataError
from autopeft.settings import ServiceSettings
from autopeft.training.model_files import find_model
from autopeft.wiring.plain import must_be_plain

PACKAGE = "package:"
_SCHEME = re.compile(r"[^/]*:")
_HUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
_MOST_LISTED = 1_000
_DEEPEST = 4
_MOST_FILES = 1_000_000


def model_allowed(text: str, service: ServiceSettings) -> str:
    """Return the model that a request names, as `find_model` takes it, if the service allows it.

    That is ``package:NAME``, the whole path of a folder, or a hub id. What a hub id brings is not
    known before it is there: `check_download` sees to that.

    Raises:
        BackboneError: It is not allowed, or would run code of its own.
    """
    if text.startswith(PACKAGE):
        return _packaged(text, service)
    folder = _model_folder(text, service)
    if folder is None:
        return text
    must_be_plain(folder, text, _roots(service.models))
    return str(folder)


def check_model(text: str, service: ServiceSettings) -> None:
    """Refuse a model that can be seen not to be offered, without opening it.

    Where a folder of models is on other machines alone, a worker there has to say so.

    Raises:
        BackboneError: It is not one that the service offers.
    """
    if text.startswith(PACKAGE):
        _must_be_offered(text, service)
    elif _all_here(service.models):
        _model_folder(text, service)


def check_download(model: str) -> None:
    """Download a model that `model_allowed` has returned as a hub id, and look at what came.

    All others have been looked at when they were named.

    Raises:
        BackboneError: It cannot be had, or would run code of its own.
    """
    if model.startswith(PACKAGE) or Path(model).is_absolute():
        return
    folder = find_model(model).path
    # the files are links into a folder beside that of the versions, which is the model's own too
    must_be_plain(folder, model, [folder.resolve().parents[1]])


def file_allowed(text: str, service: ServiceSettings) -> Path:
    """Return the whole path of a data file, or folder of images, that a request may read.

    Raises:
        DataError: It is not below one of the service's folders of data, or holds links out of them.
    """
    found = _file(text, service)
    if found.is_dir():
        _must_stay_inside(found, text, _roots(service.data))
    return found


def check_file(text: str, service: ServiceSettings) -> None:
    """Refuse a data file that can be seen not to be allowed, as `check_model` does with models.

    Raises:
        DataError: It is not below one of the service's folders of data.
    """
    if _all_here(service.data):
        _file(text, service)


def models_listed(service: ServiceSettings) -> list[str]:
    """List the models that may be named: packages, then folders as they are written in a request.

    Whether a folder is refused for what is in it is found out when it is named.
    """
    packages = [f"{PACKAGE}{name}" for name in service.packages if _installed(name)]
    roots = _roots(service.models)
    names = (_named(folder, roots) for root in roots for folder in _model_folders(root))
    return packages + sorted(dict.fromkeys(names))[:_MOST_LISTED]


def _packaged(text: str, service: ServiceSettings) -> str:
    _must_be_offered(text, service)
    folder = find_model(text).path
    must_be_plain(folder, text, [folder.resolve()])
    return text


def _must_be_offered(text: str, service: ServiceSettings) -> None:
    if text.removeprefix(PACKAGE) not in service.packages:
        raise BackboneError(
            f"the model {_shown(text)} is not one that this service offers: {_models(service)}"
        )


def _model_folder(text: str, service: ServiceSettings) -> Path | None:
    """Return the folder that a name leads to, None for a hub id; all others are refused."""
    folder = _below(text, _roots(service.models), service)
    if folder is not None and folder.is_dir():
        return folder
    # The library would take a folder of this name in the working directory for the model.
    if service.hub and _HUB.fullmatch(text) and ".." not in text and not os.path.lexists(text):
        return None
    raise BackboneError(
        f"the model {_shown(text)} is not one that this service offers: {_models(service)}; "
        "GET /v1/models lists them"
    )


def _file(text: str, service: ServiceSettings) -> Path:
    roots = _roots(service.data)
    found = _below(text, roots, service)
    if found is None or not (found.is_file() or found.is_dir()):
        raise DataError(f"cannot read the data {_shown(text)}: {_files(roots)}")
    return found


def _all_here(folders: Iterable[str]) -> bool:
    return all(os.path.isdir(root) for root in _roots(folders))  # noqa: PTH112  # never raises


def _roots(folders: Iterable[str]) -> list[Path]:
    return [Path(folder).expanduser().resolve() for folder in folders]


def _below(text: str, roots: list[Path], service: ServiceSettings) -> Path | None:
    """Return where a path leads, if it is below a root and not of what the service itself keeps."""
    if not text.isprintable() or _SCHEME.match(text) or ".." in Path(text).parts or not text:
        return None
    own = service.folder.resolve()
    for root in roots:
        try:
            found = (root / text).resolve(strict=True)  # an absolute path replaces the root
        except (OSError, RuntimeError, ValueError):  # not there, a circle of links, no UTF-8
            continue
        inside = found.is_relative_to(root)
        if inside and not found.is_relative_to(own) and not own.is_relative_to(found):
            return found
    return None


def _must_stay_inside(folder: Path, text: str, roots: list[Path]) -> None:
    for count, entry in enumerate(_walk(folder)):
        if count >= _MOST_FILES:
            raise DataError(f"the folder {_shown(text)} holds more than {_MOST_FILES:,} files")
        if entry.is_symlink() and not _leads_below(entry, roots):
            raise DataError(
                f"the folder {_shown(text)} is refused: {_named(entry, roots)} is a link that "
                "leads out of the service's folders of data; put the file itself there"
            )


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(place, name)


def _leads_below(link: Path, roots: list[Path]) -> bool:
    try:
        return any(link.resolve().is_relative_to(root) for root in roots)
    except (OSError, RuntimeError):
        return False


def _model_folders(root: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(root):
        here = Path(place)
        if "config.json" in files and any(file.endswith(".safetensors") for file in files):
            yield here
            folders.clear()
        elif len(here.relative_to(root).parts) >= _DEEPEST:
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def _named(path: Path, roots: list[Path]) -> str:
    """Write a path as a request would: seen from its root, the root itself by its whole path."""
    for root in roots:
        if path.is_relative_to(root):
            return str(path.relative_to(root)) if path != root else str(root)
    return path.name


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        return False
    return True


def _models(service: ServiceSettings) -> str:
    packages = [f"{PACKAGE}{name}" for name in service.packages]
    if service.models:
        packages.append("a folder below its folders of models, as a path seen from there")
    if service.hub:
        packages.append("a hub id such as bert-base-uncased")
    return f"give {', or '.join(packages)}" if packages else "it was started without any model"


def _files(roots: list[Path]) -> str:
    if not roots:
        return (
            "this service reads no files of its machine: upload the data (POST /v1/datasets) and "
            "name the data set"
        )
    return (
        "give the path of a file as seen from one of the service's folders of data, or upload the "
        "data (POST /v1/datasets) and name the data set"
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else f"{text[:200]}...")
