"""Rows of Postgres as the store's types. Everything read is checked: a log that is not dense is CorruptLog, here and
nowhere else."""

from __future__ import annotations

from typing import Any

import msgspec

from fencepost_store.events import Event, EventType
from fencepost_store.protocol import CorruptLog, DueRun, Parked, Run, RunDetails, RunStatus, StoreTrouble, TokenTrace
from fencepost_store.taken import Taken

_TYPES = {int(event_type): event_type for event_type in EventType}
_STATUSES = {int(status): status for status in RunStatus}


def run_of(row: Any) -> Run:
    """A row of ``runs``."""
    parked = row["parked"]
    return Run(
        run_id=str(row["run_id"]),
        workflow=row["workflow"],
        queue=row["queue"],
        status=status_of(row, str(row["run_id"])),
        last_seq=row["last_seq"],
        fence=row["fence"],
        wake_at=row["wake_at"],
        key=row["key"],
        parent=row["parent"],
        parked=None if parked is None else msgspec.json.decode(parked, type=Parked),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        stamp=row["stamp"],
    )


def due_of(row: Any) -> DueRun:
    """A run that wants a tick."""
    return DueRun(str(row["run_id"]), row["queue"], row["wake_at"])


def details_of(row: Any) -> RunDetails:
    """What is shown with a run."""
    attributes = row["attributes"]
    found = {} if attributes is None else msgspec.json.decode(attributes, type=dict[str, str])
    return RunDetails(found, row["starts_at"])


def trace_of(row: Any, token: str) -> TokenTrace:
    """What became of a token."""
    taken_by, taken = row["taken_by"], row["taken_run"]
    return TokenTrace(
        token=token,
        run_id=str(row["run_id"]),
        entity=row["entity"],
        workflow=row["workflow"],
        queue=row["queue"],
        status=status_of(row, str(row["run_id"])),
        at=row["at"],
        payload=row["payload"],
        live=row["live"],
        taken_by=None if taken_by is None else str(taken_by),
        last_seq=row["last_seq"],
        received=row["received_bytes"],
        taken=None if taken is None else Taken(str(taken), row["taken_entity"], row["taken_seq"], row["taken_payload"]),
        stamp=row["stamp"],
    )


def page_of(row: Any, run_id: str, after_seq: int) -> tuple[Event, ...]:
    """One page of a log, which must begin right above ``after_seq`` and have no gap."""
    found = row["found"]
    if found == 0:
        return ()
    if row["first"] != after_seq + 1 or row["last"] - row["first"] + 1 != found:
        raise CorruptLog(
            f"run {run_id}: {found} events found in {row['first']}..{row['last']},"
            f" expected from {after_seq + 1} on without a gap"
        )
    return events_of(row, range(row["first"], row["last"] + 1), run_id)


def events_of(row: Any, seqs: Any, run_id: str) -> tuple[Event, ...]:
    """The events whose columns stand in the row's arrays."""
    columns = zip(
        seqs,
        row["types"],
        row["entities"],
        row["attempts"],
        row["ats"],
        row["dues"],
        row["tokens"],
        row["dedupes"],
        row["payloads"],
        row["stamps"],
        strict=True,
    )
    try:
        return tuple(Event(seq, _TYPES[number], *rest) for seq, number, *rest in columns)
    except KeyError as error:
        raise CorruptLog(
            f"run {run_id}: event type {error.args[0]} is not in the event table of this version"
        ) from None


def status_of(row: Any, run_id: str) -> RunStatus:
    """The run's status in a row. Raises StoreTrouble for one that a newer version has written."""
    status = _STATUSES.get(row["status"])
    if status is None:
        raise StoreTrouble(f"run {run_id} has status {row['status']}, which this version does not know")
    return status
