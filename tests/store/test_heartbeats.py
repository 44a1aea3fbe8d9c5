"""Heartbeat details beside the log. Each store in turn."""

from __future__ import annotations

from worlds import World, new_run_id

from fencepost_store.events import EventType as E
from fencepost_store.events import NewEvent

CREATED = NewEvent(E.step_created, "s#1")


def started(n: int) -> NewEvent:
    return NewEvent(E.step_started, "s#1", attempt=n)


async def test_the_newest_details_stand_until_they_are_forgotten(world: World) -> None:
    run = await world.run(CREATED, started(1))
    assert await world.store.last_beat(run, "s#1") is None
    assert await world.store.beat(run, "s#1", 1, b"\x02a")
    assert await world.store.beat(run, "s#1", 1, b"\x02b")
    assert await world.store.last_beat(run, "s#1") == b"\x02b"
    await world.fact(run, started(2))
    assert await world.store.last_beat(run, "s#1") == b"\x02b", "the next attempt's"
    assert await world.store.beat(run, "s#1", 2, b"\x02c")
    await world.fact(run, NewEvent(E.step_completed, "s#1", attempt=2))
    await world.store.forget_beat(run, "s#1")
    await world.store.forget_beat(run, "s#1")
    assert await world.store.last_beat(run, "s#1") is None
    assert len(await world.log(run)) == 6


async def test_h125_the_details_of_an_open_step_are_not_forgotten(world: World) -> None:
    """Whoever asks for it believes that the step has ended; if its end has not landed, the next attempt needs them."""
    run = await world.run(CREATED, started(1), NewEvent(E.step_created, "s#2"))
    assert await world.store.beat(run, "s#1", 1, b"\x02a")
    await world.fact(run, NewEvent(E.step_started, "s#2", attempt=1))
    await world.fact(run, NewEvent(E.step_completed, "s#2", attempt=1))
    await world.run(CREATED)  # open, and nothing to do with it
    ended = await world.run(CREATED, NewEvent(E.run_terminated))
    for other in (run, ended):
        await world.store.forget_beat(other, "s#1")
    assert await world.store.last_beat(run, "s#1") == b"\x02a"
    await world.fact(run, NewEvent(E.run_terminated))
    await world.store.forget_beat(run, "s#1")
    assert await world.store.last_beat(run, "s#1") is None, "its run has ended"


async def test_h125_only_the_newest_start_of_an_open_step_is_heard(world: World) -> None:
    assert not await world.store.beat(new_run_id(), "s#1", 1, b"")
    run = await world.run(CREATED)
    assert not await world.store.beat(run, "s#1", 1, b"x"), "not started"
    assert not await world.store.beat(run, "s#1", 0, b"x"), "the creation is no start, also where none follows"
    await world.fact(run, started(1))
    assert not await world.store.beat(run, "s#1", 2, b"x"), "not started yet"
    assert not await world.store.beat(run, "s#1", 0, b"x"), "the creation is no start"
    await world.fact(run, started(2))
    assert not await world.store.beat(run, "s#1", 1, b"x"), "a zombie"
    await world.fact(run, NewEvent(E.step_completed, "s#1", attempt=2))
    assert not await world.store.beat(run, "s#1", 2, b"x"), "the step has ended"
    other = await world.run(CREATED, started(1), NewEvent(E.run_terminated))
    assert not await world.store.beat(other, "s#1", 1, b"x"), "the run has ended"
    for one in (run, other):
        assert await world.store.last_beat(one, "s#1") is None


async def test_what_happens_to_others_silences_no_attempt(world: World) -> None:
    """A later start and the end of a step beside it, and the same step's in another run that has ended."""
    beside = NewEvent(E.step_created, "s#2")
    run = await world.run(CREATED, started(1), beside)
    assert not await world.store.beat(run, "s#2", 1, b"x"), "not started, whoever else is"
    assert not await world.store.beat(new_run_id(), "s#1", 1, b"x"), "no such run, whoever else runs"
    for event in (
        NewEvent(E.step_started, "s#2", attempt=1),
        NewEvent(E.step_started, "s#2", attempt=2),
        NewEvent(E.step_completed, "s#2", attempt=2),
    ):
        await world.fact(run, event)
    other = await world.run(CREATED, started(1), started(2), NewEvent(E.step_completed, "s#1", attempt=2))
    await world.turn(other, NewEvent(E.run_completed))
    assert await world.store.beat(run, "s#1", 1, b"\x02a")
    assert await world.store.last_beat(run, "s#1") == b"\x02a"
    assert await world.store.last_beat(run, "s#2") is None
    assert await world.store.last_beat(other, "s#1") is None
    await world.store.forget_beat(other, "s#1")
    await world.store.forget_beat(run, "s#2")
    assert await world.store.last_beat(run, "s#1") == b"\x02a"
