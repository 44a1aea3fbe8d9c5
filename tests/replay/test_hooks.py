"""Signals inside the workflow: H24, H25, and what closing and conflicts do."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from replay_world import Bench, Conflict, W, completed, received


def send(bench: Bench, *values: object) -> None:
    """Payloads to hook#1."""
    bench.land(*(received("hook#1", value) for value in values))


def test_h25_payloads_before_the_first_await_are_kept_in_log_order() -> None:
    """None lost, none twice."""

    async def flow(w: W) -> object:
        async with w.hook("t") as hook:
            await w.step("a")
            return [await hook.next() for _ in range(3)]

    bench = Bench(flow)
    assert bench.turn() == ["hook_created hook#1", "step_created a#1"]
    send(bench, 1, 2, 3, 4)
    bench.land(completed("a#1"))
    assert bench.output() == [1, 2, 3]


def test_h24_a_cancelled_awaiter_swallows_nothing() -> None:
    """Ten rounds lose against the sleep; each payload still goes to the round that awaits it."""

    async def flow(w: W) -> object:
        seen: list[object] = []
        async with w.hook("t") as hook:
            for _ in range(10):
                try:
                    async with asyncio.timeout(1):
                        await hook.next()
                except TimeoutError:
                    seen.append("late")
                seen.append(await hook.next())
        return seen

    bench = Bench(flow)
    for n in range(10):
        bench.turn()
        bench.log.now += 2_000_000
        bench.live.fire_due(bench.log.now)
        bench.turn()
        send(bench, n)
    assert bench.output() == [x for n in range(10) for x in ("late", n)]


def test_h24_an_awaiter_cancelled_before_it_woke_gives_the_payload_back() -> None:
    """The payload has arrived, and in the same drain, before the awaiting task runs, it is cancelled: the next
    awaiter gets it."""

    async def flow(w: W) -> object:
        async with w.hook("t") as hook:
            task: list[asyncio.Task[Any]] = []
            future = hook.channel.next()
            future.add_done_callback(lambda _: task[0].cancel())  # runs before the task's own wake-up
            task.append(asyncio.create_task(wait_on(future)))
            await asyncio.wait(task)
            return task[0].cancelled(), await hook.next()

    async def wait_on(future: Any) -> object:
        return await future

    bench = Bench(flow)
    bench.turn()
    send(bench, "kept")
    assert bench.output() == [True, "kept"]


def test_h24_closing_a_coroutine_that_awaits_withdraws_it() -> None:
    """A coroutine that is closed while it awaits the hook is no longer enrolled."""

    async def flow(w: W) -> object:
        async with w.hook("t") as hook:
            abandoned = hook.next()
            abandoned.send(None)
            abandoned.close()
            return await hook.next()

    bench = Bench(flow)
    bench.turn()
    send(bench, "mine")
    assert bench.output() == "mine"


def test_awaiters_are_served_in_the_order_they_came() -> None:
    """First come, first served, each payload once."""

    async def flow(w: W) -> object:
        async with w.hook("t") as hook:
            return await asyncio.gather(*(hook.next() for _ in range(3)))

    bench = Bench(flow)
    bench.turn()
    send(bench, "a")
    send(bench, "b", "c")
    assert bench.output() == ["a", "b", "c"]


def test_closing_before_the_creation_landed_leaves_no_trace() -> None:
    """Asked and withdrawn within one turn."""

    async def flow(w: W) -> object:
        async with w.hook("t"):
            pass
        return await w.step("a")

    bench = Bench(flow)
    assert bench.asked() == ["step_created a#1"]
    bench.live.evict()


def test_closing_disposes_once_and_later_payloads_are_nobodys() -> None:
    """hook_received that lands between the close and hook_disposed is dropped, and does not move the clock of the
    code."""

    async def flow(w: W) -> object:
        hook = w.hook("t")
        await w.step("a")
        hook.channel.close()
        hook.channel.close()
        before = w.now()
        await w.step("b")
        return w.now() - before

    bench = Bench(flow)
    bench.turn()
    bench.land(completed("a#1"))
    assert bench.asked() == ["hook_disposed hook#1", "step_created b#1"]
    send(bench, "too late")
    assert bench.asked() == ["hook_disposed hook#1", "step_created b#1"]
    bench.turn()
    bench.land(completed("b#1"))
    assert bench.output() > 0


def test_awaiting_a_closed_hook_is_an_error() -> None:
    """Nothing would ever come."""

    async def flow(w: W) -> object:
        hook = w.hook("t")
        waiting = asyncio.ensure_future(hook.next())
        await w.step("a")
        hook.channel.close()
        (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
        with pytest.raises(RuntimeError, match="hook is closed"):
            hook.channel.next()
        return str(outcome)

    bench = Bench(flow)
    bench.turn()
    bench.land(completed("a#1"))
    assert bench.output() == "the hook was closed while it was awaited"


def test_h12_a_conflict_reaches_every_awaiter_now_and_later() -> None:
    """hook_conflict stands in hook_created's place; the owner run is named; there is nothing to dispose."""

    async def flow(w: W) -> object:
        seen: list[str] = []
        async with w.hook("taken") as hook:
            results = await asyncio.gather(hook.next(), hook.next(), return_exceptions=True)
            seen += [type(r).__name__ for r in results]
            try:
                await hook.next()
            except Conflict as conflict:
                seen.append(str(conflict))
        await w.step("a")
        return seen

    bench = Bench(flow, taken=frozenset({"taken"}))
    bench.turn()
    assert bench.asked() == ["step_created a#1"]
    bench.turn()
    bench.land(completed("a#1"))
    assert bench.output() == ["Conflict", "Conflict", "run-of-another"]


def test_a_conflict_within_a_batch_keeps_the_rest_of_the_batch() -> None:
    """The hook's neighbours in the batch have landed; what the conflict leads to comes after them."""

    async def flow(w: W) -> object:
        a = asyncio.ensure_future(w.step("a"))
        async with w.hook("taken") as hook:
            b = asyncio.ensure_future(w.step("b"))
            try:
                await hook.next()
            except Conflict:
                await w.step("c")
        return [await a, await b]

    bench = Bench(flow, taken=frozenset({"taken"}))
    assert bench.asked() == ["hook_created hook#1", "step_created a#1", "step_created b#1"]
    bench.turn()
    assert bench.asked() == ["step_created c#1"]
    bench.live.evict()


def test_h24_an_anyio_timeout_around_a_hook_withdraws_it() -> None:
    """Level cancellation takes the same way."""

    async def flow(w: W) -> object:
        async with w.hook("t") as hook:
            with anyio.move_on_after(1) as scope:
                await hook.next()
            return scope.cancelled_caught, await hook.next()

    bench = Bench(flow)
    bench.turn()
    bench.log.now += 2_000_000
    bench.live.fire_due(bench.log.now)
    bench.turn()
    send(bench, "mine")
    assert bench.output() == [True, "mine"]


def test_news_of_a_conflict_waits_for_what_was_asked_beside_it() -> None:
    """The code leaves at the conflict, while a step of the same batch is in the log already: it is given up there, and
    the log and the code agree."""

    async def flow(w: W) -> object:
        async def listen() -> object:
            async with w.hook("t") as hook:
                return await hook.next()

        tasks = [asyncio.create_task(listen()), asyncio.create_task(w.step("s"))]
        try:
            return await tasks[0]
        except Conflict:
            return "out"

    bench = Bench(flow, taken=frozenset({"t"}))
    assert bench.turn()[0].startswith("hook_created")
    (cancelled, completed_) = bench.asked()
    assert (cancelled.split()[0], completed_) == ("step_cancelled", "run_completed")
    assert bench.output() == "out"
