"""The runs that other runs lead to, children and successors: what each is started with. Pure, so that whoever makes one
a second time, in a recovery or a client, makes the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fencepost.records import ChildCreated, Origin, RunContinued, RunCreated, pack, unpack
from fencepost.replay.identity import secret_in, secret_of
from fencepost_store.events import Event, EventType
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


def successor_run(run: Run, created: Event, ended: bytes, grace: int) -> NewRun:
    """The run that goes on for one that has ended in run_continued: its workflow, queue, parent, timeout, secret, and
    the attributes that it had at its end. The start key stays with the first of the chain. ``ended``: the payload of
    run_continued.
    """
    record = unpack(ended, RunContinued)
    before = unpack(created.payload, RunCreated)
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
