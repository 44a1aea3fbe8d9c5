"""Startup and shutdown code of a worker process, and interceptors around bodies and workflows that really run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from engine_virtual import run
from engine_world import Crashed, World

from fencepost import errors, sleep, step, workflow
from fencepost.authoring.interceptors import Proceed, StepCall, WorkflowCall
from fencepost.engine import worker_life
from fencepost.engine.worker_life import StartupFailed, WorkerLife
from fencepost_store.events import EventType

TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")


def test_a_step_interceptor_surrounds_every_attempt_and_lends_its_context() -> None:
    """async and def bodies see the context variable; its errors are the attempt's; its result is the step's."""

    async def main() -> None:
        world = World()
        calls: list[tuple[str, str, int, tuple[Any, ...]]] = []

        async def tenant(call: StepCall, proceed: Proceed) -> Any:
            calls.append((call.step, call.step_id, call.attempt, tuple(call.args)))
            if call.step == "refused":
                raise PermissionError("not this tenant")
            TENANT.set("ada")
            return f"{await proceed()}!"

        world.registry.step_interceptors.append(tenant)

        @step(registry=world.registry)
        async def loop_body(n: int) -> str:
            return f"{TENANT.get()} {n}"

        @step(registry=world.registry)
        def thread_body(n: int) -> str:
            return f"{TENANT.get()} {n}"

        @step(registry=world.registry, retries=1, first_delay=0.1)
        async def refused() -> str:
            raise AssertionError("its interceptor does not let it begin")

        @workflow(registry=world.registry)
        async def flow() -> list[str]:
            got = [await loop_body(1), await thread_body(2)]
            try:
                await refused()
            except PermissionError as error:
                got.append(str(error))
            return got

        async with world.worker("A"):
            started = await world.start(flow)
            assert await started.result(60) == ["ada 1!", "ada 2!", "not this tenant"]
        assert calls == [
            ("loop_body", "loop_body#1", 1, (1,)),
            ("thread_body", "thread_body#1", 1, (2,)),
            ("refused", "refused#1", 1, ()),
            ("refused", "refused#1", 2, ()),
        ]

    run(main)


def test_a_steps_result_is_what_its_interceptor_returns_and_is_checked_as_such() -> None:
    async def main() -> None:
        world = World()

        async def unfit(call: StepCall, proceed: Proceed) -> Any:
            await proceed()
            return object()

        world.registry.step_interceptors.append(unfit)

        @step(registry=world.registry)
        async def number() -> int:
            return 1

        @workflow(registry=world.registry)
        async def flow() -> int:
            return await number()

        async with world.worker("A"):
            started = await world.start(flow)
            with pytest.raises(errors.RunFailed) as caught:
                await started.result(60)
            assert caught.value.code == errors.PAYLOAD_ERROR

    run(main)


def test_a_workflow_interceptor_is_workflow_code_on_every_worker() -> None:
    """Its context reaches the run's tasks, what it asks for is recorded, and another worker replays the same."""

    async def main() -> None:
        world = World()
        seen: list[tuple[str, tuple[Any, ...]]] = []

        async def tenant(call: WorkflowCall, proceed: Proceed) -> Any:
            TENANT.set(f"tenant of {call.args[0]}")
            seen.append((call.workflow, tuple(call.args)))
            await sleep(0.01)
            return [await proceed(), "after"]

        world.registry.workflow_interceptors.append(tenant)

        @step(registry=world.registry)
        async def upper(text: str) -> str:
            return text.upper()

        @workflow(registry=world.registry)
        async def flow(name: str) -> list[Any]:
            async def in_a_task() -> str:
                return await upper(TENANT.get())

            first = await asyncio.create_task(in_a_task())
            await sleep(60)
            return [first, await upper("again")]

        async with world.worker("A") as first:
            started = await world.start(flow, "ada")
            await asyncio.sleep(5)  # virtual
            with contextlib.suppress(Crashed):
                first.crash()
        async with world.worker("B"):
            assert await started.result(300) == [["TENANT OF ADA", "AGAIN"], "after"]
        assert set(seen) == {("flow", ("ada",))}
        assert len(seen) >= 2, "the second worker replayed"
        names = [event.entity for event in await world.log(started) if event.type is EventType.wait_created]
        assert names == ["sleep#1", "sleep#2"]

    run(main)


async def test_a_lifespan_is_entered_and_left_in_one_task() -> None:
    """A task group may be held open by it."""
    seen: list[str] = []

    @contextlib.asynccontextmanager
    async def group() -> AsyncGenerator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            seen.append("in")
            yield
            tasks.cancel_scope.cancel()
        seen.append("out")

    life = WorkerLife([("here", group)])
    await asyncio.create_task(life.start())
    await asyncio.create_task(life.stop())
    await life.stop()
    assert seen == ["in", "out"]


async def test_what_startup_raises_stops_the_worker_and_leaves_what_was_entered() -> None:
    seen: list[str] = []

    @contextlib.asynccontextmanager
    async def first() -> AsyncGenerator[None]:
        yield
        seen.append("first out")

    for kind in (ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit):

        @contextlib.asynccontextmanager
        async def second(kind: type[BaseException] = kind) -> AsyncGenerator[None]:
            raise kind("no pool")
            yield

        life = WorkerLife([("first.py:1", first), ("second.py:2", second)])
        with pytest.raises(StartupFailed, match=f"startup code second.py:2 raised {kind.__name__}: no pool"):
            await life.start()
        await life.stop()
    assert seen == ["first out"] * 5


async def test_shutdown_code_is_bounded_and_its_errors_keep_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[dict[str, Any]] = []

    def take_down(event: str, **fields: Any) -> None:
        told.append({"event": event, **fields})

    monkeypatch.setattr(worker_life, "note", take_down)
    monkeypatch.setattr(worker_life, "SHUTDOWN_SECONDS", 0.05)
    seen: list[str] = []

    @contextlib.asynccontextmanager
    async def hangs() -> AsyncGenerator[None]:
        yield
        await asyncio.Event().wait()

    @contextlib.asynccontextmanager
    async def raises() -> AsyncGenerator[None]:
        yield
        raise OSError("pool is gone")

    @contextlib.asynccontextmanager
    async def fine() -> AsyncGenerator[None]:
        yield
        seen.append("fine")

    life = WorkerLife([("fine.py:1", fine), ("raises.py:1", raises)])
    await life.start()
    await life.stop()
    assert seen == ["fine"]
    assert told == [{"event": "shutdown_failed", "code": "raises.py:1", "error": "OSError: pool is gone"}]
    told.clear()
    life = WorkerLife([("hangs.py:1", hangs)])
    await life.start()
    await asyncio.wait_for(life.stop(), 5)
    assert [each["error"] for each in told] == ["it has not ended within 0.05 s"]
