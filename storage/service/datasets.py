"""Data that was uploaded."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from autopeft.errors import JobError, UnknownError
from autopeft.service.dataset import Dataset
from autopeft.service.job import Job, JobState, Kind
from autopeft.storage.database import Database
from autopeft.storage.rows import record_of, text_of
from autopeft.storage.service.documents import job_of
from autopeft.storage.service.tables import datasets, jobs

_ENDED = [state.value for state in JobState if state.ended]
_PREFIX = "dataset_"


class SqlDatasets:
    """Fills ``Datasets`` in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, dataset: Dataset) -> None:
        """Remember a data set."""
        with self._database.writing() as connection:
            try:
                connection.execute(insert(datasets).values(**_columns(dataset)))
            except IntegrityError:
                raise JobError(
                    f"there is a data set {dataset.id!r} already: give the new one its own id"
                ) from None

    def dataset(self, dataset_id: str) -> Dataset:
        """Find a data set."""
        with self._database.reading() as connection:
            return _read(connection, dataset_id)

    def page(
        self, *, owner: str | None = None, after: str | None = None, limit: int = 20
    ) -> tuple[tuple[Dataset, ...], bool]:
        """List data sets, the newest first, after one of them, and whether there are more."""
        wanted = select(datasets.c.document)
        if owner is not None:
            wanted = wanted.where(datasets.c.owner == owner)
        with self._database.reading() as connection:
            if after is not None:
                last = _read(connection, after)
                before = datasets.c.created < last.created
                same = and_(datasets.c.created == last.created, datasets.c.id < last.id)
                wanted = wanted.where(or_(before, same))
            newest = wanted.order_by(datasets.c.created.desc(), datasets.c.id.desc())
            documents = connection.scalars(newest.limit(limit + 1)).all()
        return tuple(map(_dataset_of, documents[:limit])), len(documents) > limit

    def change(self, dataset_id: str, change: Callable[[Dataset], Dataset]) -> Dataset:
        """Change a data set while no other writer is at it."""
        with self._database.writing() as connection:
            old = _read(connection, dataset_id, locking=True)
            new = replace(change(old), id=old.id)
            columns = _columns(new)
            connection.execute(update(datasets).where(datasets.c.id == old.id).values(**columns))
        return new

    def remove(self, dataset_id: str) -> None:
        """Forget a data set."""
        with self._database.writing() as connection:
            dataset = _read(connection, dataset_id, locking=True)
            user = next(_users(connection, dataset), None)
            if user is not None:
                raise JobError(
                    f"data set {dataset_id} is used by {user}, which has not ended: wait for it or "
                    "cancel it, then delete the data set"
                )
            connection.execute(delete(datasets).where(datasets.c.id == dataset_id))

    def bytes(self, owner: str) -> int:
        """Add up what an owner has uploaded."""
        wanted = select(func.coalesce(func.sum(datasets.c.bytes), 0))
        with self._database.reading() as connection:
            return int(connection.execute(wanted.where(datasets.c.owner == owner)).scalar_one())


def _read(connection: Connection, dataset_id: str, *, locking: bool = False) -> Dataset:
    wanted = select(datasets.c.document).where(datasets.c.id == dataset_id)
    document = connection.scalar(wanted.with_for_update() if locking else wanted)
    if document is None:
        raise UnknownError(
            f"there is no data set {dataset_id!r}: see the list of data sets for those there are"
        )
    return _dataset_of(document)


def keep(connection: Connection, job: Job) -> None:
    """Keep those who remove data sets off the ones that a new job names, until it is there.

    In SQLite a write transaction does so by itself.
    """
    named = [text for text in _texts(job.request) if text.startswith(_PREFIX)]
    if named and connection.dialect.name == "postgresql":
        mine = datasets.c.id.in_(named) & (datasets.c.owner == job.owner)
        connection.execute(
            select(datasets.c.id).where(mine).with_for_update(read=True, key_share=True)
        )


def _users(connection: Connection, dataset: Dataset) -> Iterator[str]:
    """Yield the jobs that have not ended and whose request names a data set, wherever in it.

    Those of its owner: nobody else's can use it, whatever they name. The job that reads it is none:
    without the data set it has nothing to do.
    """
    wanted = select(jobs).where(
        jobs.c.owner == dataset.owner,
        jobs.c.kind != Kind.DATASET.value,
        jobs.c.state.not_in(_ENDED),
        jobs.c.document.contains(dataset.id, autoescape=True),
    )
    for row in connection.execute(wanted):
        if dataset.id in _texts(job_of(row).request):
            yield row.id


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _columns(dataset: Dataset) -> dict[str, Any]:
    return {
        "id": dataset.id,
        "owner": dataset.owner,
        "created": dataset.created,
        "bytes": dataset.bytes,
        "document": text_of(dataset),
    }


def _dataset_of(document: str) -> Dataset:
    return record_of(Dataset, json.loads(document))
