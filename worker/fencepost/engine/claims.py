"""The claim loop of one queue: takes messages for as many as the worker has room for, and starts a handler for each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

from fencepost.engine.handback import hand_back, release
from fencepost.engine.live import LiveRun
from fencepost.engine.shell import Shell
from fencepost.engine.steps import handle_granted, handle_step
from fencepost.engine.tick import handle_tick
from fencepost.records import StepCreated
from fencepost.telemetry import note
from fencepost_queue.protocol import Claimed, Delivery, QueueTrouble

CLAIM_MAX = 64
"""Messages per claim: enough to amortise the call, few enough that other workers get their share."""

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
        self.handlers: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Claim nothing more. Messages that are already claimed have handlers."""
        self._stopping = True

    async def loop(self, queue: str) -> None:
        """Claim until stopped, and nothing while a server is away (H188); the loop never ends by trouble."""
        shell = self._shell
        while not self._stopping:
            await shell.gates.opened()
            try:
                claimed = await self._claim(queue)
                if not claimed.deliveries and not self._stopping:
                    await self._idle(queue, claimed.next_due_ms)
            except QueueTrouble as trouble:
                if shell.gates.trouble(trouble):
                    note("claim_failed", queue=queue, error=str(trouble))

    async def _claim(self, queue: str) -> Claimed:
        shell = self._shell
        since = shell.ports.monotonic()
        room = max(0, shell.slots.free)
        claimed = await shell.queue.claim(queue, CLAIM_MAX, shell.keeper.lease_ms, steps=room, code=shell.code)
        if claimed.sweep:
            self._start(self._reconcile(queue, claimed.generation), "full reconcile")
        for delivery in claimed.deliveries:
            shell.keeper.hold(delivery, since)
            if delivery.crashes:
                note("redelivered", key=delivery.key, crashes=delivery.crashes)
            self._dispatch(delivery)
        return claimed

    async def _idle(self, queue: str, next_due_ms: int | None) -> None:
        shell = self._shell
        block = int(shell.settings.idle_block_seconds * 1000)
        if next_due_ms is not None:
            block = min(block, max(1, next_due_ms))
        if shell.slots.free > 0:
            await shell.queue.wait([queue], block)
            return
        # No body slot is free: rings for steps are left to others; look again when a slot is given back.
        freed = shell.ports.spawn(shell.slots.freed(), f"slot for {queue}")
        bell = shell.ports.spawn(shell.queue.wait([queue], block, steps=False), f"bell of {queue}")
        try:
            await asyncio.wait({freed, bell}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (freed, bell):
                task.cancel()
            await asyncio.gather(freed, bell, return_exceptions=True)

    def _dispatch(self, delivery: Delivery) -> None:
        shell = self._shell
        is_step = delivery.key.startswith("s:")
        if is_step:
            shell.slots.take()
        if delivery.crashes >= shell.settings.suspect_crashes and delivery.proofs < shell.settings.poison_proofs:
            handler: Handler = partial(self._alone, delivery)
        elif is_step:
            handler = partial(handle_step, shell, delivery)
        else:
            handler = partial(handle_tick, shell, delivery)
        self._start(self._guarded(handler, delivery, is_step), delivery.key)

    def start_granted(self, delivery: Delivery, live: LiveRun, entity: str, created: StepCreated) -> None:
        """Start the body of a step whose message a settle leased to us; its slot is reserved. The caller's entry of
        the run is kept for it.
        """
        self._shell.runs.keep(live)
        handler = partial(handle_granted, self._shell, live, delivery, entity, created)
        task = self._shell.ports.spawn(self._guarded(handler, delivery, True), delivery.key)
        self.handlers.add(task)
        task.add_done_callback(partial(self._left, live))  # also of a task that is ended before it has begun

    def _left(self, live: LiveRun, task: asyncio.Task[None]) -> None:
        self.handlers.discard(task)
        self._shell.runs.leave(live)

    async def _guarded(self, handler: Handler, delivery: Delivery, is_step: bool) -> None:
        """``handler`` is called here, so a task that is ended before it has begun leaves no coroutine behind."""
        try:
            await handler()
        except asyncio.CancelledError:
            await asyncio.shield(release(self._shell, delivery))
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is: a codec of the user's may raise SystemExit
            await hand_back(self._shell, delivery, error)
        finally:
            if is_step:
                self._shell.slots.give()

    def _start(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._shell.ports.spawn(coroutine, name)
        self.handlers.add(task)
        task.add_done_callback(self.handlers.discard)
        return task
