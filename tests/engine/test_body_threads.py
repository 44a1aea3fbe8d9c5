"""Threads and processes of bodies: lost ones are replaced and named, time counts from the body's beginning (H141), a
shortage costs nobody a retry (H142), and the engine has threads of its own (H143).
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import anyio.to_process
import pytest
import shortage_steps
from engine_world import Member, World

from fencepost import RunFailed, step, workflow
from fencepost.authoring.context import StepContext, use_step_context
from fencepost.engine import body_processes, loops
from fencepost.engine.body_threads import BodyThreads
from fencepost.engine.shortage import NotBegun
from fencepost.replay import interface
from fencepost_store.events import EventType


def with_threads(member: Member, lost_max: int = 128) -> BodyThreads:
    """The worker gets real threads."""
    ports = member.shell.ports
    threads = BodyThreads(ports.lost, idle_max=4, lost_max=lost_max)
    object.__setattr__(ports, "run_thread", threads.run)
    object.__setattr__(ports, "thread_shortage", threads.shortage)
    return threads


def with_runner(member: Member, run_thread: Callable[[Callable[[], Any]], Any]) -> None:
    """What runs the worker's sync bodies."""
    object.__setattr__(member.shell.ports, "run_thread", run_thread)


async def until(there: Callable[[], bool]) -> None:
    """Nobody sets an event for it."""
    while not there():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


class Blocking:
    """A workflow of one ``def`` step that ``blocks`` as long as it is to, and of one that does not."""

    def __init__(self, world: World) -> None:
        self.leave = threading.Event()
        self.ran: list[int] = []

        @step(registry=world.registry, retries=0, timeout=0.05)
        def blocks(n: int) -> None:
            self.leave.wait(60)

        @step(registry=world.registry, retries=0, timeout=5.0)
        def quick(n: int) -> int:
            self.ran.append(n)
            return n

        @workflow(registry=world.registry)
        async def stuck(n: int) -> None:
            await blocks(n)

        @workflow(registry=world.registry)
        async def fine(n: int) -> int:
            return await quick(n)

        self.stuck, self.fine = stuck, fine


def test_h141_lost_threads_are_replaced_and_named() -> None:
    """Forty bodies block beyond their time in a worker of four slots; the next one begins at once."""

    async def main() -> None:
        world = World(concurrency=4)
        flows = Blocking(world)
        async with world.worker("A") as a:
            threads = with_threads(a)
            runs = [await world.start(flows.stuck, n) for n in range(40)]
            for run in runs:
                with pytest.raises(RunFailed) as caught:
                    await run.result(30)
                assert caught.value.code == "STEP_TIMEOUT"
            assert await (await world.start(flows.fine, 7)).result(20) == 7
            lost = a.shell.ports.lost
            assert lost.threads == 40
            assert lost.lines()[0].startswith("step blocks#1 of run ")
            assert lost.lines()[-1] == "and 20 more"
            flows.leave.set()
            await until(lambda: lost.threads == 0)
            assert lost.lines() == []
            threads.close()

    loops.run_loop(asyncio.wait_for(main(), 60))


def test_h141_at_the_bound_def_steps_are_handed_back() -> None:
    """Neither failed nor begun: when threads come back, they run, in their first attempt."""

    async def main() -> None:
        world = World(concurrency=4)
        flows = Blocking(world)
        async with world.worker("A") as a:
            with_threads(a, lost_max=2)
            for n in range(2):
                with pytest.raises(RunFailed):
                    await (await world.start(flows.stuck, n)).result(20)
            waiting = await world.start(flows.fine, 1)
            await until(lambda: ("queue", "release") in a.calls)
            assert flows.ran == []
            flows.leave.set()
            assert await waiting.result(20) == 1
            starts = [event.attempt for event in await world.log(waiting) if event.type is EventType.step_started]
            assert starts == [1]

    loops.run_loop(asyncio.wait_for(main(), 60))


def test_h141_time_before_a_body_begins_is_not_its_own() -> None:
    """Each waits three times its timeout for a thread, then ends well within it. One that has begun is held to it."""

    async def main() -> None:
        world = World()
        flows = Blocking(world)

        @step(registry=world.registry, retries=0, timeout=0.2, heartbeat_timeout=0.2)
        def brief() -> str:
            return "in time"

        @workflow(registry=world.registry)
        async def flow() -> str:
            return await brief()

        async with world.worker("A") as a:
            threads = with_threads(a)

            async def late(call: Callable[[], Any]) -> Any:
                await asyncio.sleep(0.6)
                return await threads.run(call)

            with_runner(a, late)
            assert await (await world.start(flow)).result(20) == "in time"
            with pytest.raises(RunFailed) as caught:
                await (await world.start(flows.stuck, 1)).result(20)
            assert caught.value.code == "STEP_TIMEOUT"
            flows.leave.set()

    loops.run_loop(asyncio.wait_for(main(), 60))


def test_h141_bodies_wait_for_a_process_without_losing_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three bodies of 1.2 s with a timeout of 2 s each, one process: the last one begins after its timeout."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)

    async def main() -> None:
        world = World()
        world.registry.add_step(shortage_steps.in_turn)

        @workflow(registry=world.registry)
        async def flow(n: int) -> int:
            return await shortage_steps.in_turn(n)

        async with world.worker("A"):
            runs = [await world.start(flow, n) for n in range(3)]
            assert [await run.result(40) for run in runs] == [0, 1, 2]

    loops.run_loop(asyncio.wait_for(main(), 60))


async def _no_process(*args: Any, **options: Any) -> Any:
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


@dataclass
class Opens:
    """An argument whose validation meets a shortage, where the worker reads it, for as long as there is one."""

    n: int

    def __post_init__(self) -> None:
        if interface.current() is None and SHORT:
            raise OSError(SHORT.pop(), "short")


SHORT: list[int] = []


def test_h142_a_shortage_before_the_body_uses_no_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a thread, of a process, of a descriptor: each step has no retries, and is done in a later start."""

    async def main() -> None:
        world = World()
        world.registry.add_step(shortage_steps.in_turn)

        @step(registry=world.registry, retries=0)
        def threaded() -> str:
            return "thread"

        @step(registry=world.registry, retries=0)
        async def reads(value: Opens) -> str:
            return "read"

        @workflow(registry=world.registry)
        async def flow(kind: str) -> Any:
            if kind == "thread":
                return await threaded()
            return await (shortage_steps.in_turn(1) if kind == "process" else reads(Opens(1)))

        async with world.worker("A") as a:
            with_threads(a)
            for kind, done in (("thread", "thread"), ("process", 1), ("read", "read")):
                with monkeypatch.context() as patch:
                    if kind == "thread":
                        patch.setattr(threading.Thread, "start", _no_thread)
                    elif kind == "process":
                        patch.setattr(anyio.to_process, "open_process", _no_process)
                    else:
                        SHORT[:] = [errno.EMFILE, errno.ENOMEM]
                    before = a.calls.count(("queue", "release"))
                    run = await world.start(flow, kind)
                    await until(lambda before=before: a.calls.count(("queue", "release")) > before)
                assert await run.result(30) == done
                types = [event.type for event in await world.log(run)]
                assert types.count(EventType.step_started) >= 2
                assert EventType.step_retrying not in types

    loops.run_loop(asyncio.wait_for(main(), 90))


def _no_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_h142_the_same_error_of_the_body_itself_is_its_own() -> None:
    """A body that cannot start a thread of its own has begun."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry, retries=0)
        def starts() -> None:
            raise RuntimeError("can't start new thread")

        @workflow(registry=world.registry)
        async def flow() -> None:
            await starts()

        async with world.worker("A") as a:
            with_threads(a)
            with pytest.raises(RunFailed) as caught:
                await (await world.start(flow)).result(20)
            assert caught.value.code == "USER_ERROR"

    loops.run_loop(asyncio.wait_for(main(), 60))


async def test_a_call_that_is_given_up_before_it_begins_is_not_begun() -> None:
    """And a call that raises, raises here; NotBegun at the bound."""
    world = World()
    threads = BodyThreads(world_lost := _lost(), lost_max=0)
    with pytest.raises(NotBegun, match="lost_threads_max = 0"):
        await threads.run(lambda: None)
    assert world_lost.lines() == []
    assert world.config.lost_threads_max == 128


def _lost() -> Any:
    from fencepost.engine.lost_bodies import LostBodies

    return LostBodies()


def test_h143_bodies_cannot_take_the_threads_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies fill the default executor for good; the engine resolves a name all the same."""
    monkeypatch.setattr(loops, "_base", lambda: asyncio.SelectorEventLoop)
    leave = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))
        context = StepContext("run", "step#1", "flow", 1)
        names: list[str] = []
        with use_step_context(context):
            stuck = [asyncio.create_task(asyncio.to_thread(leave.wait, 60)) for _ in range(4)]
            first = asyncio.create_task(asyncio.to_thread(lambda: names.append(threading.current_thread().name)))
        await asyncio.sleep(0)
        assert await asyncio.wait_for(loop.getaddrinfo("localhost", 5432), 10)
        assert names == [], "the engine's call went first, past what bodies have queued"
        leave.set()
        await asyncio.wait({*stuck, first})
        assert not names[0].startswith("fencepost-engine")

    loops.run_loop(main())


def test_a_process_slot_is_given_back_when_there_is_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as it fails."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(anyio.to_process, "open_process", _no_process)

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(NotBegun, match="BlockingIOError"):
                async with body_processes.process_for("shortage_steps"):
                    raise AssertionError("there is no process")

    loops.run_loop(asyncio.wait_for(main(), 30))
