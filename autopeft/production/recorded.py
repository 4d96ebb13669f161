"""What was recorded of weights when they were written, held against what lies there now."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopeft.errors import AutopeftError, PlanError
from autopeft.evidence import Exported
from autopeft.plan import FILE, read_plan
from autopeft.production.reading import Weights, digest_of, digests_in
from autopeft.training.probe import apart, numbers_of

NOTHING = "nothing recorded to compare with"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at, whether it is as the plan says, and what was found.

    ``checked`` is False where there is nothing to hold it against; ``right`` says nothing then.
    """

    what: str
    right: bool
    found: str
    checked: bool = True

    @property
    def state(self) -> str:
        """``ok``, ``NO`` or ``not checked``."""
        if not self.checked:
            return "not checked"
        return "ok" if self.right else "NO"


class NothingRecordedError(Exception):
    """There is nothing to compare with; the message says why."""


def counted(what: str, planned: int, found: int) -> Finding:
    """Hold a number against the one that it should be."""
    said = f"{found:,}" if planned == found else f"{found:,}, and the plan says {planned:,}"
    return Finding(what=what, right=planned == found, found=said)


def tried(what: str, look: Callable[[], str]) -> Finding:
    """Look at something: what is refused is not right, what was never recorded not checked."""
    try:
        return Finding(what=what, right=True, found=look())
    except NothingRecordedError as why:
        return Finding(what=what, right=True, found=str(why), checked=False)
    except AutopeftError as error:
        return Finding(what=what, right=False, found=str(error))


def check_values(weights: Weights) -> str:
    """Compare all values, those of the head too, with what training wrote.

    Raises:
        NothingRecordedError: The file is of before that was recorded.
        PlanError: They are others.
    """
    if not (known := weights.says.get("values")):
        raise NothingRecordedError(NOTHING)
    if known != digest_of(weights.all):
        raise PlanError("some, or those of the head, are not what was written when training ended")
    return known[:12]


def exported_in(folder: Path) -> Exported:
    """Return what was recorded when a directory was exported.

    Raises:
        NothingRecordedError: No plan lies there.
        PlanError: The plan there is not that of an export.
    """
    if not (folder / FILE).is_file():
        raise NothingRecordedError(f"{NOTHING}: no plan lies beside it")
    exported = read_plan(folder / FILE).exported
    if exported is None:
        raise PlanError("the plan beside it does not say what the model gave when it was exported")
    return exported


def converted(folder: Path) -> int | None:
    """Return the largest rank of a conversion to LoRA, None where there was none."""
    try:
        return exported_in(folder).rank
    except (PlanError, NothingRecordedError):
        return None  # as other findings say


def check_exported_files(folder: Path) -> str:
    """Compare files of weights, that of the head too, with those that were written.

    Raises:
        NothingRecordedError: The export is of before that was recorded.
        PlanError: One is missing, too many, or another.
    """
    known = exported_in(folder).files
    if known is None:
        raise NothingRecordedError(NOTHING)
    found = digests_in(folder)
    odd = sorted(name for name in {*known, *found} if known.get(name) != found.get(name))
    if odd:
        what = "is missing" if odd[0] not in found else "is not as it was exported"
        raise PlanError(f"{odd[0]} {what}")
    return ", ".join(known)


def probe_of_copy(folder: Path, base: Any) -> str:
    """Compare what an exported model gives with what it gave when it was exported."""
    return check_probe(exported_in(folder).probe, numbers_of(base))


def check_probe(known: Sequence[float], found: Sequence[float]) -> str:
    """Compare what a model gives with what was recorded of it.

    Raises:
        NothingRecordedError: There are no numbers, as for a model with two sides.
        PlanError: They are too far apart.
    """
    if not known and not found:
        raise NothingRecordedError(f"{NOTHING}: nothing is made up for such a model")
    if len(known) != len(found):
        raise PlanError(f"{len(known)} numbers were recorded, and the model gives {len(found)}")
    if (far := apart(known, found)) is not None:
        raise PlanError(f"what the model gives differs by {far:.2g} from what was recorded")
    return f"{len(found)} numbers as recorded"
