"""What the engine takes from the world, as parameters: clock, sleep, task start, threads, randomness, ids and fault
points.

Production passes ``real_ports()``; tests and the simulator pass their own. No other module of the engine reads a
clock, draws a random number, starts a task
or a thread. (Store and queue are ports too, with protocols of their own.)
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import uuid_utils

from fencepost.engine.body_threads import LOST_MAX, BodyThreads
from fencepost.engine.lost_bodies import LostBodies
from fencepost.engine.tasks import spawn


def no_fault(point: str) -> None:
    """The fault point of production: nothing happens."""


def _none() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Ports:
    """``monotonic``: seconds. ``sleep``: seconds. ``spawn(coroutine, name)``: a task. ``run_thread(call)``: runs a
    sync body away from the loop; raises NotBegun. ``uniform``: [0, 1). ``new_id``: a fresh UUIDv7 as str.
    ``fault(name)``: called at named points of the engine, so that a test can end the process, raise or block exactly
    there. ``thread_shortage()``: why run_thread could begin none now, empty if it could. ``lost``: bodies that go on
    although their attempt is over.
    """

    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    spawn: Callable[[Coroutine[Any, Any, Any], str], asyncio.Task[Any]]
    run_thread: Callable[[Callable[[], Any]], Awaitable[Any]]
    uniform: Callable[[], float]
    new_id: Callable[[], str]
    fault: Callable[[str], None] = no_fault
    thread_shortage: Callable[[], str] = _none
    lost: LostBodies = field(default_factory=LostBodies)


def new_run_id() -> str:
    """A fresh UUIDv7: ordered by time of creation, so that runs list newest first by key."""
    return str(uuid_utils.uuid7())


def real_ports(fault: Callable[[str], None] = no_fault, lost_threads_max: int = LOST_MAX) -> Ports:
    """The ports of production. Call inside a running loop's process."""
    source = random.SystemRandom()
    lost = LostBodies()
    threads = BodyThreads(lost, lost_max=lost_threads_max)
    return Ports(
        monotonic=time.monotonic,
        sleep=asyncio.sleep,
        spawn=spawn,
        run_thread=threads.run,
        uniform=source.random,
        new_id=new_run_id,
        fault=fault,
        thread_shortage=threads.shortage,
        lost=lost,
    )
