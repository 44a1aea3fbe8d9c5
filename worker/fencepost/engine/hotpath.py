"""The hot path: a step has ended in the worker that holds the run's live instance; its end and what follows from it go
into the log in one
commit, and the next bodies start with one settle (docs/protocol.md section 6).

Where it cannot (no instance here, lost fence), the end is appended alone, unfenced, and the run gets a tick: the fact
is never lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from fencepost.engine.advance import Progress, advance
from fencepost.engine.closing import duties
from fencepost.engine.failing import note_failures
from fencepost.engine.handback import (
    hand_back,
    release,
    settle,
    settle_and_announce,
    start_granted,
)
from fencepost.engine.live import Done, LiveRun
from fencepost.engine.owed import Owed, follow_ups, own_tick
from fencepost.engine.shell import Shell
from fencepost.engine.stopping import withdraw
from fencepost.fitting import fitted
from fencepost.log import Landed, LimitExceeded, NotWritten, Written
from fencepost.replay.fold import StepState
from fencepost.replay.interface import ReplayDivergence
from fencepost.replay.limits import CodeUnfit, ReplayBudgetExceeded, ReplayLimit
from fencepost.telemetry import note
from fencepost_queue.protocol import Delivery, Entry
from fencepost_store.admission import Unstorable
from fencepost_store.events import NewEvent
from fencepost_store.protocol import Batch, FactOutcome, FactVerdict, Reason, StoreTrouble


async def complete(shell: Shell, live: LiveRun, delivery: Delivery, event: NewEvent) -> None:
    """Bring a step's terminal fact into the log and settle its message. Ends of one run that wait here together are
    delivered and sent together.
    """
    event = fitted(event, shell.log.limits.payload_bytes_max)  # before it is delivered: a replay must see the same
    with shell.slots.ending():
        await _complete(shell, live, Done(delivery, event, asyncio.get_running_loop().create_future()))


async def _complete(shell: Shell, live: LiveRun, done: Done) -> None:
    live.inbox.append(done)
    if live.pumping:
        await asyncio.shield(done.settled)
        return
    live.pumping = True
    try:
        while live.inbox:
            async with live.lock:
                dones, live.inbox = live.inbox, []
                await _deal(shell, live, dones)
    finally:
        live.pumping = False


async def _deal(shell: Shell, live: LiveRun, dones: list[Done]) -> None:
    fresh: list[Done] = []
    for done in dones:
        if shell.keeper.fresh(done.delivery.token):
            fresh.append(done)
        else:
            note("turn_walked_away", run=live.run_id)
            shell.keeper.drop(done.delivery.token)
            live.drop()
    owed = Owed()
    try:
        if fresh and not await _hot(shell, live, owed, fresh):
            live.drop()
            await _cold(shell, live, owed, fresh)
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is: all whose ends were here wait for their messages
        live.drop()
        for done in fresh:
            await hand_back(shell, done.delivery, error)
    finally:
        if owed.inline:
            shell.slots.give(len(owed.inline))
        for done in dones:
            if not done.settled.done():
                done.settled.set_result(None)


async def _hot(shell: Shell, live: LiveRun, owed: Owed, dones: list[Done]) -> bool:
    """False: nothing is settled; append the facts alone (if they have landed, they are recognised)."""
    instance = live.instance if live.meet(shell.store.epoch) else None
    owed.epoch = live.epoch
    if instance is None or live.run is None or not all(_is_of(done.event, instance.work.steps) for done in dones):
        return False
    now = instance.clock = shell.clock.now()
    try:
        with shell.guard.turn(live.run_id):
            for done in dones:
                instance.anticipate(msgspec.structs.replace(done.event, at=now))
        if instance.vain() is not None:
            return False  # the tick that follows parks the run
        progress = await advance(shell, live, owed, dones[0].delivery.token)
    except (CodeUnfit, ReplayDivergence, ReplayBudgetExceeded, ReplayLimit, LimitExceeded, Unstorable):
        return False  # the tick that follows meets the same, with the right outcome for the run
    if progress is Progress.stale:
        for done in dones:
            shell.keeper.drop(done.delivery.token)
        live.drop()
        return True
    if progress is Progress.conflict:
        return False
    entries = follow_ups(shell, live, owed, recover=False)
    if instance.work.ended is not None:
        owed.over = instance.work
        live.drop()
    entries += await duties(shell, live, owed, recover=False)
    await _settle_all(shell, live, owed, [(done.delivery, []) for done in dones], entries)
    return True


def _is_of(ended: NewEvent, steps: Mapping[str, StepState]) -> bool:
    """Whether the step is open in the instance, and is the one that the body was run for (H193)."""
    state = steps.get(ended.entity)
    return state is not None and ended.of in (None, state.created.stamp)


async def _settle_all(
    shell: Shell, live: LiveRun, owed: Owed, messages: list[tuple[Delivery, list[Entry]]], entries: list[Entry]
) -> None:
    """Settle every message; the first carries what all owe, so that nothing is removed before that is placed."""
    if owed.cancelled:
        await withdraw(shell, owed.cancelled)
    first, *rest = messages
    settled = await settle_and_announce(shell, first[0], [*entries, *first[1]], owed)
    start_granted(shell, live, owed, settled)
    owed.inline.clear()
    if rest:
        results = await asyncio.gather(*(settle(shell, *one) for one in rest), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result


async def _cold(shell: Shell, live: LiveRun, owed: Owed, dones: list[Done]) -> None:
    batch = Batch(
        run_id=live.run_id,
        fence=None,
        events=tuple(done.event for done in dones),
        grace=shell.rules.grace,
    )
    written = await shell.log.append(batch)
    shell.ports.fault("fact.after")
    messages: list[tuple[Delivery, list[Entry]]] = []
    for done, fact in zip(dones, _facts(written, len(dones)), strict=True):
        if fact.outcome is FactOutcome.landed:
            note_failures(shell, live, (done.event,))
        entries = after_terminal_fact(live, fact)
        if entries is None:
            await release(shell, done.delivery)
        else:
            messages.append((done.delivery, entries))
    if messages and live.run is None:  # the run is gone, and owes nothing
        await _settle_all(shell, live, owed, messages, [])
    elif messages:
        entries = follow_ups(shell, live, owed, recover=False)
        entries += await duties(shell, live, owed, recover=False)
        await _settle_all(shell, live, owed, messages, entries)


def _facts(written: Written, count: int) -> tuple[FactVerdict, ...]:
    if isinstance(written, NotWritten):
        raise StoreTrouble("a conflict was answered to facts")
    if isinstance(written, Landed) and len(written.facts) != count:
        raise StoreTrouble(f"{len(written.facts)} verdicts for {count} facts")
    return written.facts


def after_terminal_fact(live: LiveRun, fact: FactVerdict) -> list[Entry] | None:
    """What the settle of a step message places after its terminal fact's verdict; None: release instead
    (docs/protocol.md sections 6 and 8).
    """
    if live.run is None or fact.reason is Reason.run_not_found:
        return []
    if fact.outcome in (FactOutcome.landed, FactOutcome.already):
        return [own_tick(live.run_id, live.run.queue)]
    if fact.reason is Reason.other_attempt:
        return None
    return [own_tick(live.run_id, live.run.queue, recover=True)]
