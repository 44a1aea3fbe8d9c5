"""H156: the workflow's own exception handler is part of its code: called alike live and in every replay."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest
from replay_world import Bench, Flow, W, completed, opened

var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")


def raises() -> None:
    """A callback's error."""
    raise ValueError("callback")


async def forgotten() -> None:
    """A task's error that nobody asks for."""
    raise ValueError("task")


def callback(loop: asyncio.AbstractEventLoop) -> None:
    """An error by call_soon."""
    loop.call_soon(raises)


def task(loop: asyncio.AbstractEventLoop) -> None:
    """An error in a forgotten task."""
    loop.create_task(forgotten())


def task_by_class(loop: asyncio.AbstractEventLoop) -> None:
    """An error in a forgotten task of another class."""
    asyncio.Task(forgotten(), loop=loop)


def future(loop: asyncio.AbstractEventLoop) -> None:
    """An exception that nobody takes out of a future."""
    loop.create_future().set_exception(ValueError("future"))


def done_callback(loop: asyncio.AbstractEventLoop) -> None:
    """An error in a done callback."""
    made = loop.create_future()
    made.add_done_callback(lambda _: raises())
    made.set_result(None)


def by_hand(loop: asyncio.AbstractEventLoop) -> None:
    """The code calls it itself, in its own context."""
    loop.call_exception_handler({"message": "m", "exception": ValueError("hand"), "task": asyncio.current_task()})


def timer(loop: asyncio.AbstractEventLoop) -> None:
    """An error by call_later."""
    loop.call_later(0, raises)


WAYS: list[Callable[[asyncio.AbstractEventLoop], None]] = [
    callback,
    task,
    task_by_class,
    future,
    done_callback,
    by_hand,
    timer,
]


def flow_of(way: Callable[[asyncio.AbstractEventLoop], None]) -> Flow:
    """A run whose handler asks for a step for each error, and one that the code asks for after each."""

    async def flow(w: W) -> object:
        seen: list[object] = []
        loop = asyncio.get_running_loop()

        def handler(_: object, context: dict[str, Any]) -> None:
            seen.append(str(context["exception"]))
            started.append(loop.create_task(w.step("report", str(context["exception"]))))

        started: list[asyncio.Task[Any]] = []
        loop.set_exception_handler(handler)
        for _ in range(3):
            way(loop)
            await w.step("a")
        await asyncio.gather(*started)
        return seen

    return flow


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_h156_the_handler_is_called_live_and_in_every_replay(way: Callable[[Any], None]) -> None:
    """Three errors, three steps that the handler asks for; after each event a replay asks for the same."""
    flow = flow_of(way)
    bench = Bench(flow)
    asked: list[str] = []
    while not bench.live.ended:
        asked += bench.turn()
        with opened(flow) as replayed:
            replayed.deliver(bench.log.events)
            assert replayed.pending() == bench.live.pending()
        bench.land(*(completed(entity) for entity in list(bench.live.work.steps)))
    told = bench.output()
    assert len(told) == 3
    assert len(set(told)) == 1
    assert sum("report#" in each for each in asked) == 3
    assert [each for each in asked if each.endswith(" a#3")] != []
    with opened(flow) as replayed:
        replayed.deliver(bench.log.events)
        assert replayed.pending() == bench.live.pending()


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
def test_h156_a_handler_that_raises_ends_nothing(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, once, as asyncio logs it, and the run goes on."""

    async def flow(w: W) -> object:
        def handler(_: object, context: dict[str, Any]) -> None:
            raise error

        loop = asyncio.get_running_loop()
        loop.set_exception_handler(handler)
        callback(loop)
        return await w.step("a")

    bench = Bench(flow)
    assert bench.turn() == ["step_created a#1"]
    told = caplog.text.count("Unhandled error in exception handler")
    assert told == (0 if isinstance(error, asyncio.CancelledError) else 1)
    bench.land(completed("a#1", "value"))
    assert bench.output() == "value"
    caplog.clear()
    with opened(flow) as replayed:
        replayed.deliver(bench.log.events)
        replayed.deliver(bench.log.land(*bench.live.pending()))
    assert caplog.text == ""


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_handler_runs_in_the_context_of_what_raised(way: Callable[[Any], None]) -> None:
    """As asyncio has it from 3.12 on; where nothing has a context, in that of the run. Nothing of the worker's."""
    var.set("the worker's")

    async def flow(w: W) -> object:
        seen: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: seen.append(var.get()))
        var.set("the code's")
        way(loop)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return seen

    assert Bench(flow).output() == ["the code's"]


def test_a_handler_that_is_no_function_is_refused() -> None:
    """As asyncio refuses it."""

    async def flow(w: W) -> object:
        with pytest.raises(TypeError, match="callable"):
            asyncio.get_running_loop().set_exception_handler("log it")  # type: ignore[arg-type]  # pyright: ignore
        return None

    assert Bench(flow).asked() == ["run_completed"]


def test_h156_what_is_collected_between_turns_does_not_call_the_handler() -> None:
    """The cyclic collector comes at a moment of its own."""
    import gc

    seen: list[object] = []

    async def fails(cycle: list[object]) -> None:
        cycle.append(asyncio.current_task())
        raise ValueError("in a cycle")

    async def flow(w: W) -> object:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["exception"]))
        cycle: list[object] = []
        cycle.append(cycle)
        cycle.append(asyncio.create_task(fails(cycle)))
        del cycle
        await w.step("a")
        return await w.step("b")

    bench = Bench(flow)
    bench.turn()
    gc.collect()
    bench.land(completed("a#1"))
    bench.turn()
    gc.collect()
    assert seen == []
