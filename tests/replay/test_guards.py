"""What cannot be replayed is refused at once, and what does not come to rest is stopped: H34, H28."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest
from replay_world import Bench, Flow, Script, W, completed, created
from tests.log_lines import captured

from fencepost.replay.instance import Instance
from fencepost.replay.limits import ReplayLimit, WorkflowRestriction
from fencepost.replay.refusals import REFUSED

CALLS: dict[str, Callable[[], Awaitable[Any]]] = {
    "to_thread": lambda: asyncio.to_thread(print),
    "anyio_thread": lambda: anyio.to_thread.run_sync(print),
    "open_connection": lambda: asyncio.open_connection("127.0.0.1", 1),
    "anyio_connect": lambda: anyio.connect_tcp("127.0.0.1", 1),
    "subprocess": lambda: asyncio.create_subprocess_exec("true"),
    "anyio_process": lambda: anyio.run_process(["true"]),
    "getaddrinfo": lambda: asyncio.get_running_loop().getaddrinfo("localhost", 1),
}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_h34_threads_network_and_processes_raise_with_the_way_out(name: str) -> None:
    """At once, catchable, naming what to do."""

    async def flow(w: W) -> object:
        with pytest.raises((WorkflowRestriction, ExceptionGroup, OSError)) as caught:
            await CALLS[name]()
        error: BaseException = caught.value
        while isinstance(error, ExceptionGroup) or (error.__cause__ is not None):  # pyright: ignore
            error = error.exceptions[0] if isinstance(error, ExceptionGroup) else error.__cause__  # type: ignore[assignment]  # pyright: ignore
        return str(error)

    assert "do this in a step" in Bench(flow).output()


@pytest.mark.parametrize("method", sorted(m for methods in REFUSED.values() for m in methods))
def test_h34_every_method_of_a_loop_that_does_io_is_refused(method: str) -> None:
    """The table is the list; AbstractEventLoop has no other method that a workflow's loop does not define."""

    async def flow(w: W) -> object:
        with pytest.raises(WorkflowRestriction, match="do this in a step"):
            getattr(asyncio.get_running_loop(), method)()

    assert Bench(flow).asked() == ["run_completed"]


def test_h34_no_method_of_a_loop_is_left_to_chance() -> None:
    """Each public method of AbstractEventLoop is either the workflow loop's own or refused."""
    from fencepost.replay.loop import WorkflowLoop

    inherited = [
        name
        for name in vars(asyncio.AbstractEventLoop)
        if not name.startswith("_") and getattr(WorkflowLoop, name) is getattr(asyncio.AbstractEventLoop, name)
    ]
    assert inherited == []


def eager_factory(loop: asyncio.AbstractEventLoop, coro: Any) -> asyncio.Future[Any]:
    raise AssertionError("never called")


def test_h34_a_task_factory_is_refused() -> None:
    """Eager tasks would run before they are asked."""

    async def flow(w: W) -> object:
        loop = asyncio.get_running_loop()
        assert loop.get_task_factory() is None
        loop.set_task_factory(None)
        with pytest.raises(WorkflowRestriction, match="eager"):
            loop.set_task_factory(eager_factory)
        with pytest.raises(WorkflowRestriction, match="debug"):
            loop.set_debug(True)
        coro = w.step("a")
        with pytest.raises(WorkflowRestriction, match="eager"):  # noqa: PT012
            task = loop.create_task(coro, eager_start=True)  # type: ignore[call-arg]  # pyright: ignore
            task.cancel()

    assert Bench(flow).asked() == ["run_completed"]


def foreign() -> tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]:
    """A future of another loop."""
    loop = asyncio.new_event_loop()
    return loop, loop.create_future()


@pytest.mark.parametrize("way", ["await", "wait", "gather", "shield", "wait_for", "as_completed"])
def test_h34_a_future_of_another_loop_is_an_error_where_it_is_awaited(way: str) -> None:
    """It could never wake the workflow by an event of the log."""
    loop, future = foreign()

    async def flow(w: W) -> object:
        with pytest.raises((RuntimeError, ValueError)):  # noqa: PT012  # one of six ways
            if way == "await":
                await future
            elif way == "wait":
                await asyncio.wait([future])
            elif way == "gather":
                await asyncio.gather(future)
            elif way == "shield":
                await asyncio.shield(future)
            elif way == "wait_for":
                await asyncio.wait_for(future, 5)
            else:
                for each in asyncio.as_completed([future]):
                    await each

    bench = Bench(flow)
    assert bench.asked() == ["run_completed"]
    loop.close()


def test_h34_a_future_of_the_workflow_cannot_be_touched_from_outside() -> None:
    """Only a delivered event wakes a workflow: outside a turn, and from another thread, the attempt raises."""
    futures: list[asyncio.Future[None]] = []

    async def flow(w: W) -> object:
        futures.append(asyncio.get_running_loop().create_future())
        await futures[0]

    bench = Bench(flow)
    with pytest.raises(RuntimeError, match="outside the workflow"):
        futures[0].set_result(None)
    with pytest.raises(WorkflowRestriction, match="another thread"):
        bench.live.loop.call_soon_threadsafe(print)
    bench.live.evict()


def test_h34_a_bad_yield_is_an_error_in_the_task() -> None:
    """An awaitable of some other framework."""

    class Alien:
        def __await__(self) -> Any:
            yield "what asyncio does not know"

    async def flow(w: W) -> object:
        with pytest.raises(RuntimeError, match="bad yield"):
            await Alien()

    assert Bench(flow).asked() == ["run_completed"]


async def _spins(w: W) -> object:
    await w.step("a")
    while True:  # noqa: ASYNC110  # spinning is the point
        await asyncio.sleep(0)


async def _callbacks_for_ever(w: W) -> object:
    await w.step("a")
    loop = asyncio.get_running_loop()

    def again() -> None:
        loop.call_soon(again)

    again()
    return await w.step("b")


@pytest.mark.parametrize("flow", [_spins, _callbacks_for_ever])
def test_h34_code_that_never_rests_meets_the_drain_limit(flow: Flow) -> None:
    """That run alone fails, with the limit in the message."""
    instance = Instance("run-1", Script(flow), drain_limit=2000)
    bench = Bench(flow)
    bench.live = instance
    instance.deliver(bench.log.events)
    bench.turn()
    with pytest.raises(ReplayLimit, match=r"run-1.*2000"):
        bench.land(completed("a#1"))
    instance.evict()


def test_a_wide_fan_out_is_within_the_drain_limit() -> None:
    """10,000 tasks at once, the bound on open entities."""

    async def one(w: W) -> None:
        await w.step("a")

    async def flow(w: W) -> object:
        await asyncio.gather(*(one(w) for _ in range(10_000)))

    bench = Bench(flow)
    assert len(bench.live.pending()) == 10_000
    bench.live.evict()


@pytest.mark.parametrize("events_later", [1, 3])
def test_anyios_level_cancellation_is_parked_until_the_next_event(events_later: int) -> None:
    """A cancelled scope around a TaskGroup whose child waits in finally: anyio re-arms for ever, the drain ends."""

    async def child(w: W) -> None:
        try:
            await w.step("slow")
        finally:
            for _ in range(events_later):
                await w.step("cleanup")

    async def flow(w: W) -> object:
        with anyio.CancelScope() as scope:
            async with asyncio.TaskGroup() as group:
                group.create_task(child(w))
                await w.step("a")
                scope.cancel()
        return scope.cancelled_caught

    bench = Bench(flow)
    bench.turn()
    bench.land(completed("a#1"))
    for n in range(events_later):
        assert bench.asked()[-1] == f"step_created child#1/cleanup#{n + 1}"
        bench.turn()
        bench.land(completed(f"child#1/cleanup#{n + 1}"))
    assert bench.output() is True


def test_anyios_cancellation_messages_carry_no_address() -> None:
    """The text may end up in the run's failure."""

    async def flow(w: W) -> object:
        messages: list[str] = []
        with anyio.CancelScope() as scope:
            scope.cancel("enough")
            try:
                await anyio.sleep(1)
            except asyncio.CancelledError as error:
                messages.append(str(error))
                raise
        return messages

    assert Bench(flow).output() == ["Cancelled via cancel scope of the workflow; reason: enough"]


def test_names_of_tasks_do_not_depend_on_the_process() -> None:
    """asyncio counts over the process; here the name is the task's path."""

    async def flow(w: W) -> object:
        async def child() -> str:
            task = asyncio.current_task()
            assert task is not None
            return task.get_name()

        names = await asyncio.gather(child(), child())
        named = [asyncio.create_task(child(), name=name) for name in ("mine", "")]
        return [*names, *[await task for task in named]]

    assert Bench(flow).output() == ["child#1", "child#2", "mine", ""]


def test_the_root_task_starts_in_a_fresh_context() -> None:
    """Context variables of the worker do not leak in."""
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="clean")
    var.set("the worker's")

    async def flow(w: W) -> object:
        await w.step("a")
        return var.get()

    bench = Bench(flow)
    bench.turn()
    bench.land(completed("a#1"))
    assert bench.output() == "clean"


def test_an_error_that_nobody_awaits_is_logged_once() -> None:
    """A callback's error and a forgotten task's: once when it is new, not while the log is replayed."""

    async def flow(w: W) -> object:
        def fails() -> None:
            raise ValueError("callback")

        asyncio.get_running_loop().call_soon(fails)
        await w.step("a")
        return await w.step("b")

    with captured() as lines:
        bench = Bench(flow)
        bench.turn()
        [line] = lines
        assert (line["event"], line["run"], line["message"]) == ("unawaited_error", "run-1", "Exception in callback")
        assert str(line["exc_info"]) == "callback"
        bench.land(completed("a#1"))
        bench.turn()
        replayed = Instance("run-1", Script(flow))
        replayed.deliver(bench.log.events)
        assert len(lines) == 1
    replayed.evict()
    bench.live.evict()


def test_the_workflows_own_exception_handler_is_used() -> None:
    """As asyncio has it."""

    async def flow(w: W) -> object:
        seen: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: seen.append(str(context["exception"])))
        assert loop.get_exception_handler() is not None

        def fails() -> None:
            raise ValueError("callback")

        loop.call_soon(fails)
        await asyncio.sleep(0)
        return seen

    assert Bench(flow).output() == ["callback"]


def test_an_instance_is_driven_by_one_caller_at_a_time() -> None:
    """Delivering from inside the workflow's own code is refused."""
    outer: list[Bench] = []

    async def flow(w: W) -> object:
        await w.step("a")
        with pytest.raises(RuntimeError):
            outer[0].live.deliver(outer[0].log.land(created()))

    bench = Bench(flow)
    outer.append(bench)
    bench.turn()
    bench.land(completed("a#1"))
    assert bench.asked() == ["run_completed"]


def test_a_future_of_a_thread_cannot_be_wrapped() -> None:
    """wrap_future would wake the workflow when the thread is done."""
    source: concurrent.futures.Future[None] = concurrent.futures.Future()

    async def flow(w: W) -> object:
        with pytest.raises(WorkflowRestriction, match="do this in a step"):
            asyncio.wrap_future(source)
        loop = asyncio.new_event_loop()
        coro = w.step("a")
        with pytest.raises(WorkflowRestriction, match="do this in a step"):
            asyncio.run_coroutine_threadsafe(coro, loop)
        coro.close()
        loop.close()

    assert Bench(flow).asked() == ["run_completed"]
    assert threading.active_count() >= 1
