"""What happened to a job, in the order in which it happened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Level = Literal["info", "warning", "error"]
EventKind = Literal["state", "progress", "trial", "message", "answer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something to be remembered: a sentence for people, and its data for programs.

    ``kind`` is ``state`` where the job's state changed (data: state), ``trial`` where a trial
    started or ended (data: number, state, score, parameters ...), ``progress`` for how far it is,
    ``answer`` for what was found, and ``message`` for all else.
    """

    kind: EventKind
    message: str
    level: Level = "info"
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A happening with its place in a job's history: ``number`` counts from 1, without gaps."""

    job: str
    number: int
    at: datetime
    happening: Happening
