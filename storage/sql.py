"""A store that lasts: a SQLite file, or PostgreSQL."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, delete, func, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from autopeft.answer import Answer
from autopeft.errors import StoreError
from autopeft.plan import Plan
from autopeft.ports import Lease
from autopeft.storage import rows
from autopeft.storage.database import Database
from autopeft.storage.leases import HeldLease, Holder, refuse_if_held
from autopeft.storage.lookup import ended_otherwise, find_study, unknown_study, unknown_trial
from autopeft.storage.processes import Process, this_process
from autopeft.storage.tables import answers, leases, studies, trials
from autopeft.study import Study
from autopeft.trial import Proposal, Trial

_TICK = timedelta(microseconds=1)
_READ = (trials.c.number, trials.c.proposal, trials.c.outcome)
_NO_PREDICTIONS = literal(b"").label("predictions")


class SqlStore:
    """Fills ``Store`` in a database; may be used from several threads and processes.

    ``url`` is a file that ends in ``.db``, ``sqlite:///FILE`` or ``postgresql+psycopg://...``.
    The file and its folder are created, an older schema is brought up to date.

    Raises:
        StoreError: The store cannot be opened or, by any method, read or written.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] = time.time,
        process: Callable[[], Process] = this_process,
    ) -> None:
        self._clock = clock
        self._process = process
        self._database = Database(url)

    def close(self) -> None:
        """Close all connections; the store opens them again when it is used."""
        self._database.close()

    def add_study(self, study: Study) -> None:
        """Add a study, or only update where its model and data are when it is known."""
        columns = rows.study_columns(study)
        with self._database.writing() as connection:
            now = self._now()
            last = connection.scalar(select(func.max(studies.c.used)))
            # Later than every other even if the clock was set back, so that the order holds.
            used = max(now, last + _TICK) if last else now
            _insert_or_update(
                connection,
                {"id": study.id, **columns, "created": now, "used": used},
                changing=("location", "used"),
            )

    def study(self, reference: str) -> Study:
        """Find a study by its id, at least four of its first digits, or ``latest``."""
        with self._database.reading() as connection:
            ids = connection.scalars(select(studies.c.id).order_by(studies.c.used.desc())).all()
            study_id = find_study(reference, ids)
            row = connection.execute(select(studies).where(studies.c.id == study_id)).one()
        return rows.study_of(row)

    def studies(self) -> tuple[Study, ...]:
        """List all studies, the most recently used first."""
        with self._database.reading() as connection:
            found = connection.execute(select(studies).order_by(studies.c.used.desc())).all()
        return tuple(rows.study_of(row) for row in found)

    def add_trial(self, study_id: str, proposal: Proposal) -> Trial:
        """Give a proposal the next number and remember it as waiting."""
        with self._database.writing() as connection:
            _lock(connection, study_id)
            last = connection.scalar(
                select(func.max(trials.c.number)).where(trials.c.study_id == study_id)
            )
            trial = Trial(number=0 if last is None else last + 1, proposal=proposal)
            connection.execute(
                insert(trials).values(
                    study_id=study_id,
                    number=trial.number,
                    created=self._now(),
                    **rows.proposal_columns(proposal),
                    **rows.outcome_columns(trial),
                )
            )
        return trial

    def promote(self, study_id: str, trial: Trial, share: float) -> Trial:
        """Remember that a paused trial waits to be trained up to a larger share of its recipe."""
        with self._database.writing() as connection:
            promoted = _trial(connection, study_id, trial.number).promoted(share)
            changed = rows.proposal_columns(promoted.proposal)
            _write(connection, study_id, promoted, started=None, ended=None, **changed)
        return promoted

    def start(self, study_id: str, trial: Trial) -> Trial:
        """Remember that a trial is about to run, and return it as started."""
        started = trial.started()
        with self._database.writing() as connection:
            _trial(connection, study_id, trial.number)
            _write(connection, study_id, started, started=self._now(), ended=None)
        return started

    def put_back(self, study_id: str, trial: Trial) -> None:
        """Take back that a trial was started, because its run was stopped in an orderly way."""
        with self._database.writing() as connection:
            known = _trial(connection, study_id, trial.number)
            if not known.ended:
                _write(connection, study_id, trial.put_back(), started=None, ended=None)

    def finish(self, study_id: str, trial: Trial) -> None:
        """Remember a trial that has ended; doing it again with an equal trial changes nothing."""
        assert trial.ended, "only a trial that has ended can be finished"
        with self._database.writing() as connection:
            known = _trial(connection, study_id, trial.number)
            if not known.ended:
                _write(connection, study_id, trial, ended=self._now())
            elif rows.outcome_columns(known) != rows.outcome_columns(trial):
                raise ended_otherwise(study_id, known)

    def trials(self, study_id: str, *, predictions: bool = True) -> tuple[Trial, ...]:
        """List all trials of a study by number; without predictions they are not even read."""
        columns = select(trials) if predictions else select(*_READ, _NO_PREDICTIONS)
        with self._database.reading() as connection:
            _must_know(connection, study_id)
            found = connection.execute(
                columns.where(trials.c.study_id == study_id).order_by(trials.c.number)
            ).all()
        return tuple(rows.trial_of(row) for row in found)

    def save_answer(self, study_id: str, answer: Answer, plan: Plan) -> None:
        """Remember what a study has found; a later answer replaces an earlier one."""
        with self._database.writing() as connection:
            _lock(connection, study_id)
            connection.execute(delete(answers).where(answers.c.study_id == study_id))
            connection.execute(
                insert(answers).values(
                    study_id=study_id,
                    answer=rows.text_of(answer),
                    plan=rows.text_of(plan),
                    saved=self._now(),
                )
            )

    def answer(self, study_id: str) -> tuple[Answer, Plan] | None:
        """Return what a study has found, or None while it has found nothing."""
        with self._database.reading() as connection:
            _must_know(connection, study_id)
            row = connection.execute(select(answers).where(answers.c.study_id == study_id)).first()
        return row and rows.answer_of(row)

    @contextmanager
    def lease(self, study_id: str) -> Iterator[Lease]:
        """Hold a study for the time of a ``with`` block."""
        token = uuid4().hex
        mine = (leases.c.study_id == study_id) & (leases.c.token == token)
        self._take(study_id, token)

        def beat(now: float) -> bool:
            with self._database.writing() as connection:
                renewed = update(leases).where(mine).values(heartbeat=rows.moment(now))
                return connection.execute(renewed).rowcount == 1

        try:
            yield HeldLease(study_id, clock=self._clock, beat=beat)
        finally:
            # One that cannot be given back, such as on a full disk, lapses when the process ends.
            with suppress(StoreError), self._database.writing() as connection:
                connection.execute(delete(leases).where(mine))

    def _take(self, study_id: str, token: str) -> None:
        with self._database.writing() as connection:
            _lock(connection, study_id)
            row = connection.execute(select(leases).where(leases.c.study_id == study_id)).first()
            process, now = self._process(), self._clock()
            refuse_if_held(study_id, rows.holder_of(row) if row else None, process, now)
            holder = Holder(token=token, process=process, heartbeat=now)
            connection.execute(delete(leases).where(leases.c.study_id == study_id))
            connection.execute(
                insert(leases).values(study_id=study_id, **rows.holder_columns(holder))
            )

    def _now(self) -> datetime:
        return rows.moment(self._clock())


def _must_know(connection: Connection, study_id: str) -> None:
    if connection.scalar(select(studies.c.id).where(studies.c.id == study_id)) is None:
        raise unknown_study(study_id)


def _lock(connection: Connection, study_id: str) -> None:
    """Keep other writers off a study; in SQLite a write transaction does that by itself."""
    known = select(studies.c.id).where(studies.c.id == study_id).with_for_update()
    if connection.scalar(known) is None:
        raise unknown_study(study_id)


def _trial(connection: Connection, study_id: str, number: int) -> Trial:
    _lock(connection, study_id)
    wanted = (trials.c.study_id == study_id) & (trials.c.number == number)
    row = connection.execute(select(trials).where(wanted)).first()
    if row is None:
        raise unknown_trial(study_id, number)
    return rows.trial_of(row)


def _write(
    connection: Connection, study_id: str, trial: Trial, **others: datetime | str | None
) -> None:
    wanted = (trials.c.study_id == study_id) & (trials.c.number == trial.number)
    changed = rows.outcome_columns(trial) | others
    connection.execute(update(trials).where(wanted).values(**changed))


def _insert_or_update(
    connection: Connection, study: dict[str, Any], changing: tuple[str, ...]
) -> None:
    dialect = {"sqlite": sqlite, "postgresql": postgresql}[connection.dialect.name]
    adding = dialect.insert(studies).values(study)
    changes = {name: adding.excluded[name] for name in changing}
    connection.execute(adding.on_conflict_do_update(index_elements=["id"], set_=changes))
