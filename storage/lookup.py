"""Finding a study by what a person types, and what is said when something is not there."""

from collections.abc import Sequence
from difflib import get_close_matches

from autopeft.errors import StudyError
from autopeft.trial import Trial

LATEST = "latest"
FEWEST_DIGITS = 4
_SHOWN = 3


def find_study(reference: str, ids: Sequence[str]) -> str:
    """Find the id that a reference means; ``ids`` has the most recently used first.

    Raises:
        StudyError: There is no such study, or more than one.
    """
    wanted = reference.strip().lower()
    if not ids:
        raise StudyError(f"there is no study {reference!r}: the store is empty, run a search first")
    if wanted == LATEST:
        return ids[0]
    if wanted in ids:
        return wanted
    if len(wanted) < FEWEST_DIGITS:
        raise StudyError(
            f"{reference!r} is too short to name a study: write at least {FEWEST_DIGITS} digits "
            f"of its id, or '{LATEST}'; {_near(wanted, ids)}"
        )
    fitting = [known for known in ids if known.startswith(wanted)]
    if len(fitting) > 1:
        raise StudyError(
            f"{reference!r} fits {len(fitting)} studies, {', '.join(fitting)}: write more digits"
        )
    if not fitting:
        raise StudyError(
            f"there is no study {reference!r}: write an id, the start of one, or '{LATEST}'; "
            f"{_near(wanted, ids)}"
        )
    return fitting[0]


def _near(wanted: str, ids: Sequence[str]) -> str:
    near = [known for known in ids if known.startswith(wanted)][:_SHOWN]
    near = near or get_close_matches(wanted, ids, n=_SHOWN, cutoff=0.5)
    if near:
        return f"near are {', '.join(near)}"
    return f"the latest are {', '.join(ids[:_SHOWN])}"


def unknown_study(study_id: str) -> StudyError:
    """Say that an id is not in the store."""
    return StudyError(f"there is no study {study_id!r} in this store: add it first")


def unknown_trial(study_id: str, number: int) -> StudyError:
    """Say that a study has no trial of this number."""
    return StudyError(f"study {study_id} has no trial {number}: add it first")


def ended_otherwise(study_id: str, known: Trial) -> StudyError:
    """Say that a trial ended before, and not as is told now."""
    return StudyError(
        f"trial {known.number} of study {study_id} has already ended ({known.state}) with another "
        "result, which is kept: two processes run this study, stop one of them"
    )
