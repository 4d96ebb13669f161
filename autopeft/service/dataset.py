"""Data that was uploaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from autopeft.service.job import Trouble


class DatasetState(StrEnum):
    """Whether it can be used."""

    VALIDATING = "validating"
    READY = "ready"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A file that was uploaded, and what was found in it.

    ``file`` is its name in the folder of the data set (a folder of images comes as an archive and
    is unpacked there); ``digest`` the SHA-256 of what was uploaded. ``found`` says what is in it:
    rows, columns, task, labels.
    """

    id: str
    owner: str
    name: str
    file: str
    bytes: int
    digest: str
    created: datetime
    state: DatasetState = DatasetState.VALIDATING
    found: Mapping[str, Any] = field(default_factory=dict)
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file that a job has made: ``file`` is its path in the service's folder."""

    job: str
    name: str
    file: str
    media_type: str
    bytes: int
    digest: str
    created: datetime
