"""Rounds of append: what a live instance asks for goes into the log until it asks for nothing more. Shared by turns
and by the hot path.

The caller holds the run's local lock. Nothing here settles a message.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import msgspec

from fencepost.engine.bounds import open_entities_of, warn_early
from fencepost.engine.deadline import deadline
from fencepost.engine.failing import note_failures
from fencepost.engine.live import LiveRun
from fencepost.engine.owed import Owed
from fencepost.engine.rehearsal import rehearse
from fencepost.engine.shell import Shell
from fencepost.engine.succession import tell_untaken, with_successor
from fencepost.log import Append, Landed, NotWritten
from fencepost.records import ChildCreated, RunStarted, StepCreated, StepStarted, pack, unpack
from fencepost.replay.instance import Instance
from fencepost.replay.interface import Program
from fencepost.replay.starting import completed_in
from fencepost.telemetry import note
from fencepost_store.events import KINDS, EventType, NewEvent
from fencepost_store.protocol import Batch, Outcome

INLINE_MAX = 8
"""Steps of a run that follow each other in one slot while other steps wait: each saves a hand-over, which costs about
as much as a short step ..."""

INLINE_SECONDS = 0.05
"""... and for how long: of long steps the hand-over is a small part."""


class Progress(enum.Enum):
    """How the rounds ended. ``quiet``: the instance asks for nothing more. ``conflict``: the fence was lost, leave
    (I5). ``stale``: our lease may have run out, walk
    away without settle and without release."""

    quiet = "quiet"
    conflict = "conflict"
    stale = "stale"


async def advance(shell: Shell, live: LiveRun, owed: Owed, token: str, via: Append | None = None) -> Progress:
    """Append until quiet. ``token``: the delivery on whose behalf this is done. Slots reserved for steps that did not
    land are given back.

    Raises StoreTrouble (outcome unknown), LimitExceeded, and what delivery raises (ReplayDivergence and the like)."""
    instance = live.instance
    assert instance is not None
    while True:
        shaped = _shape(shell, live, instance, token)
        inline = shaped.inline
        if not shaped.events:
            return Progress.quiet if owed.landed or via is not None else await _touch(shell, live, instance)
        kept = False
        try:
            await rehearse(shell, live, instance, via)
            if not shell.keeper.fresh(token):
                note("turn_walked_away", run=live.run_id)
                return Progress.stale
            kept = await _append(shell, live, instance, owed, shaped, via)
            if not kept:
                return Progress.conflict
            owed.inline |= inline
        finally:
            if not kept and inline:
                shell.slots.give(len(inline))


@dataclass(slots=True, eq=False)
class _Shaped:
    """A batch. ``inline``: the new steps that this worker runs itself; ``steps``: all of them, as they are recorded."""

    events: list[NewEvent] = field(default_factory=list[NewEvent])
    inline: set[str] = field(default_factory=set[str])
    steps: dict[str, StepCreated] = field(default_factory=dict[str, StepCreated])


async def _append(
    shell: Shell, live: LiveRun, instance: Instance, owed: Owed, shaped: _Shaped, via: Append | None
) -> bool:
    work = instance.work
    events = tuple(shaped.events)
    is_child = live.run is not None and live.run.parent is not None
    wake_at = deadline(work, events, shell.clock.now(), shell.rules, live.wake_at, parent=is_child, steps=shaped.steps)
    batch = Batch(
        run_id=live.run_id,
        fence=work.fence,
        events=events,
        seen=work.seen,
        wake_at=wake_at,
        grace=shell.rules.grace,
        stamp=work.stamp,
    )
    batch = with_successor(batch, live, work)
    open_entities = open_entities_of(instance)
    shell.ports.fault("append.before")
    written = await shell.log.append(batch, open_entities=open_entities, log_bytes=work.size, via=via)
    shell.ports.fault("append.after")
    if not isinstance(written, Landed):
        shell.clock.read(written.now)
        if isinstance(written, NotWritten):
            note("fence_conflict", run=live.run_id, fence=work.fence)
        return False
    shell.clock.read(written.now)
    live.wake_at = wake_at
    landed = written.events
    owed.note(live, work, landed, shaped.steps)
    note_failures(shell, live, landed)
    tell_untaken(live, work, landed)
    if landed and landed[0].seq != work.seen + 1:
        # Events that the code cannot see landed in between (a start by another worker): take them in, in order.
        missed = await shell.store.load(live.run_id, work.seen, work.seen_stamp)
        if missed is None or missed.after != work.seen:
            live.leave_branch(work)
            return False  # it has landed, for what the code sees is the same: who comes next reads the whole log
        landed = missed.events
    with shell.guard.turn(live.run_id):
        instance.deliver(landed)
    warn_early(shell, live, instance, events)
    return True


def _shape(shell: Shell, live: LiveRun, instance: Instance, token: str) -> _Shaped:
    """What is to be appended: run_started if it is missing, what is pending, and step_started for each new step that
    this worker runs itself.
    """
    with shell.guard.turn(live.run_id):
        pending = instance.pending()
    work = instance.work
    run = live.run
    assert run is not None
    shaped = _Shaped()
    if not pending and work.started:
        return shaped
    if not work.started and instance.begun:
        created = b"" if instance.work.created is None else instance.work.created.payload
        started = run_started(shell, run.queue, created, instance.program if instance.settles else None)
        shaped.events.append(NewEvent(type=EventType.run_started, payload=pack(started)))
    ending = bool(pending) and KINDS[pending[-1].type].ends_run
    started_payload = b""
    for event in pending:
        if event.type is not EventType.step_created:
            shaped.events.append(_naming(event) if event.type is EventType.child_created else event)
            continue
        shaped.events.append(event)
        record = shaped.steps[event.entity] = unpack(event.payload, StepCreated)
        if ending or shell.alone or not shell.slots.room or not _has(shell, record):
            continue
        if shell.slots.wanted and not _goes_on(shell, live):
            continue
        if record.mode == "thread" and shell.ports.thread_shortage():
            continue
        if (record.queue is None or record.queue == run.queue) and run.queue in shell.settings.queues:
            started_payload = started_payload or pack(StepStarted(worker=shell.worker))
            shaped.events.append(
                NewEvent(
                    type=EventType.step_started,
                    entity=event.entity,
                    attempt=1,
                    dedupe=token,
                    payload=started_payload,
                )
            )
            shaped.inline.add(event.entity)
            shell.slots.take()
    return shaped


def _goes_on(shell: Shell, live: LiveRun) -> bool:
    """Whether a run's next step may have the slot of the one that has ended although others wait for one. A slot that
    is free is theirs who wait. Else the step takes its turn behind them.
    """
    if not live.pumping:
        return False
    now = shell.ports.monotonic()
    if live.inline == 0:
        live.inline_since = now
    if live.inline >= INLINE_MAX or now - live.inline_since >= INLINE_SECONDS:
        return False
    live.inline += 1
    return True


def _naming(created: NewEvent) -> NewEvent:
    """A child's creation with the id of its run where the store can compare it (H194)."""
    return msgspec.structs.replace(created, dedupe=unpack(created.payload, ChildCreated).run)


def run_started(shell: Shell, queue: str, created: bytes, settles: Program | None) -> RunStarted:
    """The record of the first turn. Where the starter has left options to the code: with what this code says.
    ``created``: the payload of run_created.
    """
    started = RunStarted(worker=shell.worker, build=shell.settings.build)
    if settles is None:
        return started
    data = completed_in(settles, created)
    return msgspec.structs.replace(started, timeout=settles.timeout, queue=queue, input=data)


def _has(shell: Shell, record: StepCreated) -> bool:
    """Whether the step that this code has asked for is the one that this worker would run under the name."""
    step = shell.registry.find_step(record.name)
    return step is not None and step.arguments.fingerprint == record.fingerprint


async def _touch(shell: Shell, live: LiveRun, instance: Instance) -> Progress:
    """Nothing to append: set the deadline if it is not what it should be (H58, H97)."""
    work = instance.work
    if work.ended is not None:
        return Progress.quiet
    want = deadline(work, (), shell.clock.now(), shell.rules, live.wake_at)
    if want == live.wake_at:
        return Progress.quiet
    verdict = await shell.store.touch(live.run_id, work.fence, work.seen, want, work.stamp)
    shell.clock.read(verdict.now)
    if verdict.outcome is Outcome.conflict:
        note("fence_conflict", run=live.run_id, fence=work.fence)
        return Progress.conflict
    live.wake_at = want
    return Progress.quiet
