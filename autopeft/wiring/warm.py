"""Which earlier studies a new one begins with."""

from dataclasses import replace

from autopeft.errors import OptionError
from autopeft.ports import Store
from autopeft.study import Study, first_tried


def with_earlier(study: Study, wanted: str, store: Store | None) -> Study:
    """Return the study with the earlier ones that it shall begin with: ``none``, ``auto`` or ids.

    They are a part of what a study is, and so are the trials of theirs that it begins with. A study
    that was begun goes on with those it began with, whatever has been measured since.

    Raises:
        OptionError: Ids are named, and there is no store yet.
        StudyError: There is no such study, or it has another kind of task.
    """
    from autopeft.wiring.earlier import named_studies, pinned, similar_studies

    if wanted == "none":
        return study
    if store is None and wanted != "auto":
        raise OptionError("--warm-start names studies, and there is no store with any yet")
    if store is None:
        return study
    named = None if wanted == "auto" else named_studies(study, wanted.split(","), store)
    if begun := _begun(study, named, store):
        return begun
    chosen = similar_studies(study, store) if named is None else named
    return pinned(replace(study, earlier=chosen), store)


def _begun(study: Study, named: tuple[str, ...] | None, store: Store) -> Study | None:
    """Find the study as it was begun, with these earlier ones or, for None, with any."""
    for known in store.studies():
        same = replace(study, earlier=known.earlier)
        ids = tuple(first_tried(earlier)[0] for earlier in known.earlier)
        if same.id == known.id and ids and named in {None, ids}:
            return same
    return None
