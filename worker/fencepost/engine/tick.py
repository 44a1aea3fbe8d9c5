"""A turn: load, replay, append, settle (docs/protocol.md section 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from fencepost import errors
from fencepost.engine.advance import Progress, advance
from fencepost.engine.bounds import check_backlog
from fencepost.engine.closing import duties
from fencepost.engine.endings import (
    GraceOver,
    after_end,
    diverged,
    fail_at_limit,
    fail_run,
    grace_over,
    park,
    park_corrupt,
    terminate,
)
from fencepost.engine.handback import (
    hand_back,
    release,
    settle_and_announce,
    start_granted,
)
from fencepost.engine.live import LiveRun
from fencepost.engine.moving import move
from fencepost.engine.overdue import time_out
from fencepost.engine.overtaken import overtaken
from fencepost.engine.owed import Owed, follow_ups, own_tick
from fencepost.engine.shell import Shell
from fencepost.engine.starting import wait_for_start
from fencepost.engine.stopping import withdraw
from fencepost.engine.stuck import watch_stuck
from fencepost.engine.unborn import look_again_ms
from fencepost.engine.unfit import refuse
from fencepost.log import Append, LimitExceeded
from fencepost.payload_codecs import current, lacking
from fencepost.replay.instance import Instance
from fencepost.replay.interface import ReplayDivergence
from fencepost.replay.limits import CodeUnfit, ReplayBudgetExceeded, ReplayLimit
from fencepost.replay.starting import cancelled_before, put_off, wanted_queue
from fencepost.telemetry import note, note_lacking
from fencepost_queue.protocol import Delivery, Entry
from fencepost_store.admission import Unstorable
from fencepost_store.protocol import Batch, CorruptLog, Loaded, RunStatus, Verdict

CATCH_UPS = 10
"""How often the last resort loads before it takes the row's lock: each time what has come while it replayed."""

CAUGHT_UP = 32
"""Events that are few enough to be replayed under the lock: a millisecond or two of its time."""

MISSING_KEY_DELAY_MS = 10_000
"""Upper end of the delay before a run whose values this worker cannot decrypt is offered again; other workers may take
it meanwhile.
"""


async def handle_tick(shell: Shell, delivery: Delivery) -> None:
    """Do turns for as long as settle answers ``again``. Every outcome has dealt with the message when this returns."""
    run_id = delivery.key[2:]
    live = shell.runs.enter(run_id)
    current: Delivery | None = delivery
    try:
        while current is not None:
            at_hand, current = current, None
            try:
                current = await _turn(shell, live, at_hand)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever it is: who comes next begins with the log
                live.drop_idle()
                await hand_back(shell, at_hand, error)
    finally:
        shell.runs.leave(live)
        note("tick_handled", run=run_id)


async def _turn(shell: Shell, live: LiveRun, delivery: Delivery) -> Delivery | None:
    owed = Owed()
    try:
        async with live.lock:
            if not shell.keeper.fresh(delivery.token):
                _walk_away(shell, live, delivery)
                return None
            live.meet(shell.store.epoch)
            owed.epoch = live.epoch
            if delivery.proofs >= shell.settings.poison_proofs:
                note("poisoned", key=delivery.key)
                await _poisoned(shell, live, owed)
                verdict: Progress | None = Progress.quiet
            else:
                verdict = await _outcome(shell, live, owed, _play(shell, live, owed, delivery))
            if verdict is Progress.stale:
                _walk_away(shell, live, delivery)
                _give_back(shell, owed)
                return None
            entries = await _entries(shell, live, owed, delivery, verdict)
    except BaseException:
        _give_back(shell, owed)
        raise
    if live.run is None:
        delay = look_again_ms(live.run_id, shell.clock.now(), shell.rules.grace, shell.settings.delay_floor_ms)
        if delay is not None:
            await release(shell, delivery, delay)
            return None
    if verdict is None and owed.lack:
        await _keep_grace(shell, live)
        await refuse(shell, delivery, owed.lack, live.run.workflow if live.run is not None else "")
        return None
    if verdict is None:  # this worker lacks a key
        await release(shell, delivery, shell.jitter_ms(MISSING_KEY_DELAY_MS))
        return None
    return await _settle(shell, live, owed, delivery, verdict, entries)


async def _play(shell: Shell, live: LiveRun, owed: Owed, delivery: Delivery) -> Progress | None:
    if delivery.conflicts >= shell.settings.conflict_limit:
        return await _under_lock(shell, live, owed, delivery)
    loaded = await _load(shell, live)
    return await _with_loaded(shell, live, owed, delivery, loaded, None)


async def _load(shell: Shell, live: LiveRun) -> Loaded | None:
    """What has come since the instance was given what it has; the whole log if there is none, or it is of another."""
    if live.instance is None:
        return await shell.store.load(live.run_id)
    work = live.instance.work
    loaded = await shell.store.load(live.run_id, work.seen, work.seen_stamp)
    if loaded is None or loaded.after != work.seen:
        live.leave_branch(work)
    return loaded


async def _entries(
    shell: Shell, live: LiveRun, owed: Owed, delivery: Delivery, verdict: Progress | None
) -> list[Entry]:
    if live.run is None:
        return []
    recovered = delivery.recover and verdict is Progress.quiet
    if recovered and live.instance is not None:
        owed.repeat_cancelled(live, live.instance.work)
    entries = follow_ups(shell, live, owed, recover=recovered)
    entries += await duties(shell, live, owed, recover=recovered)
    if owed.moved or verdict is Progress.conflict:
        entries.append(own_tick(live.run_id, live.run.queue, recover=delivery.recover))
    return entries


async def _settle(
    shell: Shell, live: LiveRun, owed: Owed, delivery: Delivery, verdict: Progress, entries: list[Entry]
) -> Delivery | None:
    conflict = verdict is Progress.conflict
    try:
        if owed.cancelled:
            await withdraw(shell, owed.cancelled)
        settled = await settle_and_announce(
            shell,
            delivery,
            entries,
            owed,
            recovered=not conflict,
            conflicts=delivery.conflicts + 1 if conflict else 0,
        )
    except BaseException:
        _give_back(shell, owed)
        raise
    start_granted(shell, live, owed, settled)
    return settled.again


async def _keep_grace(shell: Shell, live: LiveRun) -> None:
    """A run that nobody's code can turn is terminated all the same when its cancellation's time is over."""
    run, until = live.run, live.terminate_at
    if run is not None and until is not None and (run.wake_at is None or run.wake_at > until):
        touched = await shell.store.touch(live.run_id, run.fence, run.last_seq, until, run.stamp)
        shell.clock.read(touched.now)


def _walk_away(shell: Shell, live: LiveRun, delivery: Delivery) -> None:
    note("turn_walked_away", run=live.run_id)
    live.drop()
    shell.keeper.drop(delivery.token)


def _give_back(shell: Shell, owed: Owed) -> None:
    """The slots of steps that have landed as started here, and whose bodies will not run here."""
    if owed.inline:
        shell.slots.give(len(owed.inline))
        owed.inline.clear()


async def _with_loaded(
    shell: Shell,
    live: LiveRun,
    owed: Owed,
    delivery: Delivery,
    loaded: Loaded | None,
    via: Append | None,
    *,
    ahead: bool = False,
) -> Progress | None:
    """Steps 2 to 5 of a turn. None: this worker lacks the code, or a key that the run's values are encrypted with.
    ``ahead``: the instance is given what is loaded, and asked for nothing yet.
    """
    if loaded is None:
        live.run = None
        return Progress.quiet  # pruned, or not committed: nobody is owed anything
    shell.clock.read(loaded.now)
    live.run = loaded.run
    live.wake_at = loaded.run.wake_at
    if loaded.after == 0:  # what an earlier load has shown may be gone
        live.terminate_at, live.terminate_for = None, ""
    if loaded.run.status.ended:
        await after_end(shell, live, owed, loaded)
        return Progress.quiet
    grace_over(live, loaded)
    if delivery.queue != loaded.run.queue:  # the run was moved after somebody had asked for this turn
        owed.moved = True
        return Progress.quiet
    parked = loaded.run.parked
    if parked is not None and shell.settings.build in parked.builds:  # and no event has landed since (H136)
        owed.lack = f"build {shell.settings.build!r} has parked it: log and code disagree"
        return None
    starts_at = put_off(loaded.events, loaded.now)
    if starts_at is not None:
        waits = await wait_for_start(shell, live, owed, loaded, starts_at, via)
        return Progress.quiet if waits else Progress.conflict
    if shell.begins is not None:
        shell.begins()
    missing = next(filter(None, (lacking(event.payload, current()) for event in loaded.events)), None)
    if missing is not None:
        note_lacking(missing, live.run_id)
        live.drop()
        return None
    if live.instance is None:
        program = shell.registry.find_workflow(loaded.run.workflow)
        if program is None:
            owed.lack = (
                f"workflow {loaded.run.workflow!r} is not registered in this worker; start one with the module that"
                " defines it"
            )
            return None
        wanted = wanted_queue(program, loaded.events[0], loaded.run.queue) if _is_new(loaded) else None
        if wanted is not None and via is None:
            return await move(shell, live, owed, program, wanted, loaded.events[0].payload)
        live.instance = Instance(live.run_id, program, queue=loaded.run.queue, builds=shell.settings.own_builds)
    if ahead:
        live.instance.clock = loaded.now
        with shell.guard.turn(live.run_id):
            live.instance.deliver(loaded.events)
        return Progress.quiet
    return await _replay(shell, live, owed, delivery, loaded, via)


def _is_new(loaded: Loaded) -> bool:
    """Whether the run has had no turn, and is to have one."""
    created = loaded.events[0] if loaded.events else None
    if loaded.run.status is not RunStatus.pending or created is None or created.seq != 1:
        return False
    return cancelled_before(created, loaded.events) is None


def _check_arguments(shell: Shell, live: LiveRun, instance: Instance) -> None:
    """The log's arguments count, whatever the code passes now. In development that it passes others is a divergence,
    with ``check_replay``; else it is told once. Raises ReplayDivergence.
    """
    if not instance.changed_arguments or "arguments" in live.told:
        return
    change = instance.first_change
    if change is not None and shell.settings.check_replay:
        raise change
    live.told.add("arguments")
    if change is None:  # other options, or other code: no wonder
        note("call_changed", run=live.run_id, entities=instance.changed_arguments)
        return
    note(
        "arguments_changed",
        run=live.run_id,
        entities=instance.changed_arguments,
        recorded=change.recorded,
        asked=change.asked,
        at=change.source,
    )


async def _replay(
    shell: Shell, live: LiveRun, owed: Owed, delivery: Delivery, loaded: Loaded, via: Append | None
) -> Progress:
    instance = live.instance
    assert instance is not None
    instance.clock = loaded.now
    with shell.guard.turn(live.run_id):
        instance.deliver(loaded.events)
        time_out(live, owed, delivery.token, loaded.now, shell.log.limits.payload_bytes_max)
    _check_arguments(shell, live, instance)
    check_backlog(shell, live, instance)
    shell.ports.fault("tick.replayed")
    progress = await advance(shell, live, owed, delivery.token, via)
    if progress is not Progress.quiet:
        live.drop()
        return progress
    if instance.work.ended is not None:
        owed.over = instance.work
        live.drop()
        return progress
    if via is not None:
        return progress
    vain = instance.vain()
    if vain is not None:
        return Progress.quiet if await park(shell, live, vain, landed=True) else Progress.conflict
    return await watch_stuck(shell, live, owed, loaded)


async def _outcome(
    shell: Shell, live: LiveRun, owed: Owed, play: Coroutine[Any, Any, Progress | None]
) -> Progress | None:
    """What a turn's replay came to; where the run's own code or log stops it, the run is parked or failed. No lock of
    the row is held here: what is written now goes its usual way.
    """
    try:
        return await play
    except CodeUnfit as unfit:
        live.drop()
        if owed.landed:  # what earlier rounds have written is settled first; the next turn refuses
            return Progress.conflict
        owed.lack = str(unfit)
        return None
    except GraceOver as over:
        await terminate(shell, live, owed, over.reason)
    except ReplayDivergence as divergence:
        return Progress.quiet if await diverged(shell, live, owed, divergence) else Progress.conflict
    except CorruptLog as corrupt:
        await park_corrupt(shell, live, corrupt)
    except ReplayBudgetExceeded as exceeded:
        await fail_run(shell, live, owed, errors.REPLAY_TIMEOUT, "fencepost.ReplayBudgetExceeded", str(exceeded))
    except (LimitExceeded, ReplayLimit, Unstorable) as limit:
        await fail_at_limit(shell, live, owed, limit)
    return Progress.quiet


async def _poisoned(shell: Shell, live: LiveRun, owed: Owed) -> None:
    live.run = await shell.store.get(live.run_id)
    message = f"its turns killed the process {shell.settings.poison_proofs} times when run alone"
    await fail_run(shell, live, owed, errors.MAX_DELIVERIES_EXCEEDED, "fencepost.MaxDeliveriesExceeded", message)


async def _under_lock(shell: Shell, live: LiveRun, owed: Owed, delivery: Delivery) -> Progress | None:
    """The last resort: row lock, load, feed, append and commit in one transaction, so that a flood of signals cannot
    starve the turn. What can be replayed before is: the lock is held for what has come since, however long the log is
    (H225).
    """
    live.drop()
    for _ in range(CATCH_UPS):
        ahead = await _load(shell, live)
        if live.instance is not None and overtaken(shell, live, ahead):
            return Progress.conflict
        progress = await _with_loaded(shell, live, owed, delivery, ahead, None, ahead=True)
        if live.instance is None or ahead is None:
            return progress  # the run needs no replay
        if len(ahead.events) <= CAUGHT_UP:
            break
    assert live.instance is not None
    work = live.instance.work
    shell.ports.fault("tick.caught_up")
    async with shell.store.locked(live.run_id, shell.settings.lock_budget_seconds) as locked:

        async def append(batch: Batch) -> Verdict:
            return await locked.append(batch)

        shell.ports.fault("tick.locked")
        loaded = await locked.load(work.seen, work.seen_stamp)
        if loaded.after != work.seen:
            live.leave_branch(work)
            return Progress.conflict
        if overtaken(shell, live, loaded):
            return Progress.conflict
        progress = None
        if not loaded.run.status.ended:
            progress = await _with_loaded(shell, live, owed, delivery, loaded, append)
    shell.ports.fault("tick.unlocked")
    if loaded.run.status.ended:
        return await _with_loaded(shell, live, owed, delivery, loaded, None)
    return progress
