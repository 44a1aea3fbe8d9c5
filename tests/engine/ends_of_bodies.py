"""The table of test_ends_of_bodies: how user code can end, and where in a worker user code runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from fencepost import Workflow, step, workflow
from fencepost.authoring.registry import Registry
from fencepost.replay import interface

End = Callable[[], None]


class Unusual(BaseException):
    """No Exception, of the user's own."""


class Unspeakable(Exception):
    """Says nothing of itself, and cannot be copied."""

    def __str__(self) -> str:
        raise SystemExit(7)

    def __repr__(self) -> str:
        raise KeyboardInterrupt

    def __reduce__(self) -> Any:
        raise GeneratorExit


class Broken(Exception):
    """Its attributes raise."""

    @property
    def args(self) -> Any:  # type: ignore[override]
        """Raises."""
        raise SystemExit(8)


def raising(error: Callable[[], BaseException]) -> End:
    """An end by an exception."""

    def end() -> None:
        raise error()

    return end


ENDS: dict[str, Callable[[], BaseException]] = {
    "sys.exit(3)": lambda: SystemExit(3),
    "sys.exit()": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "StopIteration": lambda: StopIteration(1),
    "StopAsyncIteration": StopAsyncIteration,
    "CancelledError": lambda: asyncio.CancelledError("mine"),
    "a BaseException": lambda: Unusual("u"),
    "a group": lambda: BaseExceptionGroup("g", [SystemExit(1), ValueError("v")]),
    "an exception without words": Unspeakable,
    "an exception with a broken attribute": lambda: Broken("b"),
    "ValueError": lambda: ValueError("plain"),
}


@dataclass
class Case:
    """A place of user code. ``fails``: its step fails by the end, else it completes whatever ends beside it."""

    flow: Workflow[[], Any]
    fails: bool
    calls: list[int]


Maker = Callable[[Registry, End], Case]


def _by_step(registry: Registry, body: Any, *, fails: bool) -> Case:
    calls: list[int] = []

    async def counted() -> str:
        calls.append(1)
        await body()
        return "done"

    made = step(name="ends", registry=registry, retries=2, first_delay=0.0)(counted)

    @workflow(name="ending", registry=registry)
    async def flow() -> str:
        return await made()

    return Case(flow, fails, calls)


def async_body(registry: Registry, end: End) -> Case:
    """``async def``."""

    async def body() -> None:
        await asyncio.sleep(0)
        end()

    return _by_step(registry, body, fails=True)


def thread_body(registry: Registry, end: End) -> Case:
    """``def``."""
    calls: list[int] = []

    @step(name="ends", registry=registry, retries=2, first_delay=0.0)
    def body() -> str:
        calls.append(1)
        end()
        return "done"

    @workflow(name="ending", registry=registry)
    async def flow() -> str:
        return await body()

    return Case(flow, True, calls)


def loop_in_a_thread(registry: Registry, end: End) -> Case:
    """``asyncio.run`` in a ``def`` body."""
    calls: list[int] = []

    async def inner() -> None:
        await asyncio.sleep(0)
        end()

    @step(name="ends", registry=registry, retries=2, first_delay=0.0)
    def body() -> str:
        calls.append(1)
        asyncio.run(inner())
        return "done"

    @workflow(name="ending", registry=registry)
    async def flow() -> str:
        return await body()

    return Case(flow, True, calls)


def awaited_task(registry: Registry, end: End) -> Case:
    """A task of the body's that it awaits."""

    async def body() -> None:
        async def inner() -> None:
            end()

        await asyncio.create_task(inner())

    return _by_step(registry, body, fails=True)


def gathered(registry: Registry, end: End) -> Case:
    """One of two that are gathered."""

    async def body() -> None:
        async def inner() -> None:
            end()

        await asyncio.gather(asyncio.sleep(0), inner())

    return _by_step(registry, body, fails=True)


def task_group(registry: Registry, end: End) -> Case:
    """A task group's member that ends beside one that waits."""

    async def body() -> None:
        async def inner() -> None:
            await asyncio.sleep(0)
            end()

        async with asyncio.TaskGroup() as group:
            waits = group.create_task(asyncio.sleep(30))
            ends = group.create_task(inner())
            ends.add_done_callback(lambda task: waits.cancel() if task.cancelled() else None)

    return _by_step(registry, body, fails=True)


def in_a_thread_of_the_body(registry: Registry, end: End) -> Case:
    """``asyncio.to_thread`` in the body."""

    async def body() -> None:
        await asyncio.to_thread(end)

    return _by_step(registry, body, fails=True)


def forgotten_task(registry: Registry, end: End) -> Case:
    """A task that the body leaves behind."""

    async def body() -> None:
        async def inner() -> None:
            end()

        _FORGOTTEN.append(asyncio.create_task(inner()))

    return _by_step(registry, body, fails=False)


def callback(registry: Registry, end: End) -> Case:
    """``call_soon``, ``call_later``, and what is called when a future is done."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(end)
        loop.call_later(0.001, end)
        loop.call_soon_threadsafe(end)
        done = loop.create_future()
        done.add_done_callback(lambda _: end())
        done.set_result(None)

    return _by_step(registry, body, fails=False)


def abandoned_generator(registry: Registry, end: End) -> Case:
    """The ``finally`` of an async generator that is dropped."""

    async def body() -> None:
        async def numbers() -> AsyncGenerator[int]:
            try:
                yield 1
                yield 2
            finally:
                end()

        async for _ in numbers():
            break

    return _by_step(registry, body, fails=False)


def stopped_loop(registry: Registry, end: End) -> Case:
    """``loop.stop()``, and then the end."""

    async def body() -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        end()

    return _by_step(registry, body, fails=True)


def arguments(registry: Registry, end: End) -> Case:
    """``__post_init__`` of an argument, where the step's body is called."""
    calls: list[int] = []

    @dataclass
    class Order:
        number: int

        def __post_init__(self) -> None:
            if interface.current() is None:  # where the worker reads it for the body
                calls.append(1)
                end()

    async def body(order: Order) -> str:
        return "done"

    body.__annotations__ = {"order": Order, "return": str}  # the class is local
    made = step(name="ends", registry=registry, retries=2, first_delay=0.0)(body)

    async def main() -> str:
        return await made(Order(1))

    return Case(workflow(name="ending", registry=registry)(main), True, calls)


def workflow_code(registry: Registry, end: End) -> Case:
    """The workflow's own code."""

    async def main() -> None:
        end()

    return Case(workflow(name="ending", registry=registry)(main), True, [])


def workflow_task(registry: Registry, end: End) -> Case:
    """A task of the workflow's."""

    async def main() -> None:
        async def inner() -> None:
            end()

        await asyncio.create_task(inner())

    return Case(workflow(name="ending", registry=registry)(main), True, [])


def workflow_callback(registry: Registry, end: End) -> Case:
    """A callback on the workflow's loop, and its exception handler."""

    async def main() -> str:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, __: end())
        loop.call_soon(end)
        await asyncio.sleep(0)
        return "done"

    return Case(workflow(name="ending", registry=registry)(main), False, [])


_FORGOTTEN: list[asyncio.Task[None]] = []

PLACES: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (
        async_body,
        thread_body,
        loop_in_a_thread,
        awaited_task,
        gathered,
        task_group,
        in_a_thread_of_the_body,
        forgotten_task,
        callback,
        abandoned_generator,
        stopped_loop,
        arguments,
        workflow_code,
        workflow_task,
        workflow_callback,
    )
}
