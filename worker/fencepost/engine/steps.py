"""A step message: look the step up, start the attempt in the log, run the body, bring its end into the log
(docs/protocol.md section 6).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from fencepost.engine.aids import Aids
from fencepost.engine.bodies import Attempt, crashed, outlived, run_attempt
from fencepost.engine.body_task import BodyStopped, BodyTask
from fencepost.engine.failing import note_failures
from fencepost.engine.handback import hand_back, hand_back_unbegun, release, settle
from fencepost.engine.hotpath import after_terminal_fact, complete
from fencepost.engine.joining import Joining
from fencepost.engine.joint_end import complete_joint
from fencepost.engine.live import LiveRun
from fencepost.engine.overdue import timed_out
from fencepost.engine.owed import own_tick
from fencepost.engine.shell import Shell
from fencepost.engine.shortage import NotBegun
from fencepost.engine.streams import AttemptStreams, Writing
from fencepost.engine.unfit import Unfit, refuse, step_lack
from fencepost.log import Landed, only_fact
from fencepost.payload_codecs import current, lacking
from fencepost.records import StepCreated, StepStarted, pack, unpack
from fencepost.replay.fold import OpenWork, StepState
from fencepost.telemetry import note, note_lacking
from fencepost_queue.protocol import Delivery, Entry, QueueTrouble
from fencepost_store.admission import ATTEMPT_MAX
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch, FactOutcome, FactVerdict, Reason, StoreTrouble

LOOKUPS_MAX = 5
"""How often one delivery looks its step up again after another took its attempt; then the message is released."""

UNFIT_DELAY_MS = 5_000
"""Upper end of the delay before a started step whose process has other code than its worker is offered again."""

MISSING_KEY_DELAY_MS = 10_000
"""Upper end of the delay before a step whose arguments this worker cannot decrypt is offered again."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The step needs no body: it has ended, or its run has. ``pruned``: there is no such run, any more or yet."""

    pruned: bool = False


async def handle_step(shell: Shell, delivery: Delivery) -> None:
    """Deal with a claimed step message, for which the caller holds a slot. It is settled, released or walked away from
    when this returns.
    """
    run_id, _, entity = delivery.key[2:].partition(":")
    live = shell.runs.enter(run_id)
    live.inline = 0
    try:
        attempt = await _start(shell, live, delivery, entity)
        if attempt is not None:
            await run_body(shell, live, delivery, attempt)
    except Unfit as unfit:
        await _unfit(shell, delivery, unfit)
    except (StoreTrouble, QueueTrouble) as trouble:
        live.drop_idle()
        await hand_back(shell, delivery, trouble)
    finally:
        shell.runs.leave(live)


async def _unfit(shell: Shell, delivery: Delivery, unfit: Unfit) -> None:
    """The attempt stands in the log as started, and is none: it has used up no retry. Its process may be the only one
    with such code, so the message is left alone for a while instead of refused.
    """
    delay = shell.jitter_ms(UNFIT_DELAY_MS)
    run_id, _, entity = delivery.key[2:].partition(":")
    note("code_unfit", name=entity, run=run_id, lack=str(unfit), count=1)
    await release(shell, delivery, delay)


async def handle_granted(
    shell: Shell, live: LiveRun, delivery: Delivery, entity: str, created: StepCreated, stamp: int
) -> None:
    """A step whose message was leased to us by a settle and whose start stands in the log already. The caller has
    reserved the slot, and keeps the run's entry.
    """
    try:
        state = live.instance.work.steps.get(entity) if live.instance is not None else None
        # Without it: created a moment ago, in the batch before the settle that granted this.
        at = shell.clock.now() if state is None else state.created.at
        attempt = _attempt(shell, live, delivery, entity, created, at, stamp, 1, 0)
        await run_body(shell, live, delivery, replace(attempt, stamp=stamp))
    except Unfit as unfit:
        await _unfit(shell, delivery, unfit)
    except (StoreTrouble, QueueTrouble) as trouble:
        live.drop_idle()
        await hand_back(shell, delivery, trouble)


def _attempt(
    shell: Shell,
    live: LiveRun,
    delivery: Delivery,
    entity: str,
    created: StepCreated,
    at: int,
    of: int,
    number: int,
    failures: int,
) -> Attempt:
    if live.run is None:  # a turn has found no such run a moment ago
        raise StoreTrouble(f"run {live.run_id} is there and is not: another server than a moment ago")
    close = created.policy.schedule_to_close
    return Attempt(
        run_id=live.run_id,
        workflow=live.run.workflow,
        entity=entity,
        number=number,
        failures=failures,
        token=delivery.token,
        of=of,
        created=created,
        payload_bytes_max=shell.log.limits.payload_bytes_max,
        left=None if close is None else max(0.0, close - (shell.clock.now() - at) / 1_000_000),
    )


async def _start(shell: Shell, live: LiveRun, delivery: Delivery, entity: str) -> Attempt | None:
    """Look up and append step_started. None: no body is to be run, the message has been dealt with."""
    instance = live.instance if live.run is not None else None  # None: the run was not there a moment ago
    known = instance.work.steps.get(entity) if instance is not None else None
    if known is not None and known.started:
        # The code cannot see retries, so no turn hears of them, and an instance may not have taken in how often the
        # step has failed elsewhere (H69). Of a first start it is enough that it lands: nothing can have been before it.
        known = None
    for _ in range(LOOKUPS_MAX):
        state = known if known is not None else await _look_up(shell, live, entity)
        known = None
        shell.ports.fault("step.looked_up")
        if isinstance(state, Gone):
            await _settle_gone(shell, live, delivery, state)
            return None
        if shell.begins is not None:
            shell.begins()
        number = state.started + 1
        created = unpack(state.created.payload, StepCreated)
        missing = lacking(created.args, current())
        if missing is not None:
            note_lacking(missing, live.run_id)
            await release(shell, delivery, shell.jitter_ms(MISSING_KEY_DELAY_MS))
            return None
        overdue = state.overdue
        if overdue is not None and overdue.due <= shell.clock.now():
            await complete(shell, live, delivery, timed_out(entity, state, overdue, delivery.token))
            return None
        shortage = shell.ports.thread_shortage() if created.mode == "thread" else ""
        if shortage and delivery.proofs < shell.settings.poison_proofs:
            await hand_back_unbegun(shell, delivery, shortage)
            return None
        at, of = state.created.at, state.created.stamp
        attempt = _attempt(shell, live, delivery, entity, created, at, of, number, state.failures)
        if delivery.proofs >= shell.settings.poison_proofs:
            note("poisoned", key=delivery.key)
            last = _attempt(shell, live, delivery, entity, created, at, of, state.started, state.failures)
            await complete(shell, live, delivery, crashed(last, delivery.proofs))
            return None
        lack = step_lack(shell.registry, created)
        if lack is not None:
            await refuse(shell, delivery, lack, created.name)
            return None
        started = _started(shell, delivery, entity, number, created, of)
        if number > ATTEMPT_MAX:
            await complete(shell, live, delivery, outlived(attempt, state.started))
            return None
        verdict, stamp = await _append_fact(shell, live, started)
        if verdict.outcome in (FactOutcome.landed, FactOutcome.already):
            attempt = replace(attempt, stamp=stamp)
            return attempt if number == 1 else await _next(shell, live, delivery, attempt)
        if verdict.outcome is FactOutcome.early:
            await release(shell, delivery, max(shell.settings.delay_floor_ms, -(-verdict.rest // 1000)))
            return None
        if verdict.reason is Reason.no_entity:  # what is known here is of a log that is gone (H193)
            live.drop_idle()
        elif verdict.reason is not Reason.other_attempt:
            await _settle_gone(shell, live, delivery, Gone(verdict.reason is Reason.run_not_found))
            return None
    await release(shell, delivery, shell.jitter_ms(1_000))
    return None


def _started(shell: Shell, delivery: Delivery, entity: str, number: int, created: StepCreated, of: int) -> NewEvent:
    """``step_lack`` has found the step."""
    step = shell.registry.find_step(created.name)
    own = b"" if step is None or step.arguments.fingerprint == created.fingerprint else step.arguments.fingerprint
    return NewEvent(
        type=EventType.step_started,
        entity=entity,
        attempt=number,
        dedupe=delivery.token,
        payload=pack(StepStarted(worker=shell.worker, fingerprint=own)),
        of=of,
    )


async def _next(shell: Shell, live: LiveRun, delivery: Delivery, attempt: Attempt) -> Attempt | None:
    """An attempt after the first, whose start has landed. Until it did, an older one that ran on elsewhere could still
    fail: from now on it cannot, so the errors are counted now and not at the look-up before (H69).
    """
    state = await _look_up(shell, live, attempt.entity)
    if isinstance(state, Gone):
        await _settle_gone(shell, live, delivery, state)
        return None
    previous = await shell.store.last_beat(live.run_id, attempt.entity)
    return replace(attempt, failures=state.failures, previous=previous)


async def _settle_gone(shell: Shell, live: LiveRun, delivery: Delivery, gone: Gone) -> None:
    """Nothing to run. With recover, the crash may have come after the append and before the settle: the run gets a
    recovering tick (F7).
    """
    run = None if gone.pruned else live.run
    entries = [own_tick(live.run_id, run.queue, recover=True)] if delivery.recover and run is not None else []
    await settle(shell, delivery, entries, recovered=True)


async def _look_up(shell: Shell, live: LiveRun, entity: str) -> StepState | Gone:
    loaded = await shell.store.load_entity(live.run_id, entity)
    if loaded is None:
        return Gone(pruned=True)
    shell.clock.read(loaded.now)
    live.run = loaded.run
    if loaded.run.status.ended:
        return Gone()
    work = OpenWork()
    for event in loaded.events:
        work.apply(event)
    return work.steps.get(entity) or Gone()


async def _append_fact(shell: Shell, live: LiveRun, event: NewEvent) -> tuple[FactVerdict, int | None]:
    """The verdict, and what the event carries if it has landed now."""
    written = await shell.log.append(
        Batch(run_id=live.run_id, fence=None, events=(event,), grace=shell.rules.grace),
    )
    shell.clock.read(written.now)
    landed = written.events if isinstance(written, Landed) else ()
    if isinstance(written, Landed):
        live.catch_up(written)
    return only_fact(written), landed[0].stamp if landed else None


async def run_body(shell: Shell, live: LiveRun, delivery: Delivery, attempt: Attempt) -> None:
    """Run the body under its lease and deal with its message. A lost lease cancels the body and leaves the message to
    its new owner; nobody would tell of one that was lost before, so it is looked at here.
    """
    if not shell.keeper.fresh(delivery.token):
        note("lease_lost", key=delivery.key)
        shell.keeper.drop(delivery.token)
        return
    aids = _aids(shell, delivery, attempt)
    try:
        await _run_body(shell, live, delivery, attempt, aids)
    finally:
        await aids.close()


def _aids(shell: Shell, delivery: Delivery, attempt: Attempt) -> Aids:
    return Aids(
        ports=shell.ports,
        queue=delivery.queue,
        now=shell.clock.now(),
        write=lambda details: shell.store.beat(attempt.run_id, attempt.entity, attempt.number, details, attempt.stamp),
        write_seconds=shell.settings.heartbeat_write_seconds,
        streams=AttemptStreams(
            Writing(
                ports=shell.ports,
                store=shell.store,
                queue=shell.queue,
                limits=shell.stream_limits,
                run_id=attempt.run_id,
                entity=attempt.entity,
                attempt=attempt.number,
                stamp=attempt.stamp,
            )
        ),
        joining=None if shell.join is None else Joining(shell.join, shell.ports.fault),
    )


async def _run_body(shell: Shell, live: LiveRun, delivery: Delivery, attempt: Attempt, aids: Aids) -> None:
    body = BodyTask(shell.ports, shell.settings.lease_seconds)
    loop = asyncio.get_running_loop()

    def watch(seconds: float | None) -> None:
        """Until the attempt's time is over, which moves while its body has not begun, and a lease beyond."""
        until = None if seconds is None else shell.ports.monotonic() + seconds + shell.settings.lease_seconds
        shell.keeper.watch(delivery.token, lambda why: _post(loop, body.stop, why), until, body.end)

    timeout, left = attempt.created.policy.timeout, attempt.left
    watch(timeout if left is None else left if timeout is None else min(timeout, left))
    try:
        event = await run_attempt(shell.ports, shell.registry, attempt, aids, body, watch)
    except BodyStopped as stopped:
        await _stopped(shell, delivery, stopped.why)
        if stopped.why == "withdrawn":
            await _forget(shell, live, attempt, aids)
        return
    except NotBegun as missing:
        shell.keeper.watch(delivery.token, None)
        await hand_back_unbegun(shell, delivery, str(missing))
        return
    except asyncio.CancelledError:  # the worker drains: hand the message back, it is not a crash
        await asyncio.shield(release(shell, delivery))
        raise
    shell.keeper.watch(delivery.token, None)
    if "withdrawn" in body.reasons:  # the body ended in its own way: what it came to would be refused (H14)
        await _stopped(shell, delivery, "withdrawn")
        await _forget(shell, live, attempt, aids)
    else:
        if aids.raised is not None:
            shell.raised[f"{live.run_id}:{attempt.entity}"] = aids.raised
        try:
            await _ended(shell, live, delivery, attempt, aids, event)
        finally:
            if aids.raised is not None:  # its frames hold the attempt, and whatever the body had
                shell.raised.pop(f"{live.run_id}:{attempt.entity}", None)
                aids.raised = None


async def _ended(
    shell: Shell, live: LiveRun, delivery: Delivery, attempt: Attempt, aids: Aids, event: NewEvent
) -> None:
    """The body has come to ``event`` under its lease: bring that into the log, and deal with the message."""
    joining, pulse = aids.joining, aids.pulse
    if joining is not None and joining.ready and event.type is EventType.step_completed:
        await complete_joint(shell, live, delivery, event, joining)
    else:
        if joining is not None:
            joining.close()  # the locks go before anybody is told
        if event.type is EventType.step_retrying:
            if pulse is not None:
                await pulse.flush()
            await _retrying(shell, live, delivery, event)
            return
        await complete(shell, live, delivery, event)
    await _forget(shell, live, attempt, aids)


async def _forget(shell: Shell, live: LiveRun, attempt: Attempt, aids: Aids) -> None:
    """The step has ended, and with it what its attempts have left for the next one."""
    if aids.pulse is not None:
        await aids.pulse.close()  # or what is under way would land behind this
    if attempt.previous is not None or (aids.pulse is not None and aids.pulse.written):
        try:
            await shell.store.forget_beat(live.run_id, attempt.entity)
        except StoreTrouble as trouble:  # the row stays until the run is pruned, and is asked for by nobody
            if shell.gates.trouble(trouble):
                note("heartbeat_failed", error=str(trouble))


def _post(loop: asyncio.AbstractEventLoop, call: Any, why: str) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call, why)


async def _stopped(shell: Shell, delivery: Delivery, why: str) -> None:
    if why == "lost":
        shell.keeper.drop(delivery.token)
        return
    await settle(shell, delivery)  # withdrawn: the log has the step's end, nothing more is owed


async def _retrying(shell: Shell, live: LiveRun, delivery: Delivery, event: NewEvent) -> None:
    verdict, _ = await _append_fact(shell, live, event)
    shell.ports.fault("retrying.after")
    if verdict.outcome in (FactOutcome.landed, FactOutcome.already):
        note_failures(shell, live, (event,))
        delay = max(shell.settings.delay_floor_ms, -(-(event.due_in or 0) // 1000))
        await settle(shell, delivery, [Entry(queue=delivery.queue, key=delivery.key, delay_ms=delay)], recovered=True)
        return
    entries = after_terminal_fact(live, verdict)
    if entries is None:
        await release(shell, delivery)
    else:
        await settle(shell, delivery, entries, recovered=True)
