"""Who owes or waits has a deadline, and only who has seen everything may set a later one (I7, F10). Each store in
turn."""

from __future__ import annotations

from worlds import EPOCH, GRACE, SECOND, World

from fencepost_store.events import EventType as E
from fencepost_store.events import NewEvent
from fencepost_store.ledger import WAKE_GRAIN
from fencepost_store.protocol import Outcome

STEP = NewEvent(E.step_created, "s#1")
FAR = EPOCH + 3_600 * SECOND
ARMED = -(-(EPOCH + GRACE) // WAKE_GRAIN) * WAKE_GRAIN


async def wake_of(world: World, run: str) -> int | None:
    return (await world.loaded(run)).run.wake_at


async def test_a_turn_that_has_seen_everything_sets_the_deadline_exactly(world: World) -> None:
    run = await world.run()
    for wanted in (FAR, EPOCH + 7, None, FAR + 1):
        await world.turn(run, NewEvent(E.marker, f"m#{wanted}"), wake_at=wanted)
        assert await wake_of(world, run) == wanted


async def test_h112_who_has_not_seen_everything_may_only_lower(world: World) -> None:
    run = await world.run()
    await world.turn(run, STEP, wake_at=FAR)
    await world.fact(run, NewEvent(E.step_started, "s#1", attempt=1))
    for wanted, then in ((FAR + 1, FAR), (None, FAR), (FAR - 1, FAR - 1)):
        fence = (await world.loaded(run)).run.fence
        await world.fenced(run, fence, NewEvent(E.marker, f"m#{wanted}"), seen=3, wake_at=wanted)
        assert await wake_of(world, run) == then


async def test_h58_a_turn_that_appends_nothing_cannot_disarm_what_it_has_not_seen(world: World) -> None:
    run = await world.run(STEP)
    await world.fact(run, NewEvent(E.step_started, "s#1", attempt=1))
    await world.store.touch(run, 3, 4, FAR)
    await world.fact(run, NewEvent(E.step_retrying, "s#1", attempt=1, due_in=20 * SECOND))
    verdict = await world.store.touch(run, 3, 4, None)
    assert verdict.outcome is Outcome.ok
    assert await wake_of(world, run) == ARMED + 20 * SECOND
    assert (await world.store.touch(run, 3, 5, None)).outcome is Outcome.ok
    assert await wake_of(world, run) is None


async def test_h50_a_retry_arms_the_deadline_that_brings_it(world: World) -> None:
    """Its writer dies before the wake is placed: what is left is the row, which says when."""
    run = await world.run(STEP)
    await world.fact(run, NewEvent(E.step_started, "s#1", attempt=1))
    await world.store.touch(run, 3, 4, FAR)
    await world.fact(run, NewEvent(E.step_retrying, "s#1", attempt=1, due_in=20 * SECOND))
    assert await wake_of(world, run) == ARMED + 20 * SECOND
    await world.advance(ARMED - EPOCH + 20 * SECOND)
    assert [due.run_id for due in await world.store.take_due(10, SECOND)] == [run]


async def test_h97_touch_is_fenced_and_works_on_ended_runs(world: World) -> None:
    run = await world.run(STEP)
    await world.fact(run, NewEvent(E.step_completed, "s#1", attempt=1))
    stale = await world.store.touch(run, 3, 4, FAR)
    assert (stale.outcome, stale.fence) == (Outcome.conflict, 4)
    await world.turn(run, NewEvent(E.run_completed), wake_at=FAR)
    assert await wake_of(world, run) == FAR
    assert (await world.store.touch(run, 5, 5, None)).outcome is Outcome.ok
    assert await wake_of(world, run) is None


async def test_facts_lower_the_deadline_to_grace_in_steps_and_never_raise_it(world: World) -> None:
    run = await world.run(STEP, NewEvent(E.hook_created, "h#1", token="t"))
    await world.turn(run, NewEvent(E.marker, "m#1"), wake_at=None)
    await world.fact(run, NewEvent(E.step_started, "s#1", attempt=1))
    assert await wake_of(world, run) is None, "step_started leaves it"
    await world.fact(run, NewEvent(E.step_retrying, "s#1", attempt=1, due_in=1_000 * SECOND))
    assert await wake_of(world, run) == ARMED + 1_000 * SECOND, "a retry's own deadline"
    await world.fact(run, NewEvent(E.hook_received, "h#1"))
    assert await wake_of(world, run) == ARMED
    await world.advance(20 * SECOND)
    await world.fact(run, NewEvent(E.hook_received, "h#1"))
    assert await wake_of(world, run) == ARMED, "only ever lower"


async def test_the_deadline_of_facts_is_never_before_their_grace_and_at_most_a_grain_behind(world: World) -> None:
    run = await world.run()
    for odd in range(1, 9):
        now = await world.advance(odd * 777_777)
        await world.turn(run, NewEvent(E.marker, f"m#{odd}"), wake_at=None)
        await world.fact(run, NewEvent(E.cancel_requested))
        wake = await wake_of(world, run)
        assert wake is not None
        assert now + GRACE <= wake < now + GRACE + WAKE_GRAIN


async def test_an_escape_hatch_leaves_a_deadline_for_the_end_s_duties(world: World) -> None:
    run = await world.run()
    await world.turn(run, NewEvent(E.marker, "m#1"), wake_at=None)
    await world.fact(run, NewEvent(E.run_failed))
    assert await wake_of(world, run) == ARMED


async def test_h45_due_runs_are_taken_once_and_pushed(world: World) -> None:
    runs = [await world.run() for _ in range(4)]
    for place, run in enumerate(runs):
        await world.turn(run, NewEvent(E.marker, "m#1"), wake_at=EPOCH + (4 - place) * SECOND)
    await world.advance(3 * SECOND)
    first = await world.store.take_due(2, 60 * SECOND)
    rest = await world.store.take_due(10, 60 * SECOND)
    assert [due.run_id for due in first + rest] == [runs[3], runs[2], runs[1]]
    assert [due.wake_at for due in first + rest] == [EPOCH + n * SECOND for n in (1, 2, 3)]
    assert await world.store.take_due(10, 60 * SECOND) == []
    assert await wake_of(world, runs[3]) == EPOCH + 63 * SECOND


async def test_due_runs_that_somebody_holds_are_passed_over(world: World) -> None:
    held, free = await world.run(), await world.run()
    for run in (held, free):
        await world.turn(run, NewEvent(E.marker, "m#1"), wake_at=EPOCH)
    async with world.store.locked(held, 5):
        assert [due.run_id for due in await world.store.take_due(10, SECOND)] == [free]
    assert [due.run_id for due in await world.store.take_due(10, SECOND)] == [held]


async def test_h47_scanned_deadlines(world: World) -> None:
    runs = [await world.run() for _ in range(4)]
    for run, wanted in zip(runs, (EPOCH, EPOCH + SECOND, FAR, None), strict=True):
        await world.turn(run, NewEvent(E.marker, "m#1"), wake_at=wanted)
    page = await world.store.scan_deadlines(None, 2)
    rest = await world.store.scan_deadlines(page[-1].run_id, 2)
    assert [due.run_id for due in page + rest] == sorted(runs[:3])
