"""Watches the turn of a process, from a thread that user code cannot hold up but by holding the GIL.

Code beyond its replay budget is interrupted: an exception is raised in it. That reaches no code that blocks in C
(``time.sleep``, a driver's call), and code may swallow it. Such a run is failed from here, as the escape hatch that
REPLAY_TIMEOUT is (docs/protocol.md section 3), and then the process ends itself, for nothing else stops that code. So a
run that blocks costs one process and not one per delivery, and every process that runs user code has this watch.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import traceback
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import NoReturn, TypeAlias

from fencepost import errors
from fencepost.config import Config
from fencepost.connections import open_store
from fencepost.engine.leases import Held
from fencepost.records import Failure, RunFailed, pack
from fencepost.replay.budget import Overdue, TurnGuard
from fencepost.telemetry import note
from fencepost_store.coalescer import append_alone
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch, StoreTrouble

INTERRUPTS_MAX = 8
"""How often a turn is interrupted before its run is failed and the process ends itself; WATCH_SECONDS apart."""

EXIT_SPINNING = 70
"""Exit code of a process that ended itself because workflow code could not be stopped (EX_SOFTWARE)."""

WATCH_SECONDS = 0.25
"""How often turns and the loop are looked at; a fraction of any sensible replay budget."""

FROZEN_SECONDS = 1.0
"""A gap between two looks that is more than the machine's ordinary unrest."""

FAIL_SECONDS = 5.0
"""What failing the run may take. If Postgres is away, the process ends all the same, and the message is a crash's."""

PROCESSOR_SECONDS = 0.5
"""Processor time between two looks of the main thread at its own turn ..."""

BEHIND_SECONDS = 1.0
"""... which it ends itself if it is so far beyond its budget: the watching thread has had no chance to."""

Fail: TypeAlias = Callable[[Overdue], Awaitable[None]]
Write: TypeAlias = Callable[[str, NewEvent], Awaitable[None]]
"""Of a run's id and a fact."""


class TurnWatch:
    """``look`` every WATCH_SECONDS. ``fail``: ends the run of a turn that cannot be stopped."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        guard: TurnGuard,
        budget: float,
        fail: Fail,
        *,
        processor: Callable[[], float] = time.process_time,
    ) -> None:
        self._monotonic = monotonic
        self._processor = processor
        self._last = (monotonic(), processor())
        self._guard = guard
        self._budget = budget
        self._fail = fail

    async def look(self) -> None:
        """Interrupt the turn in the seat if it is beyond its budget. Does not return if it cannot be stopped."""
        self._excuse()
        overdue = self._guard.overdue(self._monotonic(), self._budget)
        if overdue is None:
            return
        note("replay_budget", run=overdue.run_id, seconds=round(overdue.seconds, 1), stack=overdue.stack)
        if overdue.interrupts < INTERRUPTS_MAX:
            self._guard.interrupt()
            return
        try:
            async with asyncio.timeout(FAIL_SECONDS):
                await self._fail(overdue)
        except (StoreTrouble, TimeoutError) as trouble:
            note("server_trouble", key=f"t:{overdue.run_id}", error=str(trouble) or "timed out", delay_ms=0)
        still = self._guard.overdue(self._monotonic(), self._budget)
        if still is not None and still.run_id == overdue.run_id:  # else the code has come back meanwhile
            os._exit(EXIT_SPINNING)

    def _excuse(self) -> None:
        """A process that was stopped, or was given no processor by a machine that is too full, has not computed: time
        in which neither this thread nor any other got on is not the turn's. Code that holds the GIL uses the processor.
        """
        before, used_before = self._last
        self._last = now, used = self._monotonic(), self._processor()
        lost = (now - before - WATCH_SECONDS) - (used - used_before)
        if lost > FROZEN_SECONDS:
            self._guard.excuse(lost)


def watch_processor(guard: TurnGuard, monotonic: Callable[[], float], budget: float) -> None:
    """In the main thread: have it look at its own turn now and then, by a signal that comes while the process computes.
    A C function that holds the GIL keeps every other thread from looking, but the long ones of the standard library
    (regular expressions, large integers) let signals in. Where user code has a use for SIGVTALRM, it keeps it.
    """
    if signal.getsignal(signal.SIGVTALRM) is not signal.SIG_DFL:
        return

    def look(number: int, frame: FrameType | None) -> None:
        guard.strike(monotonic(), budget + BEHIND_SECONDS)

    signal.signal(signal.SIGVTALRM, look)
    signal.siginterrupt(signal.SIGVTALRM, False)
    signal.setitimer(signal.ITIMER_VIRTUAL, PROCESSOR_SECONDS, PROCESSOR_SECONDS)


def failing(config: Config) -> Fail:
    """Ends a run over a connection of its own: those of the blocked loop are of no use."""

    write = writing(config)

    async def fail(overdue: Overdue) -> None:
        message = (
            f"run {overdue.run_id}: the workflow's code ran longer than the replay budget allows, and could not be"
            f" interrupted at {overdue.at}: do blocking or heavy work in a step"
        )
        kind = "fencepost.ReplayBudgetExceeded"
        failure = Failure(type=kind, message=message, code=errors.REPLAY_TIMEOUT, retryable=False)
        event = NewEvent(type=EventType.run_failed, payload=pack(RunFailed(error=failure)))
        await write(overdue.run_id, event)
        note("run_failed", run=overdue.run_id, code=failure.code, message=message)

    return fail


def writing(config: Config) -> Write:
    """Brings a fact into a run's log over a connection of its own."""

    async def write(run_id: str, event: NewEvent) -> None:
        grace = int(config.grace_seconds * 1_000_000)
        store = await open_store(config)
        try:
            await append_alone(store, Batch(run_id=run_id, fence=None, events=(event,), grace=grace))
        finally:
            await store.close()

    return write


async def end_with_process(held: Held, write: Write, stack: str) -> NoReturn:
    """A body blocks the loop of this process beyond its time, or though it is not wanted any more. What its attempt
    came to is written from here, and the process ends, for nothing else ends the body.
    """
    note("body_blocks", key=held.delivery.key, unwanted=held.unwanted, stack=stack)
    try:
        event = None if held.unwanted or held.end is None else held.end()
        if event is not None:
            async with asyncio.timeout(FAIL_SECONDS):
                await write(held.delivery.key.split(":", 2)[1], event)
    except (StoreTrouble, TimeoutError) as trouble:
        note("server_trouble", key=held.delivery.key, error=str(trouble) or "timed out", delay_ms=0)
    except Exception as error:  # noqa: BLE001 - a bug of ours: the process ends all the same
        note("handler_failed", key=held.delivery.key, error=repr(error), trace=traceback.format_exc())
    finally:
        os._exit(EXIT_SPINNING)
