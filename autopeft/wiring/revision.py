"""Which code ran: the commit of a checkout, read without running git, else the version."""

from contextlib import suppress
from pathlib import Path

import autopeft

_LINK = "gitdir:"
_REF = "ref:"


def code_revision(package: Path | None = None) -> str:
    """Return the commit that autopeft is checked out at, or its version where it was installed.

    What was changed since that commit is not seen. Only a repository whose top holds the package
    counts: one in whose virtual environment it is installed is another project.
    """
    root = (package or Path(autopeft.__file__).parent).parent
    with suppress(OSError, UnicodeDecodeError):
        if commit := _commit(root / ".git"):
            return f"git {commit}"
    return f"autopeft {autopeft.__version__}"


def _commit(place: Path) -> str:
    """Return the commit of a repository, or nothing where there is none, or none yet."""
    folder = place
    if place.is_file():  # of a worktree: it says where its own folder is
        folder = place.parent / place.read_text("utf-8").removeprefix(_LINK).strip()
    head = folder / "HEAD"
    if not head.is_file():
        return ""
    said = head.read_text("utf-8").strip()
    if not said.startswith(_REF):
        return said
    common = folder / "commondir"
    shared = folder / common.read_text("utf-8").strip() if common.is_file() else folder
    return _resolved(shared, said.removeprefix(_REF).strip())


def _resolved(folder: Path, ref: str) -> str:
    if (folder / ref).is_file():
        return (folder / ref).read_text("utf-8").strip()
    packed = folder / "packed-refs"
    lines = packed.read_text("utf-8").splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {ref}")), "")
