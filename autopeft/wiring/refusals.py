"""Why a request cannot be met, in the words of a request: the field to change, and no place."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from autopeft.errors import (
    AutopeftError,
    BackboneError,
    BudgetError,
    DataError,
    OptionError,
    PlanError,
    SpaceError,
    StoreError,
    StudyError,
)
from autopeft.service.job import Trouble
from autopeft.settings import ServiceSettings
from autopeft.wiring.hidden import Hidden

_CODES: tuple[tuple[type[AutopeftError], str], ...] = (
    (BudgetError, "invalid_budget"),
    (SpaceError, "invalid_space"),
    (DataError, "invalid_data"),
    (BackboneError, "invalid_model"),
    (OptionError, "invalid_option"),
    (StudyError, "invalid_option"),
    (StoreError, "store_unavailable"),
    (PlanError, "invalid_plan"),
)
# What the command line calls by another name than a request does.
_FIELDS = {
    **{f"--{name}": f"task.{name}" for name in ("metric", "head", "loss", "text", "label")},
    **{f"--{name}": name for name in ("model", "budget", "space", "strategy", "seed", "rungs")},
    "--text-pair": "task.text_pair",
    "--split": "task.split",
    "--task": "task.kind",
    "--max-length": "task.max_length",
    "--epochs": "recipe.epochs",
    "--batch-size": "recipe.batch_size",
    "--precision": "recipe.precision",
    "--warm-start": "warm_start",
    "--objective": "objectives",
    "--option": "options",
    "--data": "data",
    "--executor": "run.executor",
    "--workers": "run.workers",
    "--threads": "run.threads",
    "--memory": "run.memory",
    "--trials": "limits.trials",
    "--time": "limits.seconds",
    "--finals": "limits.finals",
}


class RefusedError(AutopeftError):
    """A request that cannot be met; ``trouble`` says why, and which of its fields to change."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.detail)
        self.trouble = trouble


def trouble_of(error: AutopeftError, service: ServiceSettings, param: str = "") -> Trouble:
    """Say what went wrong to whoever asked: in the words of a request, without any place."""
    if isinstance(error, RefusedError):
        return error.trouble
    code = next((code for kind, code in _CODES if isinstance(error, kind)), "internal")
    words = re.sub(r"--[a-z][a-z-]*", lambda found: _FIELDS.get(found[0], found[0]), str(error))
    return Trouble(code=code, detail=Hidden(service).text(words), param=param)


@contextmanager
def about(param: str, service: ServiceSettings) -> Iterator[None]:
    """Say of what goes wrong in a ``with`` block which field of the request it is about."""
    try:
        yield
    except StoreError:
        raise
    except AutopeftError as error:
        raise RefusedError(trouble_of(error, service, param)) from error
