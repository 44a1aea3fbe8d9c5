"""A position is no identity (I13): what rests on an event that another one has replaced lands nowhere, and is not read
on from. Each store in turn.

Whoever has seen a log that is lost is played by a writer with a stamp that no append has drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from worlds import GRACE, World, new_run_id

from fencepost_store import postgres
from fencepost_store.events import Event, NewEvent
from fencepost_store.events import EventType as E
from fencepost_store.protocol import Batch, FactOutcome, NewRun, Outcome, Parked, Reason, Verdict
from fencepost_store.stamps import BITS, draw_stamp
from fencepost_store.streams import StreamOutcome, StreamWrite
from fencepost_store.trouble import ChunksLost

LOST = 77_777
"""The stamp of an append that no server has any more."""

STEP = NewEvent(E.step_created, "s#1")
STARTED = NewEvent(E.step_started, "s#1", attempt=1, dedupe="w1")
TURNS: dict[str, tuple[NewEvent, ...]] = {
    "plain": (NewEvent(E.step_created, "s#2"),),
    "a hook": (NewEvent(E.hook_created, "h#1", token="t"),),
    "an end": (NewEvent(E.run_completed, payload=b"\x01"),),
    "an attempt": (NewEvent(E.step_failed, "s#1", attempt=1, dedupe="w1"),),
}
"""Turns by each of the ways that append has."""


async def turn(world: World, run_id: str, events: Sequence[NewEvent], stamp: int | None) -> Verdict:
    """Append with the run's fence as it is now, and this stamp."""
    run = (await world.loaded(run_id)).run
    batch = Batch(run_id, run.fence, tuple(events), seen=run.last_seq, grace=GRACE, stamp=stamp)
    (verdict,) = await world.store.append([batch])
    return verdict


async def of(world: World, run_id: str, entity: str) -> int:
    """The stamp of an entity's creation."""
    return next(event.stamp for event in await world.log(run_id) if event.entity == entity)


def test_stamps_are_drawn_and_fit_a_bigint() -> None:
    """None is zero, which is what was there before stamps were."""
    drawn = {draw_stamp() for _ in range(1_000)}
    assert len(drawn) == 1_000
    assert 1 <= min(drawn) <= max(drawn) < 2**63
    assert max(drawn) > 2 ** (BITS - 10)


async def test_the_events_of_one_append_carry_one_stamp_and_the_row_that_of_its_fence(world: World) -> None:
    """A reply says the same as the log."""
    run_id = await world.run(STEP)
    verdict = await turn(world, run_id, (NewEvent(E.step_created, "s#2"), STARTED), None)
    loaded = await world.loaded(run_id)
    assert loaded.events[-2:] == verdict.events
    assert len({event.stamp for event in loaded.events}) == len(loaded.events) - 1
    assert loaded.run.stamp == verdict.stamp == loaded.events[-2].stamp != 0
    fact = await world.fact(run_id, NewEvent(E.step_started, "s#2", attempt=1, dedupe="w2"))
    after = await world.loaded(run_id)
    assert after.run.stamp == fact.stamp == loaded.run.stamp, "a start moves no fence"
    assert after.events[-1].stamp == fact.events[0].stamp != fact.stamp


@pytest.mark.parametrize("way", TURNS)
async def test_h190_a_decision_of_a_lost_branch_conflicts_at_the_same_position(world: World, way: str) -> None:
    """Whichever way the turn goes. With the stamp of what is there it lands."""
    run_id = await world.run(STEP, STARTED)
    before = await world.loaded(run_id)
    verdict = await turn(world, run_id, TURNS[way], LOST)
    assert (verdict.outcome, verdict.events, verdict.stamp) == (Outcome.conflict, (), before.run.stamp)
    assert await world.loaded(run_id) == before
    assert (await turn(world, run_id, TURNS[way], before.run.stamp)).outcome is Outcome.ok


async def test_h190_of_several_runs_only_the_lost_branch_conflicts(world: World) -> None:
    """Each batch is compared with its own run's."""
    runs = [await world.run() for _ in range(3)]
    rows = [(await world.loaded(run_id)).run for run_id in runs]
    stamps = [rows[0].stamp, LOST, rows[2].stamp]
    batches = [
        Batch(row.run_id, row.fence, (STEP,), seen=row.last_seq, grace=GRACE, stamp=stamp)
        for row, stamp in zip(rows, stamps, strict=True)
    ]
    verdicts = await world.store.append(batches)
    assert [one.outcome for one in verdicts] == [Outcome.ok, Outcome.conflict, Outcome.ok]
    assert verdicts[1].stamp == rows[1].stamp


async def test_h190_nor_does_it_touch_park_or_append_under_the_lock(world: World) -> None:
    """The fence is the same for all that a turn does."""
    run_id = await world.run()
    run = (await world.loaded(run_id)).run
    parked = Parked("b", 1, "r", "a", "s")
    for stamp, outcome in ((LOST, Outcome.conflict), (run.stamp, Outcome.ok)):
        assert (await world.store.touch(run_id, run.fence, run.last_seq, 7, stamp)).outcome is outcome
        async with world.store.locked(run_id, 60) as locked:
            batch = Batch(run_id, run.fence, (STEP,), seen=run.last_seq, grace=GRACE, stamp=stamp)
            assert (await locked.append(batch)).outcome is outcome
    run = (await world.loaded(run_id)).run
    for stamp, outcome in ((LOST, Outcome.conflict), (run.stamp, Outcome.ok)):
        assert (await world.store.park(run_id, run.fence, parked, stamp)).outcome is outcome


async def test_h191_h192_who_has_seen_another_log_is_given_this_one_from_its_beginning(world: World) -> None:
    """In the same call: where another event stands there, and where none does. Who has seen this one reads on."""
    run_id = await world.run(STEP, STARTED)
    log = await world.log(run_id)
    for after, stamp in ((3, LOST), (4, log[2].stamp), (99, LOST), (5, log[3].stamp)):
        loaded = await world.store.load(run_id, after, stamp)
        assert loaded is not None
        assert (loaded.after, loaded.events) == (0, log)
    for after in (1, 3, 4):
        loaded = await world.store.load(run_id, after, log[after - 1].stamp)
        assert loaded is not None
        assert (loaded.after, loaded.events) == (after, log[after:])


async def test_h191_a_log_that_comes_in_pages_is_of_one_server(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page names the last event of the one before."""
    monkeypatch.setattr(postgres, "PAGE_EVENTS", 2)
    run_id = await world.run(*(NewEvent(E.step_created, f"s#{n}") for n in range(5)))
    log = await world.log(run_id)
    assert len(log) == 7
    for after, stamp in ((0, None), (3, log[2].stamp), (3, LOST)):
        loaded = await world.store.load(run_id, after, stamp)
        assert loaded is not None
        assert loaded.events == log[loaded.after :]


FACTS = (
    NewEvent(E.step_started, "s#1", attempt=2, dedupe="w2"),
    NewEvent(E.step_retrying, "s#1", attempt=1, due_in=5, dedupe="w1"),
    NewEvent(E.step_completed, "s#1", attempt=1, dedupe="w1", payload=b"\x01"),
    NewEvent(E.step_failed, "s#1", attempt=1, dedupe="w1"),
)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.type.name)
async def test_h193_a_fact_of_another_step_of_the_same_name_is_refused(world: World, fact: NewEvent) -> None:
    """Its body was run for what is lost. With the stamp of the step that is there it lands."""
    run_id = await world.run(STEP, STARTED)
    refused = await world.fact(run_id, replaced(fact, LOST))
    assert [one.reason for one in refused.facts] == [Reason.no_entity]
    assert len(await world.log(run_id)) == 4
    landed = await world.fact(run_id, replaced(fact, await of(world, run_id, "s#1")))
    assert [one.outcome for one in landed.facts] == [FactOutcome.landed]


async def test_h193_a_signal_for_another_hook_of_the_same_name_is_refused(world: World) -> None:
    """Its sender looks again."""
    run_id = await world.run(NewEvent(E.hook_created, "h#1", token="t"))
    signal = NewEvent(E.hook_received, "h#1", dedupe="d", payload=b"\x01")
    refused = await world.fact(run_id, replaced(signal, LOST))
    assert [one.reason for one in refused.facts] == [Reason.no_live_hook]
    trace = await world.store.trace_token("t")
    assert trace is not None
    assert (await world.fact(run_id, replaced(signal, trace.stamp))).outcome is Outcome.ok


async def test_h193_heartbeats_and_chunks_of_another_start_are_refused(world: World) -> None:
    """The attempt has the same number, and is another's."""
    run_id = await world.run(STEP, STARTED)
    stamp = (await world.log(run_id))[-1].stamp
    assert not await world.store.beat(run_id, "s#1", 1, b"lost", LOST)
    assert await world.store.last_beat(run_id, "s#1") is None
    assert await world.store.beat(run_id, "s#1", 1, b"kept", stamp)
    for given, outcome in ((LOST, StreamOutcome.fenced), (stamp, StreamOutcome.ok)):
        write = StreamWrite(run_id, "out", "s#1", 1, 0, (b"\x01x",), stamp=given)
        assert (await world.store.write_stream(write)).outcome is outcome


async def test_h194_the_end_of_a_child_that_the_log_does_not_name_is_refused(world: World) -> None:
    """A run that was made for a decision which is lost has the same parent and the same entity."""
    child, other = new_run_id(), new_run_id()
    run_id = await world.run(NewEvent(E.child_created, "c#1", dedupe=child))
    for token, outcome in ((other, Reason.no_entity), (child, FactOutcome.landed)):
        ended = NewEvent(E.child_completed, "c#1", token=token, dedupe=token, payload=b"\x01")
        (fact,) = (await world.fact(run_id, ended)).facts
        assert (fact.reason or fact.outcome) is outcome


async def test_h195_chunks_that_are_lost_are_not_waited_for(world: World) -> None:
    """A writer that counts more than there is cannot go on, and is told so apart from any other trouble."""
    run_id = await world.run(STEP, STARTED)
    with pytest.raises(ChunksLost, match="the writer counts 2 chunks, 0 are there"):
        await world.store.write_stream(StreamWrite(run_id, "out", "s#1", 1, 2, (b"\x01x",)))


async def test_h196_an_end_from_outside_lands_only_in_the_log_that_was_looked_at(world: World) -> None:
    """It needs no fence, and names the event at which the run's row stood."""
    run_id = await world.run(STEP)
    run = (await world.loaded(run_id)).run
    end = (NewEvent(E.run_terminated, payload=b"\x01"),)
    await world.turn(run_id, NewEvent(E.step_created, "s#2"))
    for seen, stamp, outcome in (
        (run.fence, LOST, Outcome.conflict),
        (99, run.stamp, Outcome.conflict),
        (run.fence, run.stamp, Outcome.ok),
    ):
        (verdict,) = await world.store.append([Batch(run_id, None, end, seen=seen, grace=GRACE, stamp=stamp)])
        assert verdict.outcome is outcome


async def test_what_is_handed_over_has_the_stamp_of_the_run_s_end(world: World) -> None:
    """And a run that is started one of its own, which its row has too."""
    run_id = await world.run(NewEvent(E.hook_created, "h#1", token="t"))
    before = (await world.loaded(run_id)).run
    successor = NewRun(new_run_id(), "flow", "default", b"\x01", GRACE)
    end = NewEvent(E.run_continued, payload=b"\x01")
    batch = Batch(run_id, before.fence, (end,), seen=before.last_seq, grace=GRACE, successor=successor)
    (verdict,) = await world.store.append([batch])
    log: tuple[Event, ...] = await world.log(successor.run_id)
    assert {event.stamp for event in log} == {verdict.events[0].stamp}
    assert (await world.loaded(successor.run_id)).run.stamp == log[0].stamp
    assert before.stamp != log[0].stamp != 0


def replaced(event: NewEvent, stamp: int) -> NewEvent:
    """The fact, of an entity whose creation carries this."""
    return NewEvent(**{name: getattr(event, name) for name in event.__struct_fields__ if name != "of"}, of=stamp)
