"""What error trackers, spans and tenants meet around a body: its errors as they are, each once, and its time's end."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from engine_virtual import run
from engine_world import World

from fencepost import current, errors, step, stream, workflow
from fencepost.authoring.interceptors import Proceed, StepCall, WorkflowCall
from fencepost.authoring.registry import Registry
from fencepost.client.run import Run
from fencepost.engine.shortage import NotBegun
from fencepost.records import StepEnded, unpack
from fencepost_store.events import EventType

SPAN: ContextVar[str] = ContextVar("span", default="none")
Interceptor = Callable[[StepCall, Proceed], Awaitable[Any]]
Define = Callable[[Registry], Any]


@asynccontextmanager
async def started(define: Define, *interceptors: Interceptor) -> AsyncGenerator[tuple[World, Run[Any]]]:
    """A run of the workflow that ``define`` makes, on a worker with these around its steps."""
    world = World()
    world.registry.step_interceptors.extend(interceptors)
    flow = define(world.registry)
    async with world.worker("A"):
        yield world, await world.start(flow)


def chain(error: BaseException | None) -> list[str]:
    """An error's class, and those of its causes."""
    return [] if error is None else [type(error).__name__, *chain(error.__cause__)]


def tracker(seen: list[Any]) -> Interceptor:
    """As error trackers are written."""

    async def track(call: StepCall, proceed: Proceed) -> Any:
        try:
            return await proceed()
        except Exception as error:
            seen.append((call.attempt, chain(error)))
            raise

    return track


async def in_a_task_group(call: StepCall, proceed: Proceed) -> Any:
    """As something that works beside the body is written."""
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)
        try:
            return await proceed()
        finally:
            group.cancel_scope.cancel()


@pytest.mark.parametrize("in_a_thread", [False, True])
def test_an_error_is_seen_once_per_attempt_with_its_cause_and_recorded_so(in_a_thread: bool) -> None:
    """Whether the body runs in the loop or in a thread, and whether or not somebody looks."""

    def define(registry: Registry) -> Any:
        def raises() -> None:
            try:
                raise KeyError("cause")
            except KeyError as error:
                raise ValueError("of the body") from error

        async def in_the_loop() -> None:
            raises()

        body = step(retries=1, first_delay=0.1, registry=registry)(raises if in_a_thread else in_the_loop)  # type: ignore[arg-type]

        @workflow(registry=registry)
        async def flow() -> list[str]:
            try:
                await body()  # pyright: ignore[reportUnknownMemberType]
            except ValueError as error:
                return chain(error)
            return []

        return flow

    async def main() -> None:
        seen: list[Any] = []
        async with started(define, tracker(seen), tracker(seen)) as (_, of):
            assert await of.result(60) == ["ValueError", "KeyError"]
        assert seen == [(attempt, ["ValueError", "KeyError"]) for attempt in (1, 1, 2, 2)]

    run(main)


def slow(registry: Registry) -> Any:
    """A workflow whose step's time is over before its body ends."""

    @step(retries=0, timeout=1, registry=registry)
    async def waits() -> None:
        await asyncio.sleep(3600)

    @workflow(registry=registry)
    async def flow() -> list[str]:
        try:
            await waits()
        except errors.StepTimeout as error:
            return chain(error)
        return []

    return flow


@pytest.mark.parametrize("around", [[], [in_a_task_group], [in_a_task_group, in_a_task_group]])
def test_an_attempt_whose_time_is_over_is_an_error_to_interceptors(around: list[Interceptor]) -> None:
    """The TimeoutError that is recorded, as around any timeout: a tracker of Exception sees it. Let through, also in a
    task group, it is what it was."""

    async def main() -> None:
        seen: list[Any] = []
        async with started(slow, *around, tracker(seen)) as (world, of):
            assert await of.result(60) == ["StepTimeout", "StepFailed"]
            [failed] = [event for event in await world.log(of) if event.type is EventType.step_failed]
            assert unpack(failed.payload, StepEnded).error.code == errors.STEP_TIMEOUT
        assert seen == [(1, ["StepTimeout", "CancelledError"])]

    run(main)


def test_a_body_that_is_stopped_for_another_reason_is_cancelled() -> None:
    """The run is cancelled: that is no error of the step, and trackers have nothing to report."""

    async def main() -> None:
        seen: list[Any] = []
        ended: list[str | None] = []

        async def span(call: StepCall, proceed: Proceed) -> Any:
            try:
                return await proceed()
            except asyncio.CancelledError:
                ended.append(current().cancel_reason)
                raise

        def define(registry: Registry) -> Any:
            @step(retries=0, timeout=60, registry=registry)
            async def waits() -> None:
                await asyncio.sleep(3600)

            @workflow(registry=registry)
            async def flow() -> None:
                await waits()

            return flow

        async with started(define, tracker(seen), span) as (_, of):
            await asyncio.sleep(1)
            await of.cancel("enough")
            with pytest.raises(errors.RunCancelled):
                await of.result(60)
            await asyncio.sleep(1)
        assert (seen, ended) == ([], ["withdrawn"])

    run(main)


def test_spans_are_nested_and_reset_and_may_run_the_body_in_a_task_of_its_own() -> None:
    """A context variable is set and reset around ``proceed``, with a time limit of the interceptor's between."""

    async def main() -> None:
        async def outer(call: StepCall, proceed: Proceed) -> Any:
            token = SPAN.set("outer")
            try:
                return f"{await proceed()}, {SPAN.get()}"
            finally:
                SPAN.reset(token)

        async def inner(call: StepCall, proceed: Proceed) -> Any:
            token = SPAN.set(f"{SPAN.get()}/inner")
            try:
                return await asyncio.wait_for(proceed(), 5)
            finally:
                SPAN.reset(token)

        def define(registry: Registry) -> Any:
            @step(registry=registry)
            async def in_the_loop() -> str:
                return f"{SPAN.get()} {current().step_id}"

            @step(registry=registry)
            def in_a_thread() -> str:
                return f"{SPAN.get()} {current().step_id}"

            @workflow(registry=registry)
            async def flow() -> list[str]:
                return [await in_the_loop(), await in_a_thread()]

            return flow

        async with started(define, outer, inner) as (_, of):
            expected = ["outer/inner in_the_loop#1, outer", "outer/inner in_a_thread#1, outer"]
            assert await of.result(60) == expected

    run(main)


def test_steps_of_our_own_have_no_interceptors() -> None:
    """A write of workflow code to a stream is a step, whose body and arguments are not the user's: an interceptor that
    admits steps by their name would end it."""

    async def main() -> None:
        seen: list[str] = []

        async def admits(call: StepCall, proceed: Proceed) -> Any:
            seen.append(call.step)
            return await proceed()

        def define(registry: Registry) -> Any:
            @step(registry=registry)
            async def mine() -> None: ...

            @workflow(registry=registry)
            async def flow() -> None:
                async with stream("words", str) as out:
                    await out.write("hello")
                await mine()

            return flow

        async with started(define, admits) as (world, of):
            await of.result(60)
            steps = [event.entity for event in await world.log(of) if event.type is EventType.step_completed]
        assert steps == ["fencepost.stream_write#1", "fencepost.stream_write#2", "mine#1"]
        assert seen == ["mine"]

    run(main)


def test_interceptors_do_not_make_an_attempt_of_a_body_that_was_never_begun() -> None:
    """There is no thread: they see that it is cancelled, whatever they make of it the message goes back, and the step
    loses no retry. What the body waits for a thread is no part of its timeout."""

    async def main() -> None:
        seen: list[Any] = []
        refused: list[str] = []

        async def swallows(call: StepCall, proceed: Proceed) -> Any:
            await asyncio.sleep(0.3)
            try:
                return await proceed()
            except asyncio.CancelledError as error:
                refused.append(str(error))
                return "a default"

        def define(registry: Registry) -> Any:
            @step(retries=0, timeout=1, heartbeat_timeout=1, registry=registry)
            def body() -> str:
                return "begun"

            @workflow(registry=registry)
            async def flow() -> str:
                return await body()

            return flow

        world = World()
        world.registry.step_interceptors.extend([swallows, tracker(seen)])
        flow = define(world.registry)
        async with world.worker("A") as a:

            async def run_thread(call: Callable[[], Any]) -> Any:
                await asyncio.sleep(5)
                if not refused:
                    raise NotBegun("no thread is left")
                return call()

            object.__setattr__(a.shell.ports, "run_thread", run_thread)
            of = await world.start(flow)
            assert await of.result(60) == "begun"
            log = await world.log(of)
        assert not {EventType.step_failed, EventType.step_retrying} & {event.type for event in log}
        assert (seen, refused) == ([], ["no thread is left"])

    run(main)


@pytest.mark.parametrize("before", [0.0, 0.6])
def test_what_interceptors_take_is_part_of_the_attempts_time(before: float) -> None:
    """Before and around a body that is held to the rest of it, wherever it runs."""

    async def main() -> None:
        seen: list[Any] = []

        async def takes(call: StepCall, proceed: Proceed) -> Any:
            await asyncio.sleep(before)
            return await proceed()

        def define(registry: Registry) -> Any:
            @step(retries=0, timeout=1, registry=registry)
            async def body() -> str:
                await asyncio.sleep(0.6)
                return "in time"

            @workflow(registry=registry)
            async def flow() -> str:
                try:
                    return await body()
                except errors.StepTimeout:
                    return "late"

            return flow

        async with started(define, tracker(seen), takes) as (_, of):
            assert await of.result(60) == ("late" if before else "in time")

    run(main)


async def forgets(call: StepCall | WorkflowCall, proceed: Proceed) -> Any:
    """A broken one."""
    return proceed()


async def hands_over(call: StepCall | WorkflowCall, proceed: Any) -> Any:
    """Another one."""
    return await proceed(call)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("of_the_workflow", [False, True])
@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (forgets, "returned a coroutine: write `return await proceed()`"),
        (hands_over, "proceed() takes 0 positional arguments but 1 was given"),
    ],
)
def test_a_broken_interceptor_is_blamed_by_name(of_the_workflow: bool, broken: Any, message: str) -> None:
    """Not the function that it surrounds, nor its result."""

    async def main() -> None:
        def define(registry: Registry) -> Any:
            (registry.workflow_interceptors if of_the_workflow else registry.step_interceptors).append(broken)

            @step(retries=0, registry=registry)
            async def number() -> int:
                return 1

            @workflow(registry=registry)
            async def flow() -> int:
                return await number()

            return flow

        async with started(define) as (_, of):
            with pytest.raises(errors.RunFailed, match="TypeError") as caught:
                await of.result(60)
        assert message in str(caught.value)
        if broken is forgets:
            assert f"{__file__}:{inspect.getsourcelines(forgets)[1]}" in str(caught.value)

    run(main)
