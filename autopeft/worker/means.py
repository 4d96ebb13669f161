"""What a worker works with."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autopeft.files import writable_folder, write_text
from autopeft.ports import Store
from autopeft.service.dataset import Artifact
from autopeft.service.event import Event
from autopeft.service.ports import Service
from autopeft.settings import ServiceSettings
from autopeft.wiring.submitted import folder_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """The store in its two roles, and the settings of the service.

    ``cache`` is where supernets and outputs of frozen blocks are kept from study to study, of the
    latter at most ``block_cache`` GiB. ``memory`` are the bytes that a process that trains may use.
    """

    service: Service
    store: Store
    settings: ServiceSettings
    cache: Path
    block_cache: float = 4.0
    memory: int | None = None

    def memory_for(self, asked: int | None) -> int | None:
        """Return the bytes that a training may use: no more than is asked for, or given here."""
        return min((n for n in (asked, self.memory) if n is not None), default=None)

    def events(self, job_id: str) -> tuple[Event, ...]:
        """Return all that has happened to a job."""
        found: list[Event] = []
        while page := self.service.jobs.events(job_id, after=found[-1].number if found else 0):
            found += page
        return tuple(found)

    def folder(self, job_id: str) -> Path:
        """Return the folder of what a job makes, which is there and can be written.

        Raises:
            OutputError: It cannot be made, or not be written to.
        """
        return writable_folder(folder_of(job_id, self.settings))

    def keep(self, job_id: str, name: str, text: str, media_type: str) -> None:
        """Write a file of a job, and note that it is there.

        Raises:
            OutputError: It cannot be written.
        """
        write_text(self.folder(job_id) / name, text)
        self.note(job_id, name, media_type)

    def keep_json(self, job_id: str, name: str, document: Any) -> None:
        """Write a JSON document as `keep` does."""
        text = json.dumps(document, indent=2, ensure_ascii=False)
        self.keep(job_id, name, f"{text}\n", "application/json")

    def note(self, job_id: str, name: str, media_type: str) -> None:
        """Note that a file of a job is there."""
        file = folder_of(job_id, self.settings) / name
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        self.service.jobs.add_artifact(
            Artifact(
                job=job_id,
                name=name,
                file=str(file.relative_to(self.settings.folder.resolve())),
                media_type=media_type,
                bytes=file.stat().st_size,
                digest=digest,
                created=datetime.now(UTC),
            )
        )
