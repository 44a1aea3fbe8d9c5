"""The runs that other runs lead to, children and successors: what each is started with. Pure, so that whoever makes one
a second time, in a recovery or a client, makes the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from fencepost.records import TIMEOUT, ChildCreated, Origin, RunContinued, RunCreated, RunStarted, pack, unpack
from fencepost.replay.identity import secret_in, secret_of
from fencepost_store.events import Event, EventType, NewEvent
from fencepost_store.lineage import parent_text
from fencepost_store.protocol import NewRun, Run


def child_run(parent: Run, parent_created: Event, entity: str, record: ChildCreated, grace: int) -> NewRun:
    """The run of a child. ``parent_created``: the parent's run_created; the child's secret is derived from the one in
    it. ``grace``: microseconds to its first deadline.
    """
    above = unpack(parent_created.payload, RunCreated)
    root = above.origin.root if above.origin is not None and above.origin.root else parent.run_id
    secret = secret_in(parent_created.payload)
    created = RunCreated(
        input=record.args,
        timeout=record.timeout,
        secret=secret_of(secret, parent.run_id, f"child:{entity}")[:16].hex() if secret else "",
        origin=Origin(parent=parent.run_id, entity=entity, queue=parent.queue, root=root),
        fingerprint=record.fingerprint,
    )
    return NewRun(
        run_id=record.run,
        workflow=record.name,
        queue=record.queue or parent.queue,
        payload=pack(created),
        grace=grace,
        key=record.key,
        parent=parent_text(parent.run_id, entity),
    )


def successor_run(run: Run, created: Event, started: bytes | None, ended: bytes, grace: int) -> NewRun:
    """The run that goes on for one that has ended in run_continued: its workflow, queue, parent, timeout, secret, and
    the attributes that it had at its end. The start key stays with the first of the chain. ``started``: the
    payload of its run_started, which has what the starter had left open; ``ended``: that of run_continued.
    """
    record = unpack(ended, RunContinued)
    before = closed(unpack(created.payload, RunCreated), started)
    origin = before.origin or Origin()
    origin = msgspec.structs.replace(origin, previous=run.run_id, first=origin.first or run.run_id)
    created_anew = msgspec.structs.replace(
        before, input=record.args, attributes=record.attributes, origin=origin, fingerprint=record.fingerprint
    )
    return NewRun(
        run_id=record.run,
        workflow=run.workflow,
        queue=run.queue,
        payload=pack(created_anew),
        grace=grace,
        parent=run.parent,
        attributes=record.attributes,
    )


def bound(run_id: str, stamp: int) -> str:
    """The id of the run that goes on, for the log whose fence carries ``stamp``. What it is given depends on all of
    that log, and so does its id: who starts it for a log that was lost starts another one (H194).
    """
    if not stamp:
        return run_id
    chance = blake2b(run_id.encode(), digest_size=8, key=stamp.to_bytes(8, "big"), person=b"fencepost-next").hexdigest()
    return f"{run_id[:20]}{chance[:3]}-{chance[3:15]}"


def closed(created: RunCreated, started: bytes | None) -> RunCreated:
    """With what the first turn has settled; as it is, if there was none yet."""
    if not created.open or started is None:
        return created
    timeout = unpack(started, RunStarted).timeout if TIMEOUT in created.open else created.timeout
    return msgspec.structs.replace(created, open=(), timeout=timeout)


def started_in(events: Sequence[Event] | Sequence[NewEvent]) -> bytes | None:
    """The payload of a log's run_started."""
    return next((event.payload for event in events if event.type is EventType.run_started), None)


def origin_of(created: Event) -> Origin:
    """Where a run comes from; empty if a client has started it."""
    return unpack(created.payload, _Origin).origin or Origin()


def successor_in(events: Sequence[Event]) -> str | None:
    """The id of the run that goes on for the one whose last events these are, if another does."""
    if not events or events[-1].type is not EventType.run_continued:
        return None
    return unpack(events[-1].payload, RunContinued).run


class _Origin(msgspec.Struct, frozen=True):
    """The one field of records.RunCreated that is of interest here: the rest may be long, and is not decoded."""

    origin: Origin | None = None
