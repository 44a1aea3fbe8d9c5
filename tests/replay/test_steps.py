"""Steps, ids and ends: H20, H21, H23, H27, H32."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from replay_world import Bench, StepError, W, completed, failed, opened, received

from fencepost_store.events import EventType, NewEvent


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("at_once", [False, True])
def test_h23_the_winner_is_the_lower_seq(swap: bool, at_once: bool) -> None:
    """Two steps complete before one turn: whatever the order of arguments, and fed together or singly."""

    async def flow(w: W) -> object:
        a, b = asyncio.ensure_future(w.step("a")), asyncio.ensure_future(w.step("b"))
        pair = [b, a] if swap else [a, b]
        done, _ = await asyncio.wait(pair, return_when=asyncio.FIRST_COMPLETED)
        winner = [t.result() for t in done]
        await asyncio.gather(a, b)
        return winner

    bench = Bench(flow)
    bench.turn()
    facts = [completed("b#1", "b"), completed("a#1", "a")]
    if at_once:
        bench.land(*facts)
    else:
        for fact in facts:
            bench.land(fact)
    assert bench.output() == ["b"]


def test_h20_a_signal_that_is_seen_first_takes_the_hooks_branch() -> None:
    """The sleep is due, but the log has the signal: after a conflict the next turn decides for the hook."""

    async def flow(w: W) -> object:
        async with w.hook("t") as hook:
            try:
                async with asyncio.timeout(1):
                    await hook.next()
            except TimeoutError:
                return await w.step("timed_out")
        return await w.step("signalled")

    bench = Bench(flow)
    bench.turn()
    late = bench.log.now + 5_000_000
    stale = bench.live
    stale.fire_due(late)
    assert bench.asked() == ["wait_completed timeout#1", "step_created timed_out#1"]
    bench.log.now = late
    events = [*bench.log.events, *bench.log.land(received("hook#1"))]
    stale.evict()  # its append was a conflict
    with opened(flow) as fresh:
        fresh.deliver(events[:-1])
        fresh.deliver(events[-1:])
        fresh.fire_due(late)
        asked = [f"{e.type.name} {e.entity}" for e in fresh.pending()]
        assert asked == ["wait_cancelled timeout#1", "hook_disposed hook#1", "step_created signalled#1"]


def test_h21_the_branch_decides_which_step_is_created() -> None:
    """race(step, hook) where only step_created follows: decided by what the log has first."""

    async def flow(w: W) -> object:
        async with w.hook("t") as hook:
            work, signal = asyncio.ensure_future(w.step("work")), asyncio.ensure_future(hook.next())
            done, _ = await asyncio.wait([work, signal], return_when=asyncio.FIRST_COMPLETED)
            return await w.step("sync" if work in done else "drain")

    for facts, expected in (
        ([completed("work#1"), received("hook#1")], "sync"),
        ([received("hook#1"), completed("work#1")], "drain"),
    ):
        bench = Bench(flow)
        bench.turn()
        bench.land(*facts)
        assert bench.asked()[0] == f"step_created {expected}#1"
        bench.live.evict()


def test_h27_a_missing_branch_renames_nobody_else() -> None:
    """Ids count per task path and name."""

    async def ship(w: W, n: int) -> None:
        await asyncio.gather(w.step("label"), w.step("label"), w.step("post"))

    async def flow(w: W, with_refund: bool) -> object:
        async with asyncio.TaskGroup() as group:
            if with_refund:
                group.create_task(w.step("refund"))
            for n in range(2):
                group.create_task(ship(w, n))

    ids = {}
    for with_refund in (False, True):
        bench = Bench(lambda w, r=with_refund: flow(w, r))  # type: ignore[misc]
        ids[with_refund] = {e.entity for e in bench.live.pending()}
        bench.live.evict()
    assert ids[False] == {f"ship#{n}/{s}" for n in (1, 2) for s in ("label#1", "label#2", "post#1")}
    assert ids[True] == ids[False] | {"refund#1"}


def test_h27_ids_are_taken_at_the_call_and_not_at_the_await() -> None:
    """gather(step, step) gives step#1 and step#2 under the caller, though each coroutine runs in a task of its own."""

    async def flow(w: W) -> object:
        later = w.step("a")
        return await asyncio.gather(w.step("a"), later)

    bench = Bench(flow)
    assert bench.asked() == ["step_created a#2", "step_created a#1"]
    bench.live.evict()


def test_h27_callbacks_count_under_the_task_that_scheduled_them() -> None:
    """A timer made in a callback, and anyio's tasks, carry the path."""

    async def child(w: W) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: loop.call_later(5, print))
        await w.step("a")

    async def flow(w: W) -> object:
        async with anyio.create_task_group() as group:
            group.start_soon(child, w)
            group.start_soon(child, w)

    bench = Bench(flow)
    assert sorted(e.entity for e in bench.live.pending()) == [
        "child#1/a#1",
        "child#1/timer#1",
        "child#2/a#1",
        "child#2/timer#1",
    ]
    bench.live.evict()


def test_ids_are_bounded_and_stay_apart() -> None:
    """Deep paths and long names are shortened by hash; names cannot spell another task's path."""

    async def a_function_with_a_rather_long_name(w: W, depth: int) -> None:
        if depth:
            await asyncio.gather(*(a_function_with_a_rather_long_name(w, depth - 1) for _ in range(2)))
        else:
            await asyncio.wait([w.future("n" * 300), w.future("n" * 299 + "m"), w.future("deep#1/deep#1/x")])

    bench = Bench(lambda w: a_function_with_a_rather_long_name(w, 7))
    ids = [e.entity for e in bench.live.pending()]
    assert len(ids) == len(set(ids)) == 3 * 2**7
    assert max(map(len, ids)) <= 200
    bench.live.evict()

    async def spelled(w: W) -> object:
        await asyncio.gather(w.future("ship#1/a"), ship(w))

    async def ship(w: W) -> None:
        await w.step("a")

    bench = Bench(spelled)
    assert len({e.entity for e in bench.live.pending()}) == 2
    bench.live.evict()


def test_h32_leftover_tasks_are_cancelled_at_return() -> None:
    """What they asked for and nobody created is withdrawn; what was created is cancelled; nothing more can be asked."""
    refused: list[str] = []

    async def leftover(w: W) -> None:
        try:
            await w.step("asked")
        finally:
            try:
                await w.step("in_finally")
            except BaseException as error:
                refused.append(str(error))
                raise

    async def flow(w: W) -> object:
        task = asyncio.create_task(leftover(w))
        await w.step("a")
        asyncio.create_task(leftover(w))  # noqa: RUF006  # that nobody keeps it is the point
        asyncio.create_task(w.step("never_started"))  # noqa: RUF006
        w.future("fire_and_forget")
        return task.done()

    bench = Bench(flow)
    bench.turn()
    bench.land(completed("a#1"))
    assert bench.asked() == ["step_cancelled leftover#1/asked#1", "run_completed"]
    assert refused
    assert all("await its tasks before returning" in text for text in refused)
    bench.turn()
    assert bench.live.work.ended is not None


def test_withdrawing_before_it_landed_leaves_no_trace_and_after_it_a_decision() -> None:
    """Cancelling the future is the withdrawal."""

    async def flow(w: W) -> object:
        one, two = w.future("one"), w.future("two")
        two.cancel()
        await w.step("a")
        one.cancel()
        await w.step("b")

    bench = Bench(flow)
    assert bench.turn() == ["step_created one#1", "step_created a#1"]
    bench.land(completed("a#1"))
    assert bench.turn() == ["step_cancelled one#1", "step_created b#1"]
    bench.land(completed("b#1"))
    assert bench.asked() == ["run_completed"]


def test_a_result_that_lands_before_its_cancellation_ends_the_wish_to_cancel() -> None:
    """step_completed comes between asking for step_cancelled and its landing: no step_cancelled any more."""

    async def flow(w: W) -> object:
        one = w.future("one")
        await w.step("a")
        one.cancel()
        await w.step("b")

    bench = Bench(flow)
    bench.turn()
    bench.land(completed("a#1"), completed("one#1"))
    assert bench.asked() == ["step_created b#1"]
    bench.live.evict()


def test_facts_after_the_codes_end_are_noticed_by_nobody() -> None:
    """They may land before run_completed does; the decision stays the same but for what they ended."""

    async def flow(w: W) -> object:
        async with w.hook("t") as hook:
            losers = [asyncio.ensure_future(w.step("loser")), asyncio.ensure_future(hook.next())]
            await w.step("winner")
            for loser in losers:
                loser.cancel()
        w.hook("open")
        return "done"

    bench = Bench(flow)
    bench.turn()
    bench.land(completed("winner#1"))
    assert bench.asked() == ["step_cancelled loser#1", "hook_disposed hook#1", "run_completed"]
    bench.land(received("hook#1"), completed("loser#1"), NewEvent(EventType.cancel_requested))
    assert bench.asked() == ["hook_disposed hook#1", "run_completed"]
    bench.turn()
    assert bench.asked() == []


def test_an_anticipated_result_leads_the_batch_and_is_delivered_once() -> None:
    """The hot path: deliver, append together, and see the copy land."""
    delivered: list[object] = []

    async def flow(w: W) -> object:
        for n in range(2):
            delivered.append((n, await w.step("a"), w.now()))

    bench = Bench(flow)
    bench.turn()
    bench.live.anticipate(completed("a#1", "x", at=bench.log.now + 5))
    assert bench.asked() == ["step_completed a#1", "step_created a#2"]
    assert bench.asked() == ["step_completed a#1", "step_created a#2"]
    bench.turn()
    assert bench.asked() == []
    assert len(delivered) == 1
    bench.live.evict()


def test_only_an_open_step_of_the_log_can_be_anticipated() -> None:
    """Anything else is the engine's mistake."""

    async def flow(w: W) -> object:
        await w.step("a")

    bench = Bench(flow)
    with pytest.raises(ValueError, match="not open in the log"):
        bench.live.anticipate(completed("a#1", at=1))
    bench.turn()
    with pytest.raises(ValueError, match="without a time"):
        bench.live.anticipate(completed("a#1"))
    bench.land(completed("a#1"))
    with pytest.raises(ValueError, match="not open in the log"):
        bench.live.anticipate(completed("a#1", at=1))


def test_a_cancelled_run_may_compensate_and_ends_cancelled() -> None:
    """cancel_requested raises CancelledError where the code waits; a second request raises it again."""

    async def flow(w: W) -> object:
        try:
            await w.step("work")
        finally:
            try:
                await w.step("undo")
            except asyncio.CancelledError:
                await w.step("undo_faster")

    bench = Bench(flow)
    bench.turn()
    bench.land(NewEvent(EventType.cancel_requested))
    assert bench.turn() == ["step_cancelled work#1", "step_created undo#1"]
    bench.land(NewEvent(EventType.cancel_requested))
    assert bench.turn() == ["step_cancelled undo#1", "step_created undo_faster#1"]
    bench.land(completed("undo_faster#1"))
    assert bench.asked() == ["run_cancelled"]


def test_a_run_that_swallows_its_cancellation_completes() -> None:
    """The code has the last word."""

    async def flow(w: W) -> object:
        try:
            await w.step("work")
        except asyncio.CancelledError:
            return "stopped"

    bench = Bench(flow)
    bench.turn()
    bench.land(NewEvent(EventType.cancel_requested))
    assert bench.output() == "stopped"


def test_a_cancelled_error_of_the_codes_own_is_a_failure() -> None:
    """Nobody asked the run to cancel."""

    async def flow(w: W) -> object:
        raise asyncio.CancelledError("mine")

    assert Bench(flow).error().type == "CancelledError"


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, BaseException, BaseExceptionGroup])
def test_any_exception_that_leaves_the_code_fails_the_run(error: type[BaseException]) -> None:
    """sys.exit() in a workflow ends the run and not the worker."""

    async def flow(w: W) -> object:
        await w.step("a")
        raise error("out", [ValueError()]) if error is BaseExceptionGroup else error("out")

    bench = Bench(flow)
    bench.turn()
    bench.land(completed("a#1"))
    assert bench.error().type == ("ExceptionGroup" if error is BaseExceptionGroup else error.__name__)


def test_a_failed_step_can_be_caught() -> None:
    """step_failed resolves the future with the event."""

    async def flow(w: W) -> object:
        try:
            await w.step("a")
        except StepError as error:
            return str(error)

    bench = Bench(flow)
    bench.turn()
    bench.land(failed("a#1"))
    assert bench.output() == "a#1"


def test_one_id_cannot_be_open_twice() -> None:
    """The caller's mistake is an error in the workflow, not a corrupt log."""

    async def flow(w: W) -> object:
        w.asking.step("same#1", b"")
        w.asking.step("same#1", b"")

    assert Bench(flow).error().type == "ValueError"


def test_seeds_depend_on_run_and_entity_only() -> None:
    """What random() and uuid4() are made of."""

    async def flow(w: W) -> object:
        return [w.asking.seed("a"), w.asking.seed("b"), w.asking.seed("a")]

    one, two = Bench(flow).output(), Bench(flow).output()
    assert one == two
    assert one[0] == one[2] != one[1]
    assert len(one[0]) == 32
