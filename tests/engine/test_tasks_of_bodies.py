"""``asyncio.all_tasks()`` in a body is that of a program of its own, and tasks that bodies share any may end."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from engine_world import World

from fencepost import step, workflow
from fencepost.engine import loops
from fencepost.engine.body_threads import BodyThreads
from fencepost.engine.worker_life import WorkerLife

Main = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(params=["asyncio", "uvloop"], autouse=True)
def _loop_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "asyncio":
        monkeypatch.setattr(loops, "_base", lambda: asyncio.SelectorEventLoop)
    else:
        pytest.importorskip("uvloop")


def in_a_workers_loop(main: Main) -> Callable[[], None]:
    """A test that runs in the loop of a worker's process."""

    @functools.wraps(main)
    def test() -> None:
        loops.run_loop(asyncio.wait_for(main(), 60))

    test.__signature__ = inspect.Signature()  # type: ignore[attr-defined]
    return test


async def body(world: World, function: Callable[..., Coroutine[Any, Any, Any]]) -> Any:
    """The result of a step whose body this is."""
    name = f"{function.__name__}_{len(world.registry.steps)}"
    made = step(name=name, registry=world.registry, retries=0)(function)

    @workflow(name=f"flow_of_{name}", registry=world.registry)
    async def flow() -> Any:
        return await made()

    run = await world.start(flow)
    return await run.result(20)


async def rest(event: asyncio.Event) -> None:
    """A task that a body starts."""
    await event.wait()


@in_a_workers_loop
async def test_a_body_sees_its_own_task_and_what_it_has_started() -> None:
    """With whatever makes them, also by way of another one of them, and in a context of the caller's. Not the engine's,
    and not a neighbour's."""
    world = World()
    neighbour_begun, leave = asyncio.Event(), asyncio.Event()

    async def neighbour() -> None:
        beside = asyncio.create_task(rest(leave))
        neighbour_begun.set()
        await beside

    async def starts(event: asyncio.Event) -> None:
        await asyncio.create_task(rest(event))

    async def looks() -> list[int]:
        event = asyncio.Event()
        mine = asyncio.current_task()
        assert mine is not None
        before = seen = asyncio.all_tasks()
        loop = asyncio.get_running_loop()
        made = [asyncio.create_task(starts(event)), asyncio.Task(rest(event)), loop.create_task(rest(event))]
        async with anyio.create_task_group() as group, asyncio.TaskGroup() as tasks:
            group.start_soon(rest, event)
            tasks.create_task(rest(event))
            await asyncio.sleep(0.01)
            seen = asyncio.all_tasks()
            assert {mine, *made} < seen == asyncio.all_tasks(loop)
            event.set()
        await asyncio.wait(made)
        return [len(before), len(seen), len(asyncio.all_tasks())]

    async with world.worker("A"):
        beside = asyncio.create_task(body(world, neighbour))
        await neighbour_begun.wait()
        assert await body(world, looks) == [1, 7, 1]
        assert len(asyncio.all_tasks()) > 5  # the engine's own, outside of a body
        leave.set()
        await beside


@in_a_workers_loop
async def test_a_body_that_cancels_all_others_goes_on() -> None:
    """The common way to clean up, as in a program of its own."""
    world = World()

    async def cleans() -> list[bool]:
        event = asyncio.Event()
        left = [asyncio.create_task(rest(event)) for _ in range(3)]
        await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        return [task.cancelled() for task in left]

    async with world.worker("A"):
        assert await body(world, cleans) == [True, True, True]


@in_a_workers_loop
async def test_tasks_of_another_class_are_seen_by_their_context() -> None:
    """A body that has a task factory of its own, and one that waits until all others are blocked (anyio)."""
    world = World()

    async def plain() -> int:
        loop = asyncio.get_running_loop()

        def factory(of: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
            return asyncio.Task(coro, loop=of, **options)

        loop.set_task_factory(factory)  # type: ignore[arg-type]
        try:
            event = asyncio.Event()
            tasks = [asyncio.create_task(rest(event)) for _ in range(2)]
            await anyio.wait_all_tasks_blocked()
            seen = len(asyncio.all_tasks())
            event.set()
            await asyncio.wait(tasks)
        finally:
            loop.set_task_factory(None)
        return seen

    async with world.worker("A"):
        assert await body(world, plain) == 3


@in_a_workers_loop
async def test_a_loop_in_a_thread_of_a_body_has_all_its_tasks() -> None:
    """``asyncio.run`` in a ``def`` body, and what a thread sees of the worker's loop."""
    world = World()
    worker_loop = asyncio.get_running_loop()

    async def main() -> int:
        task = asyncio.create_task(asyncio.sleep(60))
        seen = len(asyncio.all_tasks())
        task.cancel()
        return seen

    @step(registry=world.registry, retries=0)
    def thread() -> list[int]:
        return [asyncio.run(main()), len(asyncio.all_tasks(worker_loop))]

    @workflow(registry=world.registry)
    async def flow() -> list[int]:
        return await thread()

    async with world.worker("A") as a:
        object.__setattr__(a.shell.ports, "run_thread", BodyThreads(a.shell.ports.lost).run)
        run = await world.start(flow)
        seen = await run.result(20)
        assert seen == [2, 1]  # the second is the attempt's own task, which waits for the thread


class Client:
    """As clients of servers are made: its reader is started by who comes first, and ended by who closes it."""

    def __init__(self) -> None:
        self.reader: asyncio.Task[None] | None = None

    async def use(self) -> None:
        """Connect, if nobody has."""
        self.reader = self.reader or asyncio.create_task(rest(asyncio.Event()))

    async def close(self) -> bool:
        """True if it has ended."""
        assert self.reader is not None
        self.reader.cancel()
        await asyncio.wait({self.reader})
        return self.reader.cancelled()


@pytest.mark.parametrize("opener", ["startup", "body"])
def test_a_client_that_bodies_share_may_be_closed_by_any_of_them(opener: str) -> None:
    """Whether startup code or another body has opened it."""

    async def main() -> None:
        world, client = World(), Client()

        @asynccontextmanager
        async def lifespan() -> AsyncGenerator[None]:
            if opener == "startup":
                await client.use()
            yield

        async def uses() -> None:
            await client.use()

        async def closes() -> bool:
            return await client.close()

        life = WorkerLife([("lifespan", lifespan)])
        await life.start()
        async with world.worker("A"):
            await body(world, uses)
            assert await body(world, closes)
        await life.stop()

    loops.run_loop(asyncio.wait_for(main(), 60))


@in_a_workers_loop
async def test_startup_and_shutdown_code_sees_and_cancels_its_own() -> None:
    """``asyncio.all_tasks()`` is cancelled by much shutdown code: nothing of the engine's is among it, and what it
    holds of the engine's it cannot cancel."""
    world = World()
    engine = asyncio.current_task()
    assert engine is not None
    seen: list[int] = []
    refused: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None]:
        refreshing = asyncio.create_task(rest(asyncio.Event()))
        await asyncio.sleep(0)
        yield
        try:
            engine.cancel()
        except RuntimeError as error:
            refused.append(str(error))
        others = asyncio.all_tasks() - {asyncio.current_task()}
        seen.append(len(others))
        for task in others:
            task.cancel()
        await asyncio.wait({refreshing})
        assert refreshing.cancelled()

    async def nothing() -> int:
        return len(asyncio.all_tasks())

    async def still_nothing() -> int:
        return len(asyncio.all_tasks())

    life = WorkerLife([("lifespan", lifespan)])
    async with world.worker("A"):
        await life.start()
        assert await body(world, nothing) == 1
        await life.stop()
        assert await body(world, still_nothing) == 1
    assert seen == [1]
    [message] = refused
    assert message.startswith("the worker's startup code cancels task ")
