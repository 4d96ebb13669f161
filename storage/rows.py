"""Records to the columns of a row and back."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Row

from autopeft.answer import Answer
from autopeft.errors import StoreError
from autopeft.plan import Plan
from autopeft.records import from_json, to_json
from autopeft.storage.leases import Holder
from autopeft.storage.processes import Process
from autopeft.study import Study
from autopeft.trial import Proposal, Trial

Record = TypeVar("Record")


def moment(seconds: float) -> datetime:
    """Return seconds since the epoch as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def text_of(record: Any) -> str:
    """Return a record as the text of its document."""
    return json.dumps(to_json(record))


def record_of(kind: type[Record], document: Mapping[str, Any]) -> Record:
    """Read a record from its document.

    Raises:
        StoreError: The document was written by another version, or by hand.
    """
    try:
        return from_json(kind, document)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise StoreError(
            f"the store holds a {kind.__name__.lower()} that this autopeft cannot read: {reason}; "
            "open it with the version that wrote it, or use another --store"
        ) from error


def study_columns(study: Study) -> dict[str, str]:
    """Return a study as its document, and where it lies on this machine apart from it."""
    document = to_json(study)
    location = document.pop("where")
    return {"document": json.dumps(document), "location": json.dumps(location)}


def study_of(row: Row[Any]) -> Study:
    """Read a study from its row."""
    return record_of(Study, json.loads(row.document) | {"where": json.loads(row.location)})


def proposal_columns(proposal: Proposal) -> dict[str, str]:
    """Return what a trial has from its proposal."""
    return {"purpose": proposal.purpose.value, "proposal": text_of(proposal)}


def outcome_columns(trial: Trial) -> dict[str, Any]:
    """Return what has become of a proposal. Equal trials give equal columns, also with nan."""
    measurement = trial.measurement
    bare = replace(trial, measurement=measurement and replace(measurement, predictions=b""))
    document = to_json(bare)
    del document["number"], document["proposal"]
    return {
        "state": trial.state.value,
        "score": None if not measurement or math.isnan(measurement.score) else measurement.score,
        "parameters": measurement and measurement.parameters,
        "outcome": json.dumps(document),
        "predictions": measurement and measurement.predictions,
    }


def trial_of(row: Row[Any]) -> Trial:
    """Read a trial from its row."""
    document = {"number": row.number, "proposal": json.loads(row.proposal)}
    trial = record_of(Trial, document | json.loads(row.outcome))
    if not trial.measurement:
        return trial
    return replace(trial, measurement=replace(trial.measurement, predictions=row.predictions))


def answer_of(row: Row[Any]) -> tuple[Answer, Plan]:
    """Read what a study has found from its row."""
    return record_of(Answer, json.loads(row.answer)), record_of(Plan, json.loads(row.plan))


def holder_columns(holder: Holder) -> dict[str, Any]:
    """Return who runs a study."""
    process = holder.process
    return {
        "token": holder.token,
        "host": process.host,
        "namespace": process.namespace,
        "pid": process.pid,
        "started": process.started,
        "heartbeat": moment(holder.heartbeat),
    }


def holder_of(row: Row[Any]) -> Holder:
    """Read who runs a study from its row."""
    return Holder(
        token=row.token,
        process=Process(host=row.host, namespace=row.namespace, pid=row.pid, started=row.started),
        heartbeat=row.heartbeat.timestamp(),
    )
