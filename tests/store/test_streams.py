"""Streams: what may be written, by whom, and what a reader sees. Every implementation of the store in turn."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import msgspec
import pytest
from worlds import GRACE, SECOND, E, World, new_run_id, postgres_store

from fencepost_store.admission import Unstorable
from fencepost_store.events import NewEvent
from fencepost_store.protocol import CorruptLog, NewRun, RunStatus, StoreTrouble
from fencepost_store.streams import StreamOutcome, StreamPage, StreamVerdict, StreamWrite

O = StreamOutcome  # noqa: E741 - read beside E


def started(entity: str = "w#1", attempts: int = 1) -> list[NewEvent]:
    """A step that is under way."""
    events = [NewEvent(E.step_created, entity)]
    for attempt in range(1, attempts + 1):
        if attempt > 1:
            events.append(NewEvent(E.step_retrying, entity, attempt=attempt - 1, due_in=0))
        events.append(NewEvent(E.step_started, entity, attempt=attempt, dedupe=f"token{attempt}"))
    return events


async def start_again(world: World, run_id: str, attempt: int, entity: str = "w#1") -> None:
    """The next attempt of the step, as after a lost lease: nothing says that the one before has ended."""
    await world.fact(run_id, NewEvent(E.step_started, entity, attempt=attempt, dedupe=f"token{attempt}"))


async def write(world: World, run_id: str, *chunks: bytes, first: int = 0, **more: Any) -> StreamVerdict:
    """Write as the step w#1 in its first attempt, unless told otherwise."""
    fields: dict[str, Any] = {"name": "s", "writer": "w#1", "attempt": 1, **more}
    return await world.store.write_stream(StreamWrite(run_id, first=first, chunks=chunks, **fields))


async def page(world: World, run_id: str, start: int = 0, *, limit: int = 100, bytes_max: int = 10**6) -> StreamPage:
    """A page of the stream s."""
    found = await world.store.read_stream(run_id, "s", start, limit=limit, bytes_max=bytes_max)
    assert found is not None
    return found


async def payloads(world: World, run_id: str, start: int = 0) -> list[bytes]:
    """What a reader sees; the indexes are dense."""
    found = await page(world, run_id, start)
    assert [chunk.index for chunk in found.chunks] == list(range(found.start, found.start + len(found.chunks)))
    return [chunk.payload for chunk in found.chunks]


async def test_chunks_get_dense_indexes_and_are_read_from_any_of_them(world: World) -> None:
    run_id = await world.run(*started())
    assert await write(world, run_id, b"a", b"b") == StreamVerdict(O.ok, tail=2, written=2, sent=2)
    assert (await write(world, run_id, b"c", first=2)).tail == 3
    assert await payloads(world, run_id) == [b"a", b"b", b"c"]
    assert await payloads(world, run_id, 1) == [b"b", b"c"]
    assert await payloads(world, run_id, 3) == []
    assert await payloads(world, run_id, 7) == []
    found = await page(world, run_id, 1)
    assert (found.status, found.start, found.tail, found.closed) == (RunStatus.running, 1, 3, False)
    assert (found.chunks[0].at, found.chunks[0].writer, found.chunks[0].attempt) == (world.time, "w#1", 1)


async def test_a_negative_start_counts_from_the_tail(world: World) -> None:
    run_id = await world.run(*started())
    assert await payloads(world, run_id, -2) == []
    await write(world, run_id, b"a", b"b", b"c")
    assert await payloads(world, run_id, -2) == [b"b", b"c"]
    assert (await page(world, run_id, -9)).start == 0


async def test_a_page_is_bounded_in_chunks_and_in_bytes_but_never_empty(world: World) -> None:
    run_id = await world.run(*started())
    await write(world, run_id, b"aaaa", b"bb", b"c", b"d")
    assert [len((await page(world, run_id, limit=n)).chunks) for n in (1, 3, 9)] == [1, 3, 4]
    assert [len((await page(world, run_id, bytes_max=n)).chunks) for n in (1, 4, 6, 7)] == [1, 1, 2, 3]


async def test_streams_of_a_run_are_apart_and_listed(world: World) -> None:
    run_id = await world.run(*started())
    other = await world.run(*started())
    await write(world, run_id, b"a")
    await write(world, run_id, b"x", b"yz", name="a", close=True)
    await write(world, other, b"o")
    assert await payloads(world, run_id) == [b"a"]
    listed = await world.store.list_streams(run_id)
    assert [(one.name, one.tail, one.size, one.closed) for one in listed] == [("a", 2, 3, True), ("s", 1, 1, False)]
    assert listed[0].created_at == listed[0].updated_at == world.time
    assert await world.store.list_streams(new_run_id()) == []
    assert await world.store.list_streams("no id") == []


async def test_a_stream_that_nobody_wrote_to_is_empty_and_a_run_that_is_not_there_has_none(world: World) -> None:
    run_id = await world.run()
    assert await page(world, run_id) == StreamPage(RunStatus.running, 0, 0, False)
    for missing in (new_run_id(), "no id"):
        assert await world.store.read_stream(missing, "s", 0, limit=1, bytes_max=1) is None
    assert (await write(world, new_run_id(), b"a")).outcome is O.run_not_found
    await world.store.settle_stream(run_id, "s")


async def test_h113_a_write_that_is_sent_again_lands_once(world: World) -> None:
    """Whole, in part, and with its end, also after the run's own end."""
    run_id = await world.run(*started())
    for _ in range(2):
        assert await write(world, run_id, b"a", b"b") == StreamVerdict(O.ok, tail=2, written=2, sent=2)
    assert (await write(world, run_id, b"b", b"c", first=1)).tail == 3
    for _ in range(2):
        verdict = await write(world, run_id, b"d", first=3, close=True)
        assert verdict == StreamVerdict(O.ok, tail=4, written=4, sent=4, closed=True)
    await world.fact(run_id, NewEvent(E.run_terminated))
    assert (await write(world, run_id, b"d", first=3, close=True)).outcome is O.ok
    assert (await write(world, run_id, b"e", first=4)).outcome is O.run_ended
    assert await payloads(world, run_id) == [b"a", b"b", b"c", b"d"]


async def test_h114_a_zombie_is_refused_once_the_next_attempt_has_started(world: World) -> None:
    """Before the next attempt has written anything, and after."""
    run_id = await world.run(*started())
    await write(world, run_id, b"a")
    await start_again(world, run_id, 2)
    assert (await write(world, run_id, b"z", first=1)).outcome is O.fenced
    taken = await write(world, run_id, attempt=2)
    assert taken == StreamVerdict(O.ok, tail=1, written=1, sent=0)
    assert (await write(world, run_id, b"b", attempt=2)).written == 2
    assert (await write(world, run_id, b"z", first=1)).outcome is O.fenced
    assert [(chunk.payload, chunk.attempt) for chunk in (await page(world, run_id)).chunks] == [(b"a", 1), (b"b", 2)]


@pytest.mark.parametrize("end", [E.step_completed, E.step_failed, E.step_cancelled])
async def test_h114_who_may_not_write_is_refused(world: World, end: E) -> None:
    """A step that was never asked for, that has not started, that has ended."""
    run_id = await world.run(NewEvent(E.step_created, "w#1"))
    assert (await write(world, run_id, b"z")).outcome is O.fenced
    assert (await write(world, run_id, b"z", writer="x#1")).outcome is O.fenced
    await world.fact(run_id, NewEvent(E.step_started, "w#1", attempt=1, dedupe="token1"))
    assert (await write(world, run_id, b"z", attempt=2)).outcome is O.fenced
    assert (await write(world, run_id, b"a")).outcome is O.ok
    if end is E.step_cancelled:
        await world.turn(run_id, NewEvent(end, "w#1"))
    else:
        await world.fact(run_id, NewEvent(end, "w#1", attempt=1))
    assert (await write(world, run_id, b"z", first=1)).outcome is O.fenced
    assert (await write(world, run_id, b"a")).outcome is O.ok  # sent again
    assert await payloads(world, run_id) == [b"a"]


async def test_a_refused_first_write_leaves_no_stream(world: World) -> None:
    run_id = await world.run(NewEvent(E.step_created, "w#1"))
    await write(world, run_id, b"z")
    assert await world.store.list_streams(run_id) == []


async def test_nothing_follows_a_stream_s_end(world: World) -> None:
    run_id = await world.run(*started(), *started("v#1"))
    await write(world, run_id, b"a", close=True)
    assert (await write(world, run_id, b"b", first=1)).outcome is O.closed
    assert (await write(world, run_id, b"b", writer="v#1")).outcome is O.closed
    assert (await write(world, run_id, writer="v#1", close=True)).outcome is O.closed
    assert await payloads(world, run_id) == [b"a"]


async def test_a_stream_that_an_earlier_attempt_closed_is_complete(world: World) -> None:
    """The step failed after that and runs again: what it would write is there."""
    run_id = await world.run(*started())
    await write(world, run_id, b"a", close=True)
    await start_again(world, run_id, 2)
    for more in ({}, {"close": True}):
        assert (await write(world, run_id, attempt=2, **more)).outcome is O.complete
    assert (await write(world, run_id, b"b", attempt=2)).outcome is O.complete
    assert await payloads(world, run_id) == [b"a"]


async def test_a_stream_can_end_without_a_chunk(world: World) -> None:
    run_id = await world.run(*started())
    assert await write(world, run_id, close=True) == StreamVerdict(O.ok, closed=True)
    assert (await page(world, run_id)).closed


async def test_a_stream_has_a_limit_in_bytes(world: World) -> None:
    """What fits lands, the rest is refused, and so is the end that came with it."""
    run_id = await world.run(*started())
    verdict = await write(world, run_id, b"aa", b"bb", b"cc", bytes_max=5, close=True)
    assert verdict == StreamVerdict(O.full, tail=2, written=2, sent=2)
    assert (await write(world, run_id, b"aa", b"bb", b"cc", bytes_max=5)).outcome is O.full  # sent again
    assert (await write(world, run_id, b"d", first=2, bytes_max=5)).outcome is O.ok
    assert await payloads(world, run_id) == [b"aa", b"bb", b"d"]


async def test_several_writers_share_a_stream_and_are_counted_apart(world: World) -> None:
    run_id = await world.run(*started(), *started("v#1"))
    await write(world, run_id, b"a")
    assert await write(world, run_id, b"b", writer="v#1") == StreamVerdict(O.ok, tail=2, written=1, sent=1)
    assert (await write(world, run_id, b"c", first=1)).written == 2
    assert await payloads(world, run_id) == [b"a", b"b", b"c"]


async def test_chunks_move_no_fence_and_write_no_event(world: World) -> None:
    run_id = await world.run(*started())
    before = await world.loaded(run_id)
    await world.advance(SECOND)
    await write(world, run_id, b"a", close=True)
    after = await world.loaded(run_id)
    assert (after.run, after.events) == (before.run, before.events)


async def test_a_writer_that_counts_more_than_is_there_is_trouble(world: World) -> None:
    run_id = await world.run(*started())
    with pytest.raises(StoreTrouble, match="counts 3 chunks, 0 are there"):
        await write(world, run_id, b"a", first=3)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "", "1 to 100 characters"),
        ("name", "x" * 101, "1 to 100 characters"),
        ("name", "a\0b", "no NUL"),
        ("writer", "", "no entity id"),
        ("attempt", 0, "attempt 0"),
        ("first", -1, "first -1"),
    ],
)
async def test_what_can_never_land_is_refused_with_its_field(world: World, field: str, value: Any, words: str) -> None:
    good = StreamWrite(new_run_id(), "s", "w#1", 1, 0, (b"a",))
    with pytest.raises(Unstorable, match=words):
        await world.store.write_stream(msgspec.structs.replace(good, **{field: value}))


async def test_a_gap_is_corrupt_and_never_read(postgres_world: World, postgres_url: str, namespace: str) -> None:
    run_id = await postgres_world.run(*started())
    await write(postgres_world, run_id, b"a", b"b", b"c")
    admin = await asyncpg.connect(postgres_url)
    try:
        for gone in (1, 2, 0):
            await admin.execute(f"DELETE FROM {namespace}.stream_chunks WHERE index = $1", gone)
            with pytest.raises(CorruptLog, match="stream 's'"):
                await page(postgres_world, run_id, gone)
    finally:
        await admin.close()


async def test_many_writers_at_once_leave_no_gap_and_no_chunk_twice(postgres_url: str, namespace: str) -> None:
    """Sixteen steps, each sending every write twice at the same time."""
    store = await postgres_store(postgres_url, namespace)
    try:
        run_id = new_run_id()
        await store.start(NewRun(run_id, "flow", "default", b"\x01in", GRACE))
        world = World(store, _no_clock)
        await world.turn(run_id, NewEvent(E.run_started))
        names = [f"w#{n}" for n in range(16)]
        for name in names:
            await world.turn(run_id, NewEvent(E.step_created, name))
            await world.fact(run_id, NewEvent(E.step_started, name, attempt=1, dedupe="t"))

        async def step(name: str) -> None:
            for n in range(10):
                chunk = f"{name} {n}".encode()
                await asyncio.gather(*(write(world, run_id, chunk, writer=name, first=n) for _ in range(2)))

        await asyncio.gather(*(step(name) for name in names))
        found = await payloads(world, run_id, 0) + await payloads(world, run_id, 100)
        assert sorted(found) == sorted(f"{name} {n}".encode() for name in names for n in range(10))
        for name in names:
            mine = [chunk for chunk in found if chunk.startswith(name.encode() + b" ")]
            assert mine == [f"{name} {n}".encode() for n in range(10)]
    finally:
        await store.close()


async def _no_clock(now: int) -> None:
    raise AssertionError("this test has the database's own clock")
