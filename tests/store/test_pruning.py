"""Runs that ended long ago go: who may, who may not, and what is left of them. Each store in turn."""

from __future__ import annotations

import msgspec
import pytest
from worlds import GRACE, SECOND, E, World, new_run_id

from fencepost_store.events import NewEvent
from fencepost_store.lineage import parent_text
from fencepost_store.protocol import Batch, NewRun, Outcome, Reason, RunStatus
from fencepost_store.pruning import Candidate, PruneFilter, PruneOutcome
from fencepost_store.streams import StreamOutcome, StreamWrite

OLD = 100 * SECOND
DONE = NewEvent(E.run_completed)
CHILD = NewEvent(E.child_created, "c#1")


async def prune(world: World, *run_ids: str, previous: str | None = None, dry: bool = False) -> list[PruneOutcome]:
    candidates = [Candidate(run_id, previous if place == 0 else None) for place, run_id in enumerate(run_ids)]
    return await world.store.prune(candidates, OLD, dry=dry)


async def child_of(world: World, parent: str, entity: str = "c#1") -> str:
    """A child's run that has ended and told nobody yet."""
    run_id = new_run_id()
    await world.store.start(NewRun(run_id, "kid", "default", b"\x01in", GRACE, parent=parent_text(parent, entity)))
    await world.turn(run_id, DONE)
    return run_id


async def full_run(world: World) -> str:
    """A run that has left rows in every table, and ended."""
    run_id = new_run_id()
    await world.store.start(NewRun(run_id, "flow", "default", b"\x01in", GRACE, key="k", attributes={"stage": "sx"}))
    await world.turn(run_id, NewEvent(E.run_started), NewEvent(E.step_created, "s#1"))
    await world.turn(run_id, NewEvent(E.hook_created, "h#1", token="t"))
    await world.fact(run_id, NewEvent(E.step_started, "s#1", attempt=1))
    assert await world.store.beat(run_id, "s#1", 1, b"\x02b")
    written = await world.store.write_stream(StreamWrite(run_id, "out", "s#1", 1, 0, (b"a", b"b", b"c")))
    assert written.outcome is StreamOutcome.ok
    await world.turn(run_id, DONE)
    return run_id


async def test_a_pruned_run_is_there_for_nobody(world: World) -> None:
    """From the first stroke on, while its log is still to be swept."""
    store = world.store
    run_id = await full_run(world)
    await world.advance(OLD)
    assert await prune(world, run_id) == [PruneOutcome.pruned]
    for swept in (False, True):
        assert await store.get(run_id) is None
        assert await store.load(run_id) is None
        assert await store.load_entity(run_id, "s#1") is None
        assert await store.find_key("flow", "k") is None
        assert await store.details([run_id]) == {}
        assert await store.find_hook("t") is None
        assert await store.trace_token("t", "d") is None
        assert await store.last_beat(run_id, "s#1") is None
        assert await store.read_stream(run_id, "out", 0, limit=9, bytes_max=99) is None
        assert await store.list_streams(run_id) == []
        if not swept:
            assert (await store.sweep(1000)).rows == 6 + 3 + 1, "the log, the chunks, the writer"
    assert await prune(world, run_id) == [PruneOutcome.not_found]


async def test_what_comes_late_for_a_pruned_run_is_refused(world: World) -> None:
    """A worker's late fact, turn, chunk and heartbeat."""
    store = world.store
    run_id = await full_run(world)
    await world.advance(OLD)
    await prune(world, run_id)
    for _ in range(2):
        fact = await world.fact(run_id, NewEvent(E.step_completed, "s#1", attempt=1))
        assert (fact.outcome, fact.facts[0].reason) == (Outcome.refused, Reason.run_not_found)
        turn = await world.fenced(run_id, 6, NewEvent(E.step_created, "s#2"))
        assert turn.outcome is Outcome.refused
        assert (await store.touch(run_id, 6, 6, None)).outcome is Outcome.refused
        chunk = await store.write_stream(StreamWrite(run_id, "out", "s#1", 1, 3, (b"d",)))
        assert chunk.outcome is StreamOutcome.run_not_found
        assert not await store.beat(run_id, "s#1", 1, b"\x02c")
        await store.settle_stream(run_id, "out")
        await store.sweep(1000)


async def test_its_key_and_token_are_free_at_once(world: World) -> None:
    run_id = await full_run(world)
    again = NewRun(new_run_id(), "flow", "default", b"\x01in", GRACE, key="k")
    assert (await world.store.start(again)).run_id == run_id
    await world.advance(OLD)
    await prune(world, run_id)
    assert (await world.store.start(again)).created


@pytest.mark.parametrize("short", [1, 0])
async def test_it_must_have_ended_for_long_enough(world: World, short: int) -> None:
    """By the database clock, to the microsecond."""
    run_id = await world.run(DONE)
    await world.advance(OLD - short)
    expected = PruneOutcome.unfit if short else PruneOutcome.pruned
    assert await prune(world, run_id) == [expected]
    assert (await world.store.get(run_id) is None) == (short == 0)


async def test_an_open_run_stays_however_old(world: World) -> None:
    run_id = await world.run(NewEvent(E.hook_created, "h#1", token="t"))
    await world.advance(100 * OLD)
    assert await prune(world, run_id) == [PruneOutcome.unfit]
    assert (await world.loaded(run_id)).run.last_seq == 3


async def test_a_run_that_owes_something_stays(world: World) -> None:
    """Its deadline says so: a child that was not told, a successor that was not made."""
    run_id = await world.run()
    await world.turn(run_id, DONE, wake_at=world.time + SECOND)
    await world.advance(OLD)
    assert await prune(world, run_id) == [PruneOutcome.unfit]
    run = (await world.loaded(run_id)).run
    await world.store.touch(run_id, run.fence, run.last_seq, None)
    assert await prune(world, run_id) == [PruneOutcome.pruned]


@pytest.mark.parametrize("end", [E.child_completed, E.child_failed, E.child_abandoned, None])
@pytest.mark.parametrize("parent_ended", [False, True])
async def test_a_child_goes_after_its_parent_has_its_end(world: World, end: E | None, parent_ended: bool) -> None:
    """Or after its parent: one that is open there, or was given up, is made if absent by any recovery."""
    parent = await world.run(CHILD)
    child = await child_of(world, parent)
    other = await child_of(world, parent, "c#2")
    if end is not None:
        event = NewEvent(end, "c#1", dedupe=child)
        await (world.turn(parent, event) if end is E.child_abandoned else world.fact(parent, event))
    if parent_ended:
        await world.turn(parent, DONE)
    await world.advance(OLD)
    told = end in (E.child_completed, E.child_failed)
    assert await prune(world, child, other) == [
        PruneOutcome.pruned if told else PruneOutcome.parent,
        PruneOutcome.parent,
    ]
    if parent_ended:
        assert await prune(world, parent, other) == [PruneOutcome.pruned, PruneOutcome.pruned]
        assert await world.store.get(other) is None


async def test_a_successor_goes_after_its_predecessor(world: World) -> None:
    """In one call, if it comes after it."""
    first, second = await world.run(DONE), await world.run(DONE)
    await world.advance(OLD)
    pair = [Candidate(first), Candidate(second, first)]
    assert await world.store.prune(pair[::-1], OLD, dry=True) == [PruneOutcome.chain, PruneOutcome.pruned]
    assert await world.store.prune(pair[1:], OLD) == [PruneOutcome.chain]
    assert await world.store.prune(pair[1:], OLD, gone=[first]) == [PruneOutcome.chain], "for dry runs only"
    assert await world.store.prune(pair[1:], OLD, gone=[first], dry=True) == [PruneOutcome.pruned]
    assert await world.store.prune(pair, OLD, dry=True) == [PruneOutcome.pruned] * 2
    assert await world.store.get(first) is not None
    assert await world.store.prune(pair, OLD) == [PruneOutcome.pruned] * 2
    assert await world.store.get(second) is None


async def test_a_run_that_somebody_holds_is_passed_over(world: World) -> None:
    """Nobody waits, and the others of the batch go."""
    held, free = await world.run(DONE), await world.run(DONE)
    await world.advance(OLD)
    async with world.store.locked(held, 60):
        assert await prune(world, held, free) == [PruneOutcome.busy, PruneOutcome.pruned]
    assert await prune(world, held) == [PruneOutcome.pruned]


async def test_what_is_left_is_swept_in_portions(world: World) -> None:
    """Whoever comes next goes on where another stopped."""
    runs = [await full_run(world)]
    runs += [await world.run(DONE), await world.run(DONE)]
    await world.advance(OLD)
    assert await prune(world, *runs) == [PruneOutcome.pruned] * 3
    swept = [await world.store.sweep(7) for _ in range(4)]
    assert [(one.rows, one.left) for one in swept] == [(7, True), (7, True), (2, False), (0, False)]


async def test_a_page_says_where_the_next_begins(world: World) -> None:
    """Whether anything on it fits or not."""
    done = [await world.run(DONE) for _ in range(3)]
    await world.run()
    failed = await world.run(NewEvent(E.run_terminated))
    await world.advance(OLD)
    young = await world.run(DONE)
    every = PruneFilter(OLD)
    page = await world.store.old_runs(every, None, 2)
    assert [run.run_id for run in page.runs] == done[:2]
    page = await world.store.old_runs(every, page.after, 2)
    assert [run.run_id for run in page.runs] == done[2:]
    page = await world.store.old_runs(every, page.after, 1)
    fact = await world.store.get(failed)
    assert fact is not None
    assert fact.wake_at is not None, "a fact arms the deadline of what it ends"
    assert (page.runs, page.after) == ((), failed)
    page = await world.store.old_runs(every, page.after, 9)
    assert (page.runs, page.after) == ((), young)
    page = await world.store.old_runs(every, page.after, 9)
    assert (page.runs, page.after) == ((), None)
    await world.store.touch(failed, fact.fence, fact.last_seq, None)
    only = msgspec.structs.replace(every, statuses=(RunStatus.terminated,))
    assert [run.run_id for run in (await world.store.old_runs(only, None, 99)).runs] == [failed]
    assert (await world.store.old_runs(PruneFilter(OLD, workflow="other"), None, 99)).runs == ()
    assert len((await world.store.old_runs(PruneFilter(OLD, workflow="flow"), None, 99)).runs) == 4


async def test_other_runs_keep_all_of_theirs(world: World) -> None:
    """Row for row."""
    runs = [await full_run_named(world, name) for name in ("a", "b")]
    await world.advance(OLD)
    kept = await world.loaded(runs[1])
    await prune(world, runs[0])
    await world.store.sweep(1000)
    after = await world.loaded(runs[1])
    assert (after.run, after.events) == (kept.run, kept.events)
    page = await world.store.read_stream(runs[1], "out", 0, limit=9, bytes_max=99)
    assert page is not None
    assert [chunk.payload for chunk in page.chunks] == [b"b"]
    assert (await world.store.details(runs))[runs[1]].attributes == {"name": "b"}


async def full_run_named(world: World, name: str) -> str:
    run_id = new_run_id()
    await world.store.start(NewRun(run_id, "flow", "default", b"\x01in", GRACE, key=name, attributes={"name": name}))
    await world.turn(run_id, NewEvent(E.run_started), NewEvent(E.step_created, "s#1"))
    await world.fact(run_id, NewEvent(E.step_started, "s#1", attempt=1))
    await world.store.write_stream(StreamWrite(run_id, "out", "s#1", 1, 0, (name.encode(),)))
    (verdict,) = await world.store.append([Batch(run_id, 3, (DONE,), seen=4)])
    assert verdict.outcome is Outcome.ok
    return run_id
