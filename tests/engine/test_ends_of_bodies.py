"""However user code ends, its run is told, its retries are used, and nobody else is disturbed (H139)."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from ends_of_bodies import ENDS, PLACES, raising
from engine_world import World

from fencepost import RunFailed, step, workflow
from fencepost.engine import loops
from fencepost.engine.body_threads import BodyThreads
from fencepost.failure import exception_of, failure_of
from fencepost.records import StepEnded, unpack
from fencepost_store.events import Event, EventType

NOT_THEMSELVES = {"StopIteration", "StopAsyncIteration"}
"""A coroutine cannot raise these: Python makes a RuntimeError of them where they leave one."""

UNHEARD = {
    ("in_a_thread_of_the_body", "StopIteration"),  # asyncio never hears of it: the body waits until its timeout
    ("task_group", "CancelledError"),  # a member that is cancelled is no error of its group's
}
AT_ONCE = {
    (place, end)  # the validation of a value has failed: PAYLOAD_ERROR, which is not retried
    for place in ("arguments",)
    for end in ("ValueError",)
}


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both loops that a worker may have."""
    if request.param == "asyncio":
        monkeypatch.setattr(loops, "_base", lambda: asyncio.SelectorEventLoop)
    else:
        pytest.importorskip("uvloop")
    return str(request.param)


@pytest.mark.parametrize("place", PLACES)
def test_h139_user_code_may_end_in_any_way_anywhere(place: str, loop_kind: str) -> None:
    """The run fails by what was raised after as many attempts as it has; a neighbour's body is begun once; the worker
    takes the next run.
    """

    async def main() -> None:
        for end in ENDS:
            if (place, end) not in UNHEARD:
                await _one(place, end)

    loops.run_loop(asyncio.wait_for(main(), 120))


async def _one(place: str, end: str) -> None:
    world = World()
    begun: list[int] = []
    leave = asyncio.Event()

    @step(registry=world.registry)
    async def innocent(n: int) -> int:
        begun.append(n)
        if n == 0:
            await leave.wait()
        return n

    @workflow(registry=world.registry)
    async def neighbour(n: int) -> int:
        return await innocent(n)

    case = PLACES[place](world.registry, raising(ENDS[end]))
    async with world.worker("A") as a:
        if place == "loop_in_a_thread":
            object.__setattr__(a.shell.ports, "run_thread", BodyThreads(a.shell.ports.lost).run)
        beside = await world.start(neighbour, 0)
        run = await world.start(case.flow)
        if case.fails:
            with pytest.raises(RunFailed):
                await run.result(20)
        else:
            assert await run.result(20) == "done", end
        after = await world.start(neighbour, 1)
        assert await after.result(20) == 1
        leave.set()
        assert await beside.result(20) == 0
    assert begun == [0, 1]
    if case.calls and case.fails:
        told = [_type_of(event) for event in await world.log(run)]
        _same_class([one for one in told if one is not None], end, place)
        assert len(case.calls) == (1 if (place, end) in AT_ONCE else 3)


def _type_of(event: Event) -> str | None:
    if event.type not in (EventType.step_retrying, EventType.step_failed):
        return None
    return unpack(event.payload, StepEnded).error.type.rpartition(".")[2]


def _same_class(types: list[str], end: str, place: str) -> None:
    """Each attempt's end is in the log, with the class that was raised."""
    assert len(types) == (1 if (place, end) in AT_ONCE else 3)
    raised = type(ENDS[end]()).__name__
    groups = {"task_group": {"ExceptionGroup", "BaseExceptionGroup", raised}}
    allowed = groups.get(place, {raised})
    if end in NOT_THEMSELVES:
        allowed = allowed | {"RuntimeError"}
    if place == "arguments":
        allowed = allowed | {"PayloadError"}
    if place == "thread_body":
        allowed = {raised}  # also what no coroutine can raise
    assert set(types) <= allowed


async def _until(there: Callable[[], bool]) -> None:
    while not there():  # noqa: ASYNC110 - nobody sets an event for it
        await asyncio.sleep(0.001)


def _cancel_own() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


def _cancel_all() -> None:
    for task in _all_there_are():
        task.cancel()


def _cancel_others() -> None:
    for task in _all_there_are():
        if task is not asyncio.current_task():
            task.cancel()


def _all_there_are() -> list[asyncio.Task[Any]]:
    """asyncio.all_tasks() has the body's own only; a body may find the others all the same."""
    loop = asyncio.get_running_loop()
    return [each for each in gc.get_objects() if isinstance(each, asyncio.Task) and each.get_loop() is loop]


@pytest.mark.parametrize("cancel", [_cancel_own, _cancel_all, _cancel_others])
def test_h140_a_body_cancels_itself_or_all_tasks_of_the_loop(cancel: Callable[[], None], loop_kind: str) -> None:
    """It is an error of its attempt, three times for two retries, and no other run is touched."""

    async def main() -> None:
        world = World()
        attempts: list[int] = []
        begun: list[int] = []
        leave = asyncio.Event()

        @step(registry=world.registry, retries=2, first_delay=0.0)
        async def cancels() -> None:
            attempts.append(1)
            cancel()
            await asyncio.sleep(0)

        @step(registry=world.registry)
        async def innocent() -> None:
            begun.append(1)
            await leave.wait()

        @workflow(registry=world.registry)
        async def flow() -> None:
            await cancels()

        @workflow(registry=world.registry)
        async def neighbour() -> None:
            await innocent()

        async with world.worker("A") as a:
            beside = await world.start(neighbour)
            await _until(lambda: bool(begun))
            run = await world.start(flow)
            with pytest.raises(RunFailed):
                await run.result(20)
            leave.set()
            await beside.result(20)
            await _until(lambda: not a.claims.handlers)
            assert a.shell.slots.taken == 0
        assert (len(attempts), len(begun)) == (3, 1)

    loops.run_loop(asyncio.wait_for(main(), 60))


def test_h140_a_body_that_does_not_leave_is_left_behind_and_named(loop_kind: str) -> None:
    """Its attempt is over by its timeout a lease later, its slot is free, and the worker says what still runs."""

    async def main() -> None:
        world = World(lease_seconds=0.3, renewal_seconds=0.05)
        go = asyncio.Event()

        @step(registry=world.registry, retries=0, timeout=0.05)
        async def stays() -> None:
            while not go.is_set():
                try:
                    await go.wait()
                except asyncio.CancelledError:
                    continue

        @workflow(registry=world.registry)
        async def flow() -> None:
            await stays()

        async with world.worker("A") as a:
            run = await world.start(flow)
            with pytest.raises(RunFailed) as caught:
                await run.result(20)
            assert caught.value.code == "STEP_TIMEOUT"
            await _until(lambda: not a.claims.handlers)
            assert a.shell.slots.taken == 0
            (line,) = a.shell.ports.lost.lines()
            assert line.startswith(f"step stays#1 of run {run.id} (task) since ")
            go.set()
            await _until(lambda: not a.shell.ports.lost.lines())

    loops.run_loop(asyncio.wait_for(main(), 60))


def test_h140_what_a_body_makes_of_being_stopped_is_its_own(loop_kind: str) -> None:
    """A value that it returns counts, and so does an exception; neither is the timeout."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry, retries=0, timeout=0.05)
        async def stopped(how: str) -> str:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                if how == "raises":
                    raise SystemExit(4) from None
            return "tidy"

        @workflow(registry=world.registry)
        async def flow(how: str) -> Any:
            return await stopped(how)

        async with world.worker("A"):
            assert await (await world.start(flow, "returns")).result(20) == "tidy"
            run = await world.start(flow, "raises")
            with pytest.raises(RunFailed) as caught:
                await run.result(20)
            assert caught.value.code == "USER_ERROR"
            told = [_type_of(event) for event in await world.log(run)]
            assert "SystemExit" in told

    loops.run_loop(asyncio.wait_for(main(), 60))


def test_h139_a_workflow_whose_finally_exits_while_it_is_evicted() -> None:
    """The live instance is a cache: what its code does while it is thrown away ends nobody."""

    async def main() -> None:
        world = World(cache_instances_max=1)
        from fencepost import hook

        @workflow(registry=world.registry)
        async def flow(n: int) -> int:
            try:
                async with hook(int, token=f"t{n}") as numbers:
                    return await numbers
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError):
                    raise KeyboardInterrupt from None
                raise

        async with world.worker("A"):
            runs = [await world.start(flow, n) for n in range(4)]
            await asyncio.sleep(0.2)
            for n, run in enumerate(runs):
                await world.client().resume(f"t{n}", n * 10)
                assert await run.result(20) == n * 10

    loops.run_loop(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("end", ENDS)
def test_h139_what_an_exception_does_when_it_is_written_down_ends_nobody(end: str) -> None:
    """Its str(), its repr(), its attributes may raise what they like: there and back, it is an Exception."""
    record = failure_of(ENDS[end]())
    assert isinstance(exception_of(record), Exception)
    assert record.type.rpartition(".")[2] == type(ENDS[end]()).__name__


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_h139_a_workflow_whose_exception_answers_no_question_fails(end: type[BaseException]) -> None:
    """Even its ``__class__`` raises: the run fails with its class' name."""

    class Silent(Exception):
        def __getattribute__(self, name: str) -> Any:
            raise end

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> None:
            raise Silent

        async with world.worker("A"):
            with pytest.raises(RunFailed, match="Silent"):
                await (await world.start(flow)).result(20)

    loops.run_loop(asyncio.wait_for(main(), 60))
