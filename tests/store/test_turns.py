"""Decisions are fenced (I2): all of a turn lands on the prefix it was derived from, or nothing does. Each store in
turn."""

from __future__ import annotations

import asyncio

import pytest
from worlds import EPOCH, GRACE, World, new_run_id

from fencepost_store.admission import Unstorable
from fencepost_store.attributes import packed
from fencepost_store.events import KINDS, NewEvent
from fencepost_store.events import EventType as E
from fencepost_store.protocol import (
    Batch,
    CorruptLog,
    NewRun,
    Outcome,
    Parked,
    Reason,
    RunFilter,
    RunStatus,
    StoreTrouble,
)

STEP = NewEvent(E.step_created, "s#1")


async def test_h03_of_two_turns_on_one_snapshot_exactly_one_lands(world: World) -> None:
    run = await world.run()
    first, second = await asyncio.gather(
        world.fenced(run, 2, STEP), world.fenced(run, 2, NewEvent(E.wait_created, "w#1", due=EPOCH), STEP)
    )
    assert {first.outcome, second.outcome} == {Outcome.ok, Outcome.conflict}
    landed = first if first.outcome is Outcome.ok else second
    assert (await world.log(run))[2:] == landed.events


async def test_h07_a_conflict_writes_nothing_of_its_batch(world: World) -> None:
    run = await world.run(STEP)
    before = await world.loaded(run)
    verdict = await world.fenced(run, 2, NewEvent(E.step_created, "a"), NewEvent(E.run_completed), wake_at=None)
    assert (verdict.outcome, verdict.last_seq, verdict.fence) == (Outcome.conflict, 3, 3)
    assert (verdict.events, verdict.facts) == ((), ())
    assert (await world.loaded(run)) == before


async def test_h07_a_turn_of_which_one_event_cannot_land_leaves_nothing(world: World) -> None:
    """The creation beside it would have landed by itself."""
    run = await world.run(STEP)
    await world.fact(run, NewEvent(E.step_started, "s#1", attempt=1, dedupe="other"))
    before = await world.loaded(run)
    created = NewEvent(E.step_created, "s#2")
    verdict = await world.turn(run, created, NewEvent(E.step_started, "s#1", attempt=1, dedupe="me"))
    assert (verdict.outcome, verdict.events) == (Outcome.refused, ())
    assert await world.loaded(run) == before


async def test_h04_h05_seqs_are_dense_and_a_load_above_a_seq_begins_right_behind_it(world: World) -> None:
    run = await world.run(STEP, NewEvent(E.step_created, "s#2"))
    assert [event.seq for event in await world.log(run)] == [1, 2, 3, 4]
    above = await world.store.load(run, 2)
    assert above is not None
    assert [event.seq for event in above.events] == [3, 4]
    with pytest.raises(CorruptLog, match="the log ends at 4"):
        await world.store.load(run, 5)


async def test_h10_an_entity_is_created_once(world: World) -> None:
    run = await world.run(STEP)
    before = await world.loaded(run)
    verdict = await world.turn(run, NewEvent(E.step_created, "s#2"), STEP, NewEvent(E.step_started, "s#1", attempt=1))
    assert verdict.outcome is Outcome.refused
    assert [fact.reason for fact in verdict.facts] == [None, Reason.duplicate, None]
    assert (await world.loaded(run)) == before


def _stale(event_type: E) -> NewEvent:
    """An event of this type that a run with one of each open entity would take."""
    entity = {1: "s#1", 2: "w#1", 3: "h#1", 4: "c#1"}.get(event_type // 10, "")
    if event_type in (E.marker, E.attributes_set):
        entity = "m#1"
    if event_type in (E.step_created, E.wait_created, E.hook_created, E.child_created):
        entity = "new#1"
    return NewEvent(
        event_type,
        entity,
        attempt=1 if 11 <= event_type <= 14 else 0,
        due=EPOCH if event_type is E.wait_created else None,
        due_in=5 if event_type is E.step_retrying else None,
        token="new" if event_type is E.hook_created else None,
        payload=packed({"stage": "spaid"}) if event_type is E.attributes_set else b"",
    )


async def _open_run(world: World, *, begun: bool) -> str:
    """A run with one open step, wait, hook and child; the step's first attempt begun."""
    token = new_run_id()
    run = await world.run(
        STEP,
        NewEvent(E.wait_created, "w#1", due=EPOCH),
        NewEvent(E.hook_created, "h#1", token=token),
        NewEvent(E.child_created, "c#1"),
    )
    if begun:
        await world.fact(run, NewEvent(E.step_started, "s#1", attempt=1))
    return run


BY_THE_STORE = (E.run_created, E.hook_conflict, E.hook_inherited)


@pytest.mark.parametrize("event_type", [kind for kind in E if kind not in BY_THE_STORE])
async def test_h19_every_decision_conflicts_with_a_stale_fence_and_every_fact_lands_without_one(
    world: World, event_type: E
) -> None:
    run = await _open_run(world, begun=event_type in (E.step_retrying, E.step_failed))
    event = _stale(event_type)
    before = await world.loaded(run)
    if event_type is not E.run_started:
        stale = await world.fenced(run, before.run.fence - 1, event)
        assert stale.outcome is Outcome.conflict
        assert (await world.loaded(run)).events == before.events
    if KINDS[event_type].decision and event_type is not E.run_failed:
        with pytest.raises(Unstorable, match="fence"):
            await world.fact(run, event)
        assert (await world.fenced(run, before.run.fence, event)).outcome is Outcome.ok
        return
    landed = await world.fact(run, event)
    if event_type is E.run_started:
        assert landed.facts[0].reason is Reason.duplicate
        return
    assert landed.outcome is Outcome.ok
    moved = KINDS[event_type].visible
    assert landed.fence == (landed.last_seq if moved else before.run.fence)
    again = await world.fenced(run, before.run.fence, NewEvent(E.marker, "m#2"))
    assert again.outcome is (Outcome.conflict if moved else Outcome.ok)


async def test_h82_of_two_ends_one_stands_and_the_other_sees_it(world: World) -> None:
    run = await world.run()
    assert (await world.turn(run, NewEvent(E.run_completed))).status is RunStatus.completed
    late = await world.fact(run, NewEvent(E.run_failed))
    assert (late.outcome, late.status, late.facts[0].reason) == (Outcome.refused, RunStatus.completed, Reason.run_ended)
    after = await world.fenced(run, 3, NewEvent(E.run_cancelled))
    assert (after.outcome, after.facts[0].reason) == (Outcome.refused, Reason.run_ended)


async def test_a_turn_with_one_refused_fact_writes_nothing_and_says_which(world: World) -> None:
    run = await world.run(STEP)
    await world.fact(run, NewEvent(E.step_started, "s#1", attempt=1, dedupe="other"))
    verdict = await world.turn(run, NewEvent(E.marker, "m#1"), NewEvent(E.step_started, "s#1", attempt=1, dedupe="me"))
    assert verdict.outcome is Outcome.refused
    assert [(fact.reason, fact.seq) for fact in verdict.facts] == [(None, None), (Reason.other_attempt, None)]
    assert len(await world.log(run)) == 4


async def test_decisions_about_what_is_not_open_are_refused(world: World) -> None:
    run = await world.run(STEP, NewEvent(E.child_created, "c#1"), NewEvent(E.child_created, "c#2"))
    await world.fact(run, NewEvent(E.child_failed, "c#2"))
    await world.turn(run, NewEvent(E.step_cancelled, "s#1"))
    await world.turn(run, NewEvent(E.child_cancel_requested, "c#1"))
    for event, reason in (
        (NewEvent(E.step_cancelled, "s#1"), Reason.entity_ended),
        (NewEvent(E.wait_completed, "w#1"), Reason.no_entity),
        (NewEvent(E.hook_disposed, "s#1"), Reason.no_entity),
        (NewEvent(E.child_cancel_requested, "c#1"), Reason.duplicate),
        (NewEvent(E.child_cancel_requested, "c#2"), Reason.entity_ended),
        (NewEvent(E.child_completed, "c#2"), Reason.duplicate),
        (NewEvent(E.child_completed, "c#9"), Reason.no_entity),
    ):
        verdict = await world.turn(run, event)
        assert (verdict.outcome, verdict.facts[0].reason) == (Outcome.refused, reason), event


async def test_the_hot_path_lands_result_next_step_and_its_start_in_one_batch(world: World) -> None:
    run = await world.run(STEP)
    await world.fact(run, NewEvent(E.step_started, "s#1", attempt=1, dedupe="w"))
    verdict = await world.turn(
        run,
        NewEvent(E.step_completed, "s#1", attempt=1, dedupe="w", payload=b"\x01r"),
        NewEvent(E.step_created, "s#2", payload=b"\x01a"),
        NewEvent(E.step_started, "s#2", attempt=1, dedupe="w"),
    )
    assert (verdict.outcome, verdict.last_seq, verdict.fence) == (Outcome.ok, 7, 6)
    assert (await world.log(run))[4:] == verdict.events


async def test_batches_of_one_call_are_judged_each_for_itself(world: World) -> None:
    good, stale, gone = await world.run(), await world.run(STEP), new_run_id()
    verdicts = await world.store.append(
        [Batch(gone, None, (NewEvent(E.cancel_requested),)), Batch(stale, 1, (STEP,)), Batch(good, 2, (STEP,))]
    )
    assert [verdict.outcome for verdict in verdicts] == [Outcome.refused, Outcome.conflict, Outcome.ok]
    with pytest.raises(ValueError, match="one batch per run"):
        await world.store.append([Batch(good, 3, (STEP,)), Batch(good, 3, (STEP,))])
    assert await world.store.append([]) == []


async def test_h17_a_locked_run_makes_its_member_busy_and_nobody_else_wait(world: World) -> None:
    held, free = await world.run(), await world.run()
    async with world.store.locked(held, 5) as locked:
        batches = [Batch(run, 2, (STEP,), seen=2) for run in (held, free)]
        verdicts = await world.store.append(batches)
        assert [verdict.outcome for verdict in verdicts] == [Outcome.busy, Outcome.ok]
        assert (await locked.append(batches[0])).outcome is Outcome.ok
    assert (await world.log(held))[-1].type is E.step_created


async def test_a_lock_left_by_an_exception_leaves_nothing_behind(world: World) -> None:
    run = await world.run()
    before = await world.loaded(run)

    async def give_up() -> None:
        async with world.store.locked(run, 5) as locked:
            assert (await locked.append(Batch(run, 2, (STEP,)))).outcome is Outcome.ok
            assert [event.type for event in (await locked.load(2)).events] == [E.step_created]
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        await give_up()
    assert await world.loaded(run) == before
    assert (await world.turn(run, STEP)).outcome is Outcome.ok
    with pytest.raises(StoreTrouble, match="does not exist"):
        async with world.store.locked(new_run_id(), 5):
            raise AssertionError("a run that is not there was locked")


async def test_status_follows_the_log(world: World) -> None:
    run = await world.run(started=False)
    assert (await world.loaded(run)).run.status is RunStatus.pending
    assert (await world.turn(run, NewEvent(E.run_started))).status is RunStatus.running
    parked = Parked("build-1", 2, "a step \0", "a wait", "f.py:1")
    assert (await world.store.park(run, 1, parked)).outcome is Outcome.conflict
    assert (await world.store.park(run, 2, parked)).status is RunStatus.parked
    row = (await world.loaded(run)).run
    assert row.parked is not None
    assert (row.parked.build, row.parked.recorded, row.wake_at) == ("build-1", "a step \u2400", None)
    assert (await world.turn(run, STEP)).status is RunStatus.running
    assert (await world.loaded(run)).run.parked is None
    assert (await world.turn(run, NewEvent(E.run_cancelled))).status is RunStatus.cancelled
    assert (await world.store.park(run, 4, parked)).outcome is Outcome.refused


async def test_h105_a_stale_worker_cannot_park_a_run_that_has_moved_on(world: World) -> None:
    run = await world.run()
    await world.turn(run, STEP)
    assert (await world.store.park(run, 2, Parked("b", 2, "", "", ""))).outcome is Outcome.conflict
    assert (await world.loaded(run)).run.status is RunStatus.running


async def test_h136_a_build_that_has_tried_is_not_asked_again(world: World) -> None:
    """Whichever of them parked it last; a third is, and each of them when an event has landed."""
    run = await world.run(STEP)
    first = Parked("one", 3, "recorded", "asked by one", "f.py:1")
    await world.store.park(run, 3, Parked("two", 3, "recorded", "asked by two", "f.py:2", (first,)))
    parked = (await world.loaded(run)).run.parked
    assert parked is not None
    assert (parked.builds, parked.before) == (("two", "one"), (first,))
    assert await world.store.take_parked("one", 10) == await world.store.take_parked("two", 10) == []
    assert [due.run_id for due in await world.store.take_parked("three", 10)] == [run]


async def test_h31_parked_runs_are_taken_up_by_another_build_only(world: World) -> None:
    run = await world.run(STEP)
    await world.store.park(run, 3, Parked("old", 3, "", "", ""))
    assert await world.store.take_parked("old", 10) == []
    assert [due.run_id for due in await world.store.take_parked("new", 10)] == [run]
    assert await world.store.take_parked("new", 10) == [], "it has its deadline already"
    assert (await world.loaded(run)).run.status is RunStatus.parked
    await world.fact(run, NewEvent(E.step_started, "s#1", attempt=1))
    assert (await world.loaded(run)).run.status is RunStatus.parked, "an invisible fact changes nothing for the code"
    await world.fact(run, NewEvent(E.step_completed, "s#1", attempt=1))
    assert (await world.loaded(run)).run.status is RunStatus.running


async def test_a_key_starts_one_run_per_workflow_and_tells_what_it_was_started_with(world: World) -> None:
    ids = [new_run_id() for _ in range(4)]
    first = await world.store.start(NewRun(ids[0], "flow", "q", b"\x01one", GRACE, key="k", parent="p"))
    again = await world.store.start(NewRun(ids[1], "flow", "q", b"\x01two", GRACE, key="k"))
    other = await world.store.start(NewRun(ids[2], "other", "q", b"\x01two", GRACE, key="k"))
    same_id = await world.store.start(NewRun(ids[0], "flow", "q", b"\x01three", GRACE))
    assert [started.created for started in (first, again, other, same_id)] == [True, False, True, False]
    assert (again.run_id, again.payload) == (same_id.run_id, same_id.payload) == (ids[0], b"\x01one")
    found = await world.store.find_key("flow", "k")
    assert found is not None
    assert (found.run_id, found.parent, found.wake_at) == (ids[0], "p", EPOCH + GRACE)
    assert await world.store.find_key("flow", "nobody") is None


async def test_runs_are_listed_newest_first_in_pages(world: World) -> None:
    runs = [await world.run() for _ in range(5)]
    await world.turn(runs[1], NewEvent(E.run_completed))
    page = await world.store.list_runs(RunFilter(), 3)
    rest = await world.store.list_runs(RunFilter(), 3, before=page[-1].run_id)
    assert [run.run_id for run in page + rest] == sorted(runs, reverse=True)
    ended = await world.store.list_runs(RunFilter(workflow="flow", statuses=(RunStatus.completed,)), 9)
    assert [run.run_id for run in ended] == [runs[1]]
    assert await world.store.list_runs(RunFilter(queue="nobody's"), 9) == []


async def test_an_entity_s_look_up_has_what_has_an_ordinal(world: World) -> None:
    run = await world.run(STEP, NewEvent(E.step_started, "s#1", attempt=1), NewEvent(E.marker, "m#1"))
    found = await world.store.load_entity(run, "s#1")
    assert found is not None
    assert (found.run, found.events) == ((await world.loaded(run)).run, (await world.log(run))[2:4])
    nothing = await world.store.load_entity(run, "s#9")
    assert nothing is not None
    assert nothing.events == ()


@pytest.mark.parametrize(
    ("event", "word"),
    [
        (NewEvent(E.run_created), "store writes"),
        (NewEvent(E.hook_conflict, "h", token="t"), "store writes"),
        (NewEvent(E.step_started, "s"), "attempt"),
        (NewEvent(E.step_started, "s", attempt=32_001), "attempt"),
        (NewEvent(E.step_retrying, "s", attempt=1), "due_in"),
        (NewEvent(E.wait_created, "w"), "due"),
        (NewEvent(E.hook_created, "h"), "token"),
        (NewEvent(E.marker), "entity"),
        (NewEvent(E.run_started, "r"), "entity"),
        (NewEvent(E.marker, "a\0b"), "NUL"),
        (NewEvent(E.marker, "a" * 1_025), "bytes"),
    ],
)
async def test_a_batch_that_can_never_land_is_refused_before_any_lock(world: World, event: NewEvent, word: str) -> None:
    run = await world.run()
    with pytest.raises(Unstorable, match=word):
        await world.fenced(run, 2, event)
    with pytest.raises(Unstorable, match="without events"):
        await world.fenced(run, 2)
    with pytest.raises(Unstorable, match="follow"):
        await world.fenced(run, 2, NewEvent(E.run_completed), STEP)
    with pytest.raises(Unstorable, match="follow"):
        await world.fenced(run, 2, STEP, STEP)
    with pytest.raises(Unstorable, match="attempt"):
        await world.fenced(run, 2, STEP, NewEvent(E.step_started, "s#1", attempt=2))
