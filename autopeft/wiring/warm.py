"""Which earlier studies a new one begins with."""

from dataclasses import replace

from autopeft.errors import OptionError
from autopeft.ports import Store
from autopeft.study import Study


def with_earlier(study: Study, wanted: str, store: Store | None) -> Study:
    """Return the study with the earlier ones that it shall begin with: ``none``, ``auto`` or ids.

    They are a part of what a study is. A study that was begun with ``auto`` goes on with those it
    chose then, whatever has been measured since.

    Raises:
        OptionError: Ids are named, and there is no store yet.
        StudyError: There is no such study, or it has another kind of task.
    """
    from autopeft.wiring.earlier import named_studies, similar_studies

    if wanted == "none":
        return study
    if wanted != "auto":
        if store is None:
            raise OptionError("--warm-start names studies, and there is no store with any yet")
        return replace(study, earlier=named_studies(study, wanted.split(","), store))
    if store is None:
        return study
    for known in store.studies():
        if (same := replace(study, earlier=known.earlier)).id == known.id and known.earlier:
            return same
    return replace(study, earlier=similar_studies(study, store))
