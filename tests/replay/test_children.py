"""Children in the loop: ids, what cancelling leads to, and where log and code disagree."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from replay_world import Bench, ChildError, W, completed

from fencepost import records
from fencepost.replay.identity import derived_run_id
from fencepost.replay.interface import ReplayDivergence
from fencepost_store.events import EventType, NewEvent


def told(entity: str, value: object = None) -> NewEvent:
    """child_completed."""
    return NewEvent(EventType.child_completed, entity, payload=msgspec.msgpack.encode(value))


def refused(entity: str) -> NewEvent:
    """child_failed."""
    return NewEvent(EventType.child_failed, entity)


def run_ids(bench: Bench) -> list[str]:
    """Of the children that the log creates."""
    created = [event for event in bench.log.events if event.type is EventType.child_created]
    return [records.unpack(event.payload, records.ChildCreated).run for event in created]


def test_a_child_s_run_id_is_a_uuid7_of_its_time_and_its_place() -> None:
    """The same again, another for each entity, run and secret, and later ones sort behind."""
    one = derived_run_id(1_700_000_000_123_456, b"secret", "run", "a#1")
    assert one == derived_run_id(1_700_000_000_123_999, b"secret", "run", "a#1")
    assert one[14] == "7"
    assert one[19] in "89ab"
    assert int(one.replace("-", "")[:12], 16) == 1_700_000_000_123
    others = [
        derived_run_id(1_700_000_000_123_456, *args) for args in ((b"s", "run", "a#1"), (b"secret", "run", "a#2"))
    ]
    assert len({one, *others, derived_run_id(1_700_000_000_123_456, b"secret", "other", "a#1")}) == 4
    assert derived_run_id(1_700_000_000_124_456, b"secret", "run", "a#1") > max(one, *others)


def test_a_called_child_that_is_cancelled_is_waited_for() -> None:
    """The timeout is seen by the code when the child has ended, and not before."""

    async def flow(w: W) -> object:
        try:
            async with asyncio.timeout(1):
                return await w.child("slow")
        except TimeoutError:
            return "timeout"

    bench = Bench(flow)
    bench.turn()
    bench.log.now += 2_000_000
    bench.live.fire_due(bench.log.now)
    assert bench.turn() == ["wait_completed timeout#1", "child_cancel_requested slow#1"]
    assert bench.asked() == []
    bench.land(refused("slow#1"))
    assert bench.output() == "timeout"


def test_a_child_that_swallows_its_cancellation_has_completed() -> None:
    """As a coroutine that does so: the cancellation is lost, and the value counts."""

    async def flow(w: W) -> object:
        task = asyncio.ensure_future(w.child("a"))
        await w.step("s")
        task.cancel()
        return await task

    bench = Bench(flow)
    bench.turn()
    bench.land(completed("s#1"))
    assert bench.turn() == ["child_cancel_requested a#1"]
    bench.land(told("a#1", 7))
    assert bench.output() == 7


def test_a_child_that_nobody_has_created_is_withdrawn_without_a_trace() -> None:
    async def flow(w: W) -> object:
        task = asyncio.ensure_future(w.child("a"))
        await asyncio.sleep(0)
        task.cancel()
        return await w.step("s")

    assert Bench(flow).asked() == ["step_created s#1"]


def test_an_end_that_lands_first_ends_the_wish_to_cancel() -> None:
    """And a second request asks for nothing more."""

    async def flow(w: W) -> object:
        child = w.start("a")
        await w.step("s")
        child.cancel("x")
        child.cancel("y")
        return (await child.end()).type.name

    bench = Bench(flow)
    bench.turn()
    bench.land(completed("s#1"))
    assert bench.asked() == ["child_cancel_requested a#1"]
    bench.land(told("a#1"))
    assert bench.asked() == ["run_completed"]
    assert bench.output() == "child_completed"


def test_two_may_await_one_handle_and_one_may_leave() -> None:
    """Cancelling who awaits asks for nothing."""

    async def flow(w: W) -> object:
        child = w.start("a")

        async def wait() -> str:
            return (await child.end()).type.name

        leaving, staying = asyncio.ensure_future(wait()), asyncio.ensure_future(wait())
        await w.step("s")
        leaving.cancel()
        return [await staying, leaving.cancelled(), (await child.end()).type.name]

    bench = Bench(flow)
    bench.turn()
    bench.land(completed("s#1"))
    assert bench.asked() == []
    bench.land(told("a#1"))
    assert bench.output() == ["child_completed", True, "child_completed"]


def test_what_is_started_to_be_abandoned_is_created_also_by_code_that_returns() -> None:
    """Others are not: they would be created to be cancelled."""

    async def flow(w: W) -> object:
        w.start("a", parent_close="abandon")
        w.start("b")
        return None

    assert Bench(flow).asked() == ["child_created a#1", "run_completed"]


def test_the_recorded_run_counts() -> None:
    """Code that came to the call at another time asks for another id; the log's is the child's."""

    async def flow(w: W) -> object:
        child = w.start("a")
        await child.end()
        return child.run_id

    bench = Bench(flow)
    (asked,) = bench.live.pending()
    record = records.unpack(asked.payload, records.ChildCreated)
    recorded = msgspec.structs.replace(record, run="0" * 36)
    bench.land(NewEvent(EventType.child_created, "a#1", payload=records.pack(recorded)))
    bench.land(told("a#1"))
    assert bench.output() == "0" * 36
    assert run_ids(bench) == ["0" * 36]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (NewEvent(EventType.child_created, "b#1", payload=records.pack(records.ChildCreated("b", b"", "r"))), "b#1"),
        (NewEvent(EventType.child_created, "a#1", payload=records.pack(records.ChildCreated("z", b"", "r"))), "(z)"),
        (NewEvent(EventType.step_created, "a#1", payload=records.pack(records.StepCreated("a", b""))), "step_created"),
        (NewEvent(EventType.child_cancel_requested, "a#1"), "child_cancel_requested"),
        (NewEvent(EventType.child_completed, "a#1"), "child_completed"),
    ],
)
def test_h30_a_child_that_the_code_does_not_ask_for_is_a_divergence(event: NewEvent, words: str) -> None:
    """Another entity, another workflow, a step in its place, a request nobody made, an end before the creation."""

    async def flow(w: W) -> object:
        try:
            return await w.child("a")
        except ChildError:
            return None

    bench = Bench(flow)
    with pytest.raises(ReplayDivergence) as caught:
        bench.land(event)
    assert words in caught.value.recorded
    assert "child_created a#1 (a)" in caught.value.asked
    assert "replay_world.py" in caught.value.source  # where this harness asks
