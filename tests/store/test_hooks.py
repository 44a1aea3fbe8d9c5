"""A token has one owner at a time, and its release is one transaction with what released it. Each store in turn."""

from __future__ import annotations

import asyncio

import pytest
from worlds import EPOCH, GRACE, SECOND, World

from fencepost_store.events import EventType as E
from fencepost_store.events import NewEvent
from fencepost_store.protocol import Batch, Outcome, Reason


def hook(entity: str, token: str = "t") -> NewEvent:
    return NewEvent(E.hook_created, entity, token=token, payload=b"\x01h")


async def owner_of(world: World, token: str = "t") -> tuple[str, str] | None:
    live = await world.store.find_hook(token)
    return None if live is None else (live.run_id, live.entity)


async def test_h12_the_second_claim_lands_as_hook_conflict_naming_the_owner(world: World) -> None:
    owner, loser = await world.run(hook("h#1")), await world.run()
    verdict = await world.turn(loser, hook("h#7"), NewEvent(E.step_created, "s#1"), wake_at=EPOCH + 900 * SECOND)
    assert verdict.outcome is Outcome.ok
    conflict, step = verdict.events
    assert (conflict.type, conflict.entity, conflict.token, conflict.dedupe) == (E.hook_conflict, "h#7", "t", owner)
    assert (conflict.payload, step.seq) == (b"\x01h", 4)
    assert (await world.log(loser))[2:] == verdict.events
    assert await owner_of(world) == (owner, "h#1")
    assert (await world.loaded(loser)).run.wake_at == EPOCH + GRACE, "other than asked: somebody must look again"
    late = await world.fact(loser, NewEvent(E.hook_received, "h#7"))
    assert late.facts[0].reason is Reason.no_live_hook


async def test_h12_two_runs_at_once(world: World) -> None:
    runs = [await world.run() for _ in range(2)]
    verdicts = await asyncio.gather(*(world.fenced(run, 2, hook("h#1"), seen=2) for run in runs))
    assert sorted(verdict.events[0].type for verdict in verdicts) == [E.hook_created, E.hook_conflict]


async def test_h13_dispose_and_create_again_in_one_batch_any_number_of_rounds(world: World) -> None:
    run = await world.run(hook("h#0"))
    for n in range(1, 6):
        verdict = await world.turn(run, NewEvent(E.hook_disposed, f"h#{n - 1}"), hook(f"h#{n}"))
        assert [event.type for event in verdict.events] == [E.hook_disposed, E.hook_created]
        assert await owner_of(world) == (run, f"h#{n}")


async def test_h13_another_run_takes_a_token_in_the_call_that_frees_it(world: World) -> None:
    first, second = sorted([await world.run(), await world.run()])
    await world.turn(first, hook("h#1"))
    verdicts = await world.store.append(
        [Batch(second, 2, (hook("h#1"),)), Batch(first, 3, (NewEvent(E.hook_disposed, "h#1"),))]
    )
    assert [verdict.events[0].type for verdict in verdicts] == [E.hook_created, E.hook_disposed]
    assert await owner_of(world) == (second, "h#1")


async def test_the_order_of_claims_counts_before_a_hook_of_the_same_call_is_gone(world: World) -> None:
    first, second = sorted([await world.run(), await world.run()])
    verdicts = await world.store.append(
        [
            Batch(first, 2, (hook("h#1"), NewEvent(E.run_completed))),
            Batch(second, 2, (hook("h#1"), NewEvent(E.hook_disposed, "h#1"), hook("h#2"))),
        ]
    )
    assert [[event.type for event in verdict.events] for verdict in verdicts] == [
        [E.hook_created, E.run_completed],
        [E.hook_created, E.hook_disposed, E.hook_created],
    ]
    assert await owner_of(world) == (second, "h#2")


async def test_what_a_batch_says_of_a_hook_that_conflicts_is_dropped(world: World) -> None:
    await world.run(hook("h#1"))
    loser = await world.run()
    verdict = await world.turn(
        loser, hook("a"), NewEvent(E.hook_disposed, "a"), NewEvent(E.marker, "m"), hook("b", "u")
    )
    assert [(event.seq, event.type) for event in verdict.events] == [
        (3, E.hook_conflict),
        (4, E.marker),
        (5, E.hook_created),
    ]
    assert verdict.last_seq == 5
    assert (await world.log(loser))[2:] == verdict.events


async def test_a_run_conflicts_with_itself_while_its_first_hook_lives(world: World) -> None:
    run = await world.run(hook("h#1"))
    verdict = await world.turn(run, hook("h#2"))
    assert (verdict.events[0].type, verdict.events[0].dedupe) == (E.hook_conflict, run)
    assert (await world.turn(run, NewEvent(E.hook_disposed, "h#1"))).outcome is Outcome.ok
    assert await owner_of(world) is None


@pytest.mark.parametrize("end", [E.run_completed, E.run_failed, E.run_cancelled, E.run_terminated])
async def test_the_run_s_end_releases_its_tokens_in_the_same_transaction(world: World, end: E) -> None:
    run = await world.run(hook("h#1"), hook("h#2", "u"))
    bystander = await world.run(hook("h#1", "v"))
    await (world.fact if end is E.run_terminated else world.turn)(run, NewEvent(end))
    assert (await owner_of(world), await owner_of(world, "u")) == (None, None)
    assert await owner_of(world, "v") == (bystander, "h#1")
    assert (await world.turn(bystander, hook("h#2"))).events[0].type is E.hook_created


async def test_a_conflict_of_the_fence_leaves_the_tokens_alone(world: World) -> None:
    run = await world.run(hook("h#1"))
    await world.fenced(run, 1, NewEvent(E.hook_disposed, "h#1"), hook("h#2", "u"))
    assert (await owner_of(world), await owner_of(world, "u")) == ((run, "h#1"), None)
