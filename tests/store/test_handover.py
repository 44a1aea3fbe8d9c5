"""A run that goes on as another one hands its hooks over in the transaction of its end. Each store in turn."""

from __future__ import annotations

import asyncio

import pytest
from worlds import GRACE, World, new_run_id

from fencepost_store.admission import Unstorable
from fencepost_store.events import Event, Handover, NewEvent
from fencepost_store.events import EventType as E
from fencepost_store.protocol import Batch, NewRun, Outcome, Reason, RunStatus, Verdict

ENDED = NewEvent(E.run_continued, payload=b"\x01goes on")


def hook(entity: str, token: str = "t") -> NewEvent:
    return NewEvent(E.hook_created, entity, token=token, payload=b"\x01h")


def signal(entity: str, delivery: str) -> NewEvent:
    return NewEvent(E.hook_received, entity, dedupe=delivery, payload=b"\x02" + delivery.encode())


async def goes_on(
    world: World, run: str, *hooks: Handover, fence: int = 0, before: tuple[NewEvent, ...] = ()
) -> tuple[Verdict, str]:
    """End the run with a successor that inherits; its id."""
    row = (await world.loaded(run)).run
    successor = NewRun(new_run_id(), "flow", "q", b"\x01on", GRACE, attributes={"stage": "spaid"})
    batch = Batch(run, fence or row.fence, (*before, ENDED), row.last_seq, None, GRACE, successor, hooks)
    (verdict,) = await world.store.append([batch])
    return verdict, successor.run_id


def lines(log: tuple[Event, ...]) -> list[tuple[str, str, str | None, bytes]]:
    return [(event.type.name, event.entity, event.dedupe, event.payload) for event in log]


async def test_h173_the_run_that_goes_on_begins_with_hooks_and_payloads_in_order(world: World) -> None:
    run = await world.run(hook("h#1"), hook("h#2", "u"), signal("h#1", "a"), signal("h#2", "b"), signal("h#1", "c"))
    await world.advance(7)
    verdict, successor = await goes_on(world, run, Handover("t", "h#1", (5, 7)), Handover("u", "h#2", (6,)))
    assert verdict.outcome is Outcome.ok
    loaded = await world.loaded(successor)
    assert lines(loaded.events) == [
        ("run_created", "", None, b"\x01on"),
        ("hook_inherited", "inherited:1", None, b"\x01h"),
        ("hook_inherited", "inherited:2", None, b"\x01h"),
        ("hook_received", "inherited:1", "a", b"\x02a"),
        ("hook_received", "inherited:2", "b", b"\x02b"),
        ("hook_received", "inherited:1", "c", b"\x02c"),
    ]
    assert {event.at for event in loaded.events} == {world.time}
    assert (loaded.run.status, loaded.run.last_seq, loaded.run.fence) == (RunStatus.pending, 6, 6)
    assert loaded.run.wake_at == world.time + GRACE
    assert (await world.store.details([successor]))[successor].attributes == {"stage": "spaid"}
    live = await world.store.find_hook("t")
    assert live is not None
    assert (live.run_id, live.entity, live.queue) == (successor, "inherited:1", "q")


async def test_h173_a_payload_is_taken_for_what_was_inherited_until_a_hook_is_opened(world: World) -> None:
    run = await world.run(hook("h#1"))
    _, successor = await goes_on(world, run, Handover("t", "h#1"))
    assert (await world.fact(successor, signal("inherited:1", "a"))).outcome is Outcome.ok
    assert (await world.fact(successor, signal("inherited:1", "a"))).facts[0].outcome.value == "already"
    assert (await world.fact(run, signal("h#1", "b"))).facts[0].reason is Reason.run_ended
    opened = await world.turn(successor, NewEvent(E.run_started), hook("h#9"))
    assert [event.type for event in opened.events] == [E.run_started, E.hook_created]
    live = await world.store.find_hook("t")
    assert live is not None
    assert (live.run_id, live.entity) == (successor, "h#9")
    late = await world.fact(successor, signal("inherited:1", "c"))
    assert late.facts[0].reason is Reason.no_live_hook, "who looks again finds the hook that is open"
    assert (await world.fact(successor, signal("h#9", "c"))).outcome is Outcome.ok
    other = await world.turn(successor, hook("h#10"))
    assert other.events[0].type is E.hook_conflict


async def test_h173_a_conflict_hands_nothing_over(world: World) -> None:
    run = await world.run(hook("h#1"), signal("h#1", "a"))
    verdict, successor = await goes_on(world, run, Handover("t", "h#1", ()), fence=3)
    assert verdict.outcome is Outcome.conflict
    assert await world.store.get(successor) is None
    live = await world.store.find_hook("t")
    assert live is not None
    assert live.run_id == run


async def test_h173_what_is_inherited_is_handed_on_and_goes_with_its_run(world: World) -> None:
    run = await world.run(hook("h#1"), signal("h#1", "a"))
    _, second = await goes_on(world, run, Handover("t", "h#1", (4,)))
    await world.turn(second, NewEvent(E.run_started))
    _, third = await goes_on(world, second, Handover("t", "inherited:1", (3,)))
    assert lines((await world.loaded(third)).events)[1:] == [
        ("hook_inherited", "inherited:1", None, b"\x01h"),
        ("hook_received", "inherited:1", "a", b"\x02a"),
    ]
    trace = await world.store.trace_token("t", "a")
    assert trace is not None
    assert (trace.run_id, trace.live, trace.taken_by) == (third, True, run)
    assert trace.taken is not None
    assert (trace.taken.run_id, trace.taken.entity, trace.taken.seq, trace.taken.payload) == (
        third,
        "inherited:1",
        3,
        b"\x02a",
    )
    await world.turn(third, NewEvent(E.run_started), NewEvent(E.run_completed))
    assert await world.store.find_hook("t") is None
    trace = await world.store.trace_token("t", "a")
    assert trace is not None
    assert (trace.live, trace.taken_by) == (False, run)


async def test_h173_a_hook_that_is_closed_in_the_same_batch_goes_over(world: World) -> None:
    run = await world.run(hook("h#1"), signal("h#1", "a"))
    closed = NewEvent(E.hook_disposed, "h#1")
    verdict, successor = await goes_on(world, run, Handover("t", "h#1", (4,)), before=(closed,))
    assert [event.type for event in verdict.events] == [E.hook_disposed, E.run_continued]
    assert [event.dedupe for event in await world.log(successor) if event.type is E.hook_received] == ["a"]


async def test_h175_nobody_gets_a_token_between_two_runs(world: World) -> None:
    """Others ask for it all the time that it changes hands."""
    run = await world.run(hook("h#1"))
    rivals = [await world.run() for _ in range(6)]

    async def rival(run_id: str) -> E:
        verdict = await world.turn(run_id, hook("h#1"))
        return verdict.events[0].type

    async def change() -> str:
        last = run
        for _ in range(5):
            verdict, successor = await goes_on(world, last, Handover("t", "h#1" if last == run else "inherited:1"))
            assert verdict.outcome is Outcome.ok
            await world.turn(successor, NewEvent(E.run_started))
            last = successor
        return last

    last, *got = await asyncio.gather(change(), *(rival(one) for one in rivals))
    assert set(got) == {E.hook_conflict}
    live = await world.store.find_hook("t")
    assert live is not None
    assert live.run_id == last


async def test_h173_under_the_lock_it_is_handed_over_as_well(world: World) -> None:
    run = await world.run(hook("h#1"), signal("h#1", "a"))
    row = (await world.loaded(run)).run
    successor = NewRun(new_run_id(), "flow", "q", b"\x01on", GRACE)
    async with world.store.locked(run, 60) as locked:
        batch = Batch(run, row.fence, (ENDED,), row.last_seq, None, GRACE, successor, (Handover("t", "h#1", (4,)),))
        assert (await locked.append(batch)).outcome is Outcome.ok
    assert [event.dedupe for event in await world.log(successor.run_id)][1:] == [None, "a"]


async def test_a_successor_that_cannot_be_is_refused_before_anything_is_written(world: World) -> None:
    run = await world.run(hook("h#1"))
    row = (await world.loaded(run)).run
    fine = NewRun(new_run_id(), "flow", "q", b"\x01on", GRACE)
    wrong = [
        Batch(run, row.fence, (NewEvent(E.run_completed),), row.last_seq, successor=fine),
        Batch(run, row.fence, (ENDED,), row.last_seq, hooks=(Handover("t", "h#1"),)),
        Batch(run, row.fence, (ENDED,), row.last_seq, successor=NewRun(run, "flow", "q", b"", GRACE)),
        Batch(run, row.fence, (ENDED,), row.last_seq, successor=fine, hooks=(Handover("\0", "h#1"),)),
    ]
    for batch in wrong:
        with pytest.raises(Unstorable):
            await world.store.append([batch])
    assert len(await world.log(run)) == 3
