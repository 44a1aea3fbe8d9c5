"""How a message leaves this worker: settled with what it owes, or handed back. The only callers of the queue's settle
and release.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence

from fencepost.answers import channel_of
from fencepost.engine.live import LiveRun
from fencepost.engine.owed import Owed
from fencepost.engine.shell import Shell
from fencepost.telemetry import note
from fencepost_queue.protocol import Delivery, Entry, QueueTrouble, Settled, SettleOutcome, step_key
from fencepost_store.protocol import StoreTrouble

TROUBLE_DELAY_MS = 2_000
"""Upper end of the jittered delay after trouble with a server: well under a lease, well over a reconnect. Also of the
first one after a bug of ours, which doubles from time to time."""

BUG_DELAY_MAX_MS = 60_000
"""Upper end of the delay after a bug of ours that does not go away."""

BUGS_MAX = 1_000
"""Messages that this worker remembers as having met one; of more it forgets the oldest, and begins with them anew."""


async def settle(
    shell: Shell,
    delivery: Delivery,
    entries: Sequence[Entry] = (),
    *,
    recovered: bool = False,
    conflicts: int = 0,
) -> Settled:
    """Settle, once, whatever happens; what it grants is kept from now on. Raises QueueTrouble: then what it leased
    expires.
    """
    since = shell.ports.monotonic()
    shell.keeper.drop(delivery.token)
    shell.ports.fault("settle.before")
    shell.bugs.pop(delivery.key, None)
    settled = await shell.queue.settle(
        delivery,
        entries,
        lease_ms=shell.keeper.lease_ms,
        recovered=recovered,
        conflicts=conflicts,
    )
    shell.ports.fault("settle.after")
    for granted in settled.granted:
        shell.keeper.hold(granted, since)
    if settled.waiting:
        shell.slots.wanted.add(delivery.queue)
    elif shell.slots.wanted:
        shell.slots.wanted.discard(delivery.queue)
    if settled.outcome is SettleOutcome.again and settled.again is not None:
        shell.keeper.hold(settled.again, since)
    return settled


async def begin(shell: Shell, delivery: Delivery) -> bool:
    """Say that a message which was lost before is begun: from then on its loss is a crash. False: it is another's by
    now. Raises QueueTrouble.
    """
    renewal = await shell.queue.renew([delivery], shell.keeper.lease_ms, begin=True)
    if renewal.lost:
        note("lease_lost", key=delivery.key)
        shell.keeper.drop(delivery.token)
    return not renewal.lost


async def release(shell: Shell, delivery: Delivery, delay_ms: int = 0, *, proof: bool = False) -> None:
    """Hand a message back; not a crash. If even that cannot be said, its lease runs out."""
    shell.keeper.drop(delivery.token)
    try:
        await shell.queue.release(delivery, delay_ms, proof=proof)
    except QueueTrouble as trouble:
        event = "release_failed" if shell.gates.trouble(trouble) else "handed_back"
        note(event, key=delivery.key, error=str(trouble))


async def hand_back_unbegun(shell: Shell, delivery: Delivery, missing: str) -> None:
    """This worker cannot begin a body now: no failure of the step's, whose retries stay as they are. The delay grows
    with each time that this worker meets the message, and has a floor, so that other workers come first.
    """
    longest_ms = bug_delay_ms(shell, delivery.key)
    delay = longest_ms // 2 + shell.jitter_ms(longest_ms // 2)
    note("body_not_begun", key=delivery.key, missing=missing, delay_ms=delay)
    await release(shell, delivery, delay)


async def hand_back(shell: Shell, delivery: Delivery, error: BaseException) -> None:
    """What a handler could not deal with: trouble with a server, which is not a crash and nobody's failure, or a bug of
    ours, which must cost neither the message nor the worker. Release with jittered backoff: after a bug it grows with
    each time that this worker meets it, as the run cannot go on before somebody has mended the code.

    Called where the exception is caught, with the delivery that is held then: under another token nobody could give the
    lease back, and it would be renewed for ever.
    """
    told = f"{type(error).__name__}: {error}"
    longest_ms, unknown = TROUBLE_DELAY_MS, True
    if isinstance(error, (StoreTrouble, QueueTrouble)):
        unknown = shell.gates.trouble(error, handed_back=1)
    else:
        trace = "".join(traceback.format_exception(error))
        note("handler_failed", key=delivery.key, raised=error, error=told, trace=trace)
        longest_ms = bug_delay_ms(shell, delivery.key)
    delay = shell.jitter_ms(longest_ms)
    note("server_trouble" if unknown else "handed_back", key=delivery.key, error=told, delay_ms=delay)
    await release(shell, delivery, delay)


def bug_delay_ms(shell: Shell, key: str) -> int:
    """How long a message that has met a bug of ours, or a worker that could not begin it, is left alone at most."""
    met = shell.bugs[key] = shell.bugs.pop(key, 0) + 1
    while len(shell.bugs) > BUGS_MAX:
        del shell.bugs[next(iter(shell.bugs))]
    return min(BUG_DELAY_MAX_MS, TROUBLE_DELAY_MS << min(met - 1, 10))


def start_granted(shell: Shell, live: LiveRun, owed: Owed, settled: Settled) -> None:
    """Start the bodies whose messages were leased to us; give back the slots of those that were not (somebody has the
    message: F4).
    """
    granted = {delivery.key: delivery for delivery in settled.granted}
    for entity in sorted(owed.inline):  # in one order, whatever the hash seed is: the simulator plays a seed again
        delivery = granted.get(step_key(live.run_id, entity))
        if delivery is None:
            shell.slots.give()
        else:
            shell.start_granted(delivery, live, entity, owed.steps[entity], owed.stamps[entity])


async def settle_and_announce(
    shell: Shell,
    delivery: Delivery,
    entries: Sequence[Entry],
    owed: Owed,
    *,
    recovered: bool = False,
    conflicts: int = 0,
) -> Settled:
    """Settle, and if the run's end or an answer has landed tell whoever waits for it, on the same trip."""
    if owed.ended is None and not owed.answered:
        return await settle(shell, delivery, entries, recovered=recovered, conflicts=conflicts)
    run_id = delivery.key.split(":", 2)[1]
    hints = [_hint(shell, channel_of(run_id), b"")] if owed.answered else []
    if owed.ended is not None:  # its seq, for whoever waits for the result
        hints.append(_hint(shell, f"ended:{run_id}", str(owed.ended.seq).encode()))
    settling = settle(shell, delivery, entries, recovered=recovered, conflicts=conflicts)
    settled, _ = await asyncio.gather(settling, asyncio.gather(*hints))
    return settled


async def _hint(shell: Shell, channel: str, message: bytes) -> None:
    """May be lost: who waits polls as well."""
    try:
        await shell.queue.publish(channel, message)
    except QueueTrouble as trouble:
        note("hint_failed", channel=channel, error=str(trouble))
