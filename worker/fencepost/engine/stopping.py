"""Work that is not wanted any more, on its way to whoever runs it: taken out of the queue, and, where somebody has
begun it, a hint to that worker. The hint arrives within a round trip or is lost; the next renewal says the same.

The hint names the lease, not the step: it stops that hand-over and no later one.
"""

from __future__ import annotations

from collections.abc import Sequence

from fencepost.engine.shell import Shell
from fencepost.telemetry import note
from fencepost_queue.protocol import QueueTrouble

LISTEN_SECONDS = 60.0
"""How long one wait for a hint lasts; it has no meaning of its own."""

TROUBLE_DELAY_MS = 2_000
"""Upper end of the jittered pause before listening is tried again: renewals tell meanwhile."""


def channel_of(owner: str) -> str:
    """Where a worker listens for what it is to stop."""
    return f"withdrawn:{owner}"


async def withdraw(shell: Shell, unwanted: Sequence[tuple[str, str]]) -> None:
    """Tell the queue which step messages, (queue, key), are not wanted any more, and their owners. Comes before the
    settle; repeated by recovery if it is lost. Raises QueueTrouble, but not for a hint.
    """
    by_queue: dict[str, list[str]] = {}
    for queue, key in unwanted:
        by_queue.setdefault(queue, []).append(key)
    for queue, keys in by_queue.items():
        for token in await shell.queue.withdraw(queue, keys):
            await _hint(shell, token)


async def _hint(shell: Shell, token: str) -> None:
    owner = token.rpartition(".")[0]
    if owner == shell.worker:
        shell.keeper.withdrawn(token)
        return
    try:
        await shell.queue.publish(channel_of(owner), token.encode())
    except QueueTrouble as trouble:
        note("hint_failed", channel=channel_of(owner), error=str(trouble))


async def listen(shell: Shell) -> None:
    """Stop what this worker is told to stop, for ever. Trouble with the queue is waited out."""
    while True:
        try:
            async with shell.queue.subscribe(channel_of(shell.worker)) as hints:
                while True:
                    told = await hints.next(LISTEN_SECONDS)
                    if told is not None:
                        shell.keeper.withdrawn(told.decode())
        except QueueTrouble as trouble:
            if shell.gates.trouble(trouble):
                note("hints_unheard", error=str(trouble))
            await shell.ports.sleep(shell.jitter_ms(TROUBLE_DELAY_MS) / 1000)
            await shell.gates.queue.opened()
