"""Start keys: one run per workflow and key, until a start may take the key of a run that has ended."""

from __future__ import annotations

import asyncio

import pytest
from worlds import World, new_run_id

from fencepost_store.events import EventType as E
from fencepost_store.events import NewEvent
from fencepost_store.protocol import NewRun, RunStatus

FAILED = (RunStatus.failed, RunStatus.cancelled, RunStatus.terminated)
ENDED = (RunStatus.completed, *FAILED)


def keyed(reusable: tuple[RunStatus, ...] = (), run_id: str | None = None, key: str = "k") -> NewRun:
    return NewRun(run_id or new_run_id(), "flow", "default", b"\x01", 10_000_000, key=key, reusable=reusable)


async def end(world: World, run_id: str, kind: E) -> None:
    if kind is E.run_terminated:
        await world.fact(run_id, NewEvent(kind, dedupe="t"))
        return
    await world.turn(run_id, NewEvent(E.run_started))
    if kind is E.run_cancelled:
        await world.fact(run_id, NewEvent(E.cancel_requested, dedupe="c"))
    await world.turn(run_id, NewEvent(kind))


@pytest.mark.parametrize(
    ("kind", "by_failed", "by_ended"),
    [
        (None, False, False),
        (E.run_completed, False, True),
        (E.run_failed, True, True),
        (E.run_cancelled, True, True),
        (E.run_terminated, True, True),
        (E.run_continued, False, False),
    ],
)
async def test_who_gives_the_key_up(world: World, kind: E | None, by_failed: bool, by_ended: bool) -> None:
    for reusable, given in (((), False), (FAILED, by_failed), (ENDED, by_ended)):
        name = f"k{len(reusable)}"
        first = await world.store.start(keyed(key=name))
        if kind is not None:
            await end(world, first.run_id, kind)
        asked = keyed(reusable, key=name)
        second = await world.store.start(asked)
        assert second.created is given, (kind, reusable)
        holder = await world.store.find_key("flow", name)
        assert holder is not None
        assert holder.run_id == (asked.run_id if given else first.run_id)
        row = await world.store.get(first.run_id)
        assert row is not None
        assert (row.key, row.status.ended) == (None if given else name, kind is not None)


async def test_a_run_that_is_created_again_is_found_whoever_has_its_key_by_now(world: World) -> None:
    """A recovery creates a child anew to be sure that it is there."""
    child = keyed()
    await world.store.start(child)
    await end(world, child.run_id, E.run_failed)
    taken = await world.store.start(keyed(FAILED))
    assert taken.created
    again = await world.store.start(child)
    assert (again.run_id, again.created) == (child.run_id, False)


async def test_of_many_starts_at_once_one_takes_the_key(world: World) -> None:
    first = await world.store.start(keyed())
    await end(world, first.run_id, E.run_failed)
    answers = await asyncio.gather(*(world.store.start(keyed(FAILED)) for _ in range(8)))
    assert sum(answer.created for answer in answers) == 1
    assert len({answer.run_id for answer in answers}) == 1
    assert first.run_id not in {answer.run_id for answer in answers}
