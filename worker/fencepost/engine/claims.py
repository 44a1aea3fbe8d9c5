"""The claim loop of one queue: takes messages for as many as the worker has room for, and starts a handler for each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

from fencepost.engine.handback import begin, hand_back, release
from fencepost.engine.live import LiveRun
from fencepost.engine.redelivered import Redelivered
from fencepost.engine.shell import Shell
from fencepost.engine.slots import Slots
from fencepost.engine.steps import handle_granted, handle_step
from fencepost.engine.tick import handle_tick
from fencepost.records import StepCreated
from fencepost.telemetry import note
from fencepost_queue.protocol import Claimed, Delivery, QueueTrouble

TICKS_MAX = 64
"""Ticks in hand, of all queues together: a turn waits for servers most of its time, and with so many under way their
appends share commits. What is not in hand others can take, and an autoscaler sees it."""

TICKS_LEAST = 16
"""A claim asks for so many at least while others are at work, or each turn that ends would cost a claim of its own,
..."""

REFILL_SECONDS = 0.05
"""... unless they have not become free for so long: turns that hang must not keep the others' places empty."""

Handler: TypeAlias = Callable[[], Awaitable[None]]


class Claims:
    """Claim loops and the handlers they started. ``alone``: runs a suspect in a child process of its own.
    ``reconcile``: the full reconcile of a queue and its generation, which a claim asks for when the queue was lost.
    """

    def __init__(
        self,
        shell: Shell,
        alone: Callable[[Delivery], Awaitable[None]],
        reconcile: Callable[[str, str], Coroutine[Any, Any, None]],
    ) -> None:
        self._shell = shell
        self._alone = alone
        self._reconcile = reconcile
        self._stopping = False
        self._turns = Slots(TICKS_MAX)
        self._redelivered = Redelivered()
        self.handlers: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Claim nothing more. Messages that are already claimed have handlers."""
        self._stopping = True

    async def loop(self, queue: str) -> None:
        """Claim until stopped, and nothing while a server is away (H188); the loop never ends by trouble."""
        shell = self._shell
        least = TICKS_LEAST
        while not self._stopping:
            await shell.gates.opened()
            try:
                with shell.slots.reserved() as steps, self._turns.reserved(least) as ticks:
                    claimed = await self._claim(queue, steps, ticks) if steps or ticks else None
                least = TICKS_LEAST if ticks else 1
                if self._stopping or (claimed is not None and claimed.deliveries):
                    continue
                await self._idle(queue, None if claimed is None else claimed.next_due_ms, steps, ticks)
            except QueueTrouble as trouble:
                if shell.gates.trouble(trouble):
                    note("claim_failed", queue=queue, error=str(trouble))

    async def _claim(self, queue: str, steps: int, ticks: int) -> Claimed:
        shell = self._shell
        since = shell.ports.monotonic()
        claimed = await shell.queue.claim(
            queue, steps + ticks, shell.keeper.lease_ms, steps=steps, ticks=ticks, code=shell.code
        )
        if claimed.waiting:
            shell.slots.wanted.add(queue)
        else:
            shell.slots.wanted.discard(queue)
        if claimed.sweep:
            self._start(self._reconcile(queue, claimed.generation), "full reconcile")
        for delivery in claimed.deliveries:
            shell.keeper.hold(delivery, since)
            if delivery.crashes:
                note("redelivered", key=delivery.key, crashes=delivery.crashes)
            self._dispatch(delivery)
        return claimed

    async def _idle(self, queue: str, next_due_ms: int | None, steps: int, ticks: int) -> None:
        """Wait for what a claim that had room for so many ``steps`` and ``ticks`` has not found."""
        shell = self._shell
        if ticks == 0:  # or another queue's claim was promised what there is: it is soon told how many it takes
            refilled = shell.ports.spawn(self._turns.freed(TICKS_LEAST), f"turns for {queue}")
            await _first_of(refilled, seconds=REFILL_SECONDS)
            return
        block = int(shell.settings.idle_block_seconds * 1000)
        if next_due_ms is not None:
            block = min(block, max(1, next_due_ms))
        if steps > 0:
            await shell.queue.wait([queue], block)
            return
        # No body slot was free: rings for steps are left to others; look again when a slot is given back.
        freed = shell.ports.spawn(shell.slots.freed(), f"slot for {queue}")
        bell = shell.ports.spawn(shell.queue.wait([queue], block, steps=False), f"bell of {queue}")
        await _first_of(freed, bell)

    def _dispatch(self, delivery: Delivery) -> None:
        shell = self._shell
        is_step = delivery.key.startswith("s:")
        if is_step and not shell.slots.room:  # a turn has taken the slot that this claim was promised
            self._start(release(shell, delivery), delivery.key)
            return
        slots = shell.slots if is_step else self._turns
        slots.take()
        if delivery.crashes >= shell.settings.suspect_crashes and delivery.proofs < shell.settings.poison_proofs:
            handler: Handler = partial(self._again, delivery, partial(self._alone, delivery))
        elif is_step:
            handler = partial(handle_step, shell, delivery)
        else:
            handler = partial(handle_tick, shell, delivery)
        if 0 < delivery.crashes < shell.settings.suspect_crashes:
            handler = partial(self._among_few, delivery, handler)
        self._start(self._guarded(handler, delivery, slots), delivery.key)

    async def _among_few(self, delivery: Delivery, handler: Handler) -> None:
        async with self._redelivered.place():
            await self._again(delivery, handler)

    async def _again(self, delivery: Delivery, handler: Handler) -> None:
        """What was lost before is not blamed for the loss of who has not said that it begins."""
        if await begin(self._shell, delivery):
            await handler()

    def start_granted(self, delivery: Delivery, live: LiveRun, entity: str, created: StepCreated, stamp: int) -> None:
        """Start the body of a step whose message a settle leased to us; its slot is reserved. The caller's entry of
        the run is kept for it. ``stamp``: that of the append which brought its creation and its start.
        """
        self._shell.runs.keep(live)
        handler = partial(handle_granted, self._shell, live, delivery, entity, created, stamp)
        # ``_left`` is called also for a task that is ended before it has begun.
        self._start(self._guarded(handler, delivery, self._shell.slots), delivery.key, partial(self._left, live))

    def _left(self, live: LiveRun, task: asyncio.Task[None]) -> None:
        self.handlers.discard(task)
        self._shell.runs.leave(live)

    async def _guarded(self, handler: Handler, delivery: Delivery, slots: Slots) -> None:
        """``handler`` is called here, so a task that is ended before it has begun leaves no coroutine behind."""
        try:
            await handler()
        except asyncio.CancelledError:
            await asyncio.shield(release(self._shell, delivery))
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is: a codec of the user's may raise SystemExit
            await hand_back(self._shell, delivery, error)
        finally:
            slots.give()

    def _start(
        self, coroutine: Coroutine[Any, Any, None], name: str, left: Callable[[asyncio.Task[None]], None] | None = None
    ) -> None:
        """``left``: called with the task at its end instead of what takes it out of ``handlers``."""
        task: asyncio.Task[None] = self._shell.ports.spawn(coroutine, name)
        self.handlers.add(task)
        task.add_done_callback(left or self.handlers.discard)


async def _first_of(*tasks: asyncio.Task[Any], seconds: float | None = None) -> None:
    """Wait until one of them has ended, for so many seconds at most, and end the others."""
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
