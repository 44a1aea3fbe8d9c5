"""The coalescer groups what waits, keeps order per run, and lets no member of a call hurt another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from worlds import GRACE, World, memory_world

from fencepost_store.admission import Unstorable
from fencepost_store.coalescer import Coalescer
from fencepost_store.events import EventType as E
from fencepost_store.events import NewEvent
from fencepost_store.memory import MemoryStore
from fencepost_store.protocol import Batch, FactOutcome, Outcome, Reason, StoreTrouble, Verdict
from fencepost_store.trouble import RolledBack


class Gated(MemoryStore):
    """Records its calls and holds each one until the test lets it go."""

    def __init__(self, world: World) -> None:
        assert isinstance(world.store, MemoryStore)
        self.inner = world.store
        self.calls: list[list[Batch]] = []
        self.arrived = asyncio.Semaphore(0)
        self.gate = asyncio.Semaphore(0)
        self.poison: dict[str, Exception] = {}
        self.lost: Exception | None = None

    async def append(self, batches: Sequence[Batch], *, wait: bool = True) -> list[Verdict]:
        self.calls.append(list(batches))
        self.arrived.release()
        await self.gate.acquire()
        for batch in batches:
            if batch.run_id in self.poison:
                raise self.poison[batch.run_id]
        answer = await self.inner.append(batches, wait=wait)
        if self.lost is not None:
            error, self.lost = self.lost, None
            raise error
        return answer

    def open(self) -> None:
        """Let everything through from now on."""
        for _ in range(10_000):
            self.gate.release()


def marker(run: str, name: str, fence: int = 2) -> Batch:
    return Batch(run, fence, (NewEvent(E.marker, name),), grace=GRACE)


def signal(run: str, delivery: str, *, payload: bytes = b"") -> Batch:
    return Batch(run, None, (NewEvent(E.cancel_requested, dedupe=delivery, payload=payload),), grace=GRACE)


async def settled() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_idle_append_goes_at_once_and_alone() -> None:
    world = memory_world()
    store = Gated(world)
    coalescer = Coalescer(store)
    task = asyncio.create_task(coalescer.append(marker(await world.run(), "m")))
    await store.arrived.acquire()
    store.open()
    assert (await task).outcome is Outcome.ok
    await coalescer.close()


async def test_what_waits_while_a_commit_is_under_way_goes_in_one_call() -> None:
    world = memory_world()
    store = Gated(world)
    coalescer = Coalescer(store, in_flight=1)
    runs = [await world.run() for _ in range(6)]
    tasks = [asyncio.create_task(coalescer.append(marker(run, "m"))) for run in runs]
    await settled()
    assert [len(call) for call in store.calls] == [1]
    store.open()
    assert {verdict.outcome for verdict in await asyncio.gather(*tasks)} == {Outcome.ok}
    assert [len(call) for call in store.calls] == [1, 5]


async def test_two_batches_of_one_run_are_never_in_one_call_nor_under_way_together() -> None:
    world = memory_world()
    store = Gated(world)
    coalescer = Coalescer(store, in_flight=3)
    run, other = await world.run(), await world.run()
    batches = [marker(run, "a", 2), marker(run, "b", 3), marker(other, "x", 2), marker(run, "c", 4)]
    tasks = [asyncio.create_task(coalescer.append(batch)) for batch in batches]
    await settled()
    assert [[batch.run_id for batch in call] for call in store.calls] == [[run], [other]]
    store.open()
    assert [verdict.outcome for verdict in await asyncio.gather(*tasks)] == [Outcome.ok] * 4
    assert [event.entity for event in await world.log(run)][2:] == ["a", "b", "c"]


async def test_h102_facts_of_one_run_are_merged_and_their_verdicts_taken_apart() -> None:
    world = memory_world()
    store = Gated(world)
    coalescer = Coalescer(store, in_flight=1)
    run = await world.run(NewEvent(E.step_created, "s#1"))
    done = Batch(run, None, (NewEvent(E.step_completed, "s#1", attempt=1),), grace=GRACE)
    first = asyncio.create_task(coalescer.append(marker(await world.run(), "m")))
    await settled()
    mixed = Batch(run, None, done.events + signal(run, "d2").events, grace=GRACE)
    batches = [signal(run, "d1"), done, done, signal(run, "d1"), mixed]
    tasks = [asyncio.create_task(coalescer.append(batch)) for batch in batches]
    await settled()
    store.open()
    answers = await asyncio.gather(*tasks)
    await first
    assert [len(call) for call in store.calls] == [1, 1]
    ok, refused = Outcome.ok, Outcome.refused
    assert [answer.outcome for answer in answers] == [ok, ok, refused, ok, ok]
    assert [[event.seq for event in answer.events] for answer in answers] == [[4], [5], [], [], [6]]
    assert answers[2].facts[0].reason is Reason.entity_ended
    assert (answers[3].facts[0].outcome, answers[3].facts[0].seq) == (FactOutcome.already, 4)


async def test_a_call_is_capped_by_bytes_and_what_is_larger_goes_alone() -> None:
    world = memory_world()
    store = Gated(world)
    coalescer = Coalescer(store, in_flight=1, bytes_max=5_000)
    runs = [await world.run() for _ in range(6)]
    sizes = [1, 2_000, 2_000, 2_000, 90_000, 1]
    batches = [signal(run, "d", payload=b"\x01" * size) for run, size in zip(runs, sizes, strict=True)]
    tasks = [asyncio.create_task(coalescer.append(batch)) for batch in batches]
    await settled()
    store.open()
    await asyncio.gather(*tasks)
    assert [[runs.index(batch.run_id) for batch in call] for call in store.calls] == [[0], [1, 2], [3], [4], [5]]


async def test_h17_a_member_that_is_busy_or_poisoned_is_appended_singly() -> None:
    world = memory_world()
    store = Gated(world)
    coalescer = Coalescer(store, in_flight=1)
    runs = [await world.run() for _ in range(5)]
    store.poison = {runs[2]: Unstorable("poison"), runs[3]: RolledBack("deadlock")}
    tasks = [asyncio.create_task(coalescer.append(marker(run, "m"))) for run in runs]
    await settled()
    store.open()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    kinds = [answer.outcome if isinstance(answer, Verdict) else type(answer) for answer in answers]
    assert kinds == [Outcome.ok, Outcome.ok, Unstorable, RolledBack, Outcome.ok]
    assert [len(call) for call in store.calls] == [1, 4, 1, 1, 1, 1]


async def test_h17_a_locked_run_holds_up_nobody_but_itself() -> None:
    world = memory_world()
    coalescer = Coalescer(world.store, in_flight=1)
    held, *others = [await world.run() for _ in range(5)]
    async with world.store.locked(held, 5) as locked:
        tasks = [asyncio.create_task(coalescer.append(marker(run, "m"))) for run in [others[0], held, *others[1:]]]
        done, pending = await asyncio.wait(tasks, timeout=1, return_when=asyncio.FIRST_EXCEPTION)
        assert (len(done), pending) == (4, {tasks[1]})
        assert (await locked.append(marker(held, "mine"))).outcome is Outcome.ok
    assert (await tasks[1]).outcome is Outcome.conflict


async def test_h08_a_lost_reply_is_told_as_trouble_and_nothing_is_sent_again() -> None:
    """A decision that landed and is sent again would be answered as a conflict, and what it owes would never be
    done."""
    world = memory_world()
    store = Gated(world)
    coalescer = Coalescer(store, in_flight=1)
    runs = [await world.run() for _ in range(4)]
    tasks = [asyncio.create_task(coalescer.append(marker(run, "m"))) for run in runs]
    await store.arrived.acquire()
    store.gate.release()
    await store.arrived.acquire()
    store.lost = StoreTrouble("connection lost")
    store.open()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Verdict] + [StoreTrouble] * 3
    assert [len(call) for call in store.calls] == [1, 3]
    assert {(await world.log(run))[-1].type for run in runs} == {E.marker}


async def test_a_cancelled_waiter_hurts_nobody() -> None:
    world = memory_world()
    store = Gated(world)
    coalescer = Coalescer(store, in_flight=1)
    runs = [await world.run() for _ in range(4)]
    tasks = [asyncio.create_task(coalescer.append(marker(run, "m"))) for run in runs]
    await settled()
    tasks[0].cancel()
    tasks[2].cancel()
    await settled()
    store.open()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [
        asyncio.CancelledError,
        Verdict,
        asyncio.CancelledError,
        Verdict,
    ]
    await coalescer.close()
    assert {len(await world.log(run)) for run in runs} == {3}, "what was accepted has landed"


async def test_close_answers_what_was_accepted_and_refuses_the_rest() -> None:
    world = memory_world()
    store = Gated(world)
    coalescer = Coalescer(store, in_flight=1)
    tasks = [asyncio.create_task(coalescer.append(marker(await world.run(), "m"))) for _ in range(3)]
    await settled()
    closing = asyncio.create_task(coalescer.close())
    await settled()
    with pytest.raises(StoreTrouble, match="closed"):
        await coalescer.append(marker(await world.run(), "m"))
    store.open()
    await closing
    assert all(task.done() for task in tasks)
    await coalescer.close()


async def test_a_batch_that_can_never_land_does_not_travel() -> None:
    world = memory_world()
    coalescer = Coalescer(world.store)
    with pytest.raises(Unstorable, match="NUL"):
        await coalescer.append(marker(await world.run(), "a\0"))
    with pytest.raises(Unstorable, match="fence"):
        await coalescer.append(Batch(await world.run(), None, (NewEvent(E.marker, "m"),)))
    await coalescer.close()


async def test_h17_on_postgres_a_poisoned_member_fails_alone(postgres_world: World) -> None:
    """A lone surrogate passes every check in Python and no encoder: it fails the call as a whole."""
    world = postgres_world
    coalescer = Coalescer(world.store, in_flight=1)
    runs = [await world.run() for _ in range(51)]
    batches = [signal(run, "d\ud800" if place == 25 else "d") for place, run in enumerate(runs)]
    answers = await asyncio.gather(*(coalescer.append(batch) for batch in batches), return_exceptions=True)
    assert [place for place, answer in enumerate(answers) if not isinstance(answer, Verdict)] == [25]
    assert isinstance(answers[25], Unstorable)
    assert {answer.outcome for answer in answers if isinstance(answer, Verdict)} == {Outcome.ok}
    await coalescer.close()
