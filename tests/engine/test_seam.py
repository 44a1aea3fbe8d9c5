"""The write seam (fencepost.log): one way into a log, and what each answer makes its callers do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest
from engine_virtual import run
from engine_world import World, at_once

from fencepost import hook, step, workflow
from fencepost.log import EVENTS_RESERVE, Landed, LimitExceeded, Limits, NotWritten, Refused, RunLog
from fencepost.records import HookCreated, RunCreated, StepCreated, WaitCreated, pack
from fencepost_store.attributes import packed
from fencepost_store.events import KINDS, EventType, NewEvent
from fencepost_store.memory import MemoryStore
from fencepost_store.protocol import (
    Batch,
    FactOutcome,
    NewRun,
    Outcome,
    Reason,
    RunStatus,
    StoreTrouble,
    Verdict,
)

RUN = "01890000-0000-7000-8000-000000000001"


async def fresh(limits: Limits | None = None) -> tuple[RunLog, MemoryStore]:
    """A log with one run that has started: seq 1 run_created, 2 run_started, fence 2."""
    store = MemoryStore(lambda: 1_000_000)

    async def append(batch: Batch) -> Verdict:
        return (await store.append([batch]))[0]

    log = RunLog(store, append, limits)
    payload = pack(RunCreated(b"x"))
    await log.start(NewRun(run_id=RUN, workflow="w", queue="default", payload=payload, grace=10))
    await log.append(Batch(RUN, 1, (NewEvent(type=EventType.run_started),), seen=1))
    return log, store


def step_created(entity: str) -> NewEvent:
    return NewEvent(type=EventType.step_created, entity=entity, payload=pack(StepCreated("s", b"")))


def started(entity: str, attempt: int, dedupe: str = "A.1") -> NewEvent:
    return NewEvent(type=EventType.step_started, entity=entity, attempt=attempt, dedupe=dedupe)


async def test_ok_advances_the_fence_and_returns_what_landed() -> None:
    """The invisible start does not move the fence; the visible creation does."""
    log, store = await fresh()
    written = await log.append(Batch(RUN, 2, (step_created("s#1"), started("s#1", 1)), seen=2))
    assert isinstance(written, Landed)
    assert [(event.seq, event.type) for event in written.events] == [
        (3, EventType.step_created),
        (4, EventType.step_started),
    ]
    assert (written.fence, written.last_seq) == (3, 4)
    row = await store.get(RUN)
    assert row is not None
    assert (row.fence, row.last_seq) == (3, 4)


async def test_conflict_is_not_written() -> None:
    """H03: no row of the loser's batch lands."""
    log, store = await fresh()
    assert isinstance(await log.append(Batch(RUN, 2, (step_created("s#1"),), seen=2)), Landed)
    loser = await log.append(Batch(RUN, 2, (step_created("t#1"), step_created("u#1")), seen=2))
    assert isinstance(loser, NotWritten)
    loaded = await store.load(RUN)
    assert loaded is not None
    assert [event.entity for event in loaded.events] == ["", "", "s#1"]


def test_a_conflict_costs_one_append_and_one_settle_that_carries_the_tick() -> None:
    """I5: the loser sends no further statement; its only queue call is the settle with the run's own tick."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def two(token: str) -> list[int]:
            async with hook(int, token=token) as numbers:
                return [await numbers, await numbers]

        client = world.client()
        async with world.worker("A") as a:
            await asyncio.sleep(1)
            started_run = await world.start(two, "t")
            await asyncio.sleep(1)

            def signal() -> None:
                at_once(client.resume("t", 2))

            # The turn that has seen signal 1 only asks for nothing; the one that has seen both ends the run. A third
            # signal lands between its load and its append.
            await client.resume("t", 1)
            await asyncio.sleep(1)
            await client.resume("t", 2)
            a.at("append.before", a.seen["append.before"] + 1, signal)
            before = len(a.calls)
            while ("store", "append") not in a.calls[before:]:  # noqa: ASYNC110 - of a virtual loop: one pass a look
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            calls = [call for call in a.calls[before:] if call[1] not in ("claim", "wait", "renew", "take_due")]
            conflict = calls.index(("store", "append"))
            assert calls[conflict : conflict + 2] == [("store", "append"), ("queue", "settle")]
            assert await started_run.result(10) == [1, 2]
            shape = await world.shape(started_run)
            assert shape.count("hook_received hook#1") == 3, "the third signal landed before the append"
            settles = [call for call in calls[: conflict + 2] if call[0] == "queue"]
            assert settles.count(("queue", "settle")) == 1
            assert set(settles) == {("queue", "settle")}

    run(main)


ATTEMPTS = {
    EventType.step_started: 1,
    EventType.step_retrying: 1,
    EventType.step_completed: 1,
    EventType.step_failed: 1,
}


def candidate(event_type: EventType) -> NewEvent:
    """An event that would be legal on the log of ``prepared`` if its fence were fresh."""
    new = {EventType.step_created: "n#1", EventType.wait_created: "n#1", EventType.hook_created: "n#1"}
    new |= {EventType.child_created: "n#1", EventType.marker: "n#1", EventType.attributes_set: "n#1"}
    open_entity = {
        "step": "s#1",
        "wait": "w#1",
        "hook": "h#1",
        "child": "c#1",
    }
    family = event_type.name.split("_")[0]
    entity = new.get(event_type, open_entity.get(family, ""))
    return NewEvent(
        type=event_type,
        entity=entity,
        attempt=ATTEMPTS.get(event_type, 0),
        due=5_000_000 if event_type is EventType.wait_created else None,
        due_in=1 if event_type is EventType.step_retrying else None,
        token="new" if event_type is EventType.hook_created else None,
        dedupe="d.1",
        payload=packed({"stage": "spaid"}) if event_type is EventType.attributes_set else b"\x01",
    )


async def prepared() -> tuple[RunLog, MemoryStore]:
    """A run with an open step (not started), wait, hook and child; its fence is 6."""
    log, store = await fresh()
    events = (
        step_created("s#1"),
        NewEvent(type=EventType.wait_created, entity="w#1", due=9_000_000, payload=pack(WaitCreated("sleep"))),
        NewEvent(type=EventType.hook_created, entity="h#1", token="tok", payload=pack(HookCreated("int"))),
        NewEvent(type=EventType.child_created, entity="c#1", payload=b"\x01"),
    )
    assert isinstance(await log.append(Batch(RUN, 2, events, seen=2)), Landed)
    return log, store


WRITABLE = [
    kind
    for kind in EventType
    # written by start and by append itself; never sent through the seam
    if kind not in (EventType.run_created, EventType.hook_conflict, EventType.hook_inherited, EventType.run_started)
]


@pytest.mark.parametrize("event_type", WRITABLE, ids=lambda kind: kind.name)
async def test_h19_every_event_type_against_a_stale_fence(event_type: EventType) -> None:
    """Decisions conflict and leave the log as it was; facts land, and the visible ones move the fence."""
    log, store = await prepared()
    if event_type in (EventType.step_retrying, EventType.step_completed, EventType.step_failed):
        assert isinstance(await log.append(Batch(RUN, None, (started("s#1", 1, "d.1"),))), Landed)
    before = await store.get(RUN)
    assert before is not None
    event = msgspec.structs.replace(candidate(event_type), dedupe="d.1" if not KINDS[event_type].decision else None)
    if KINDS[event_type].decision:
        assert isinstance(await log.append(Batch(RUN, 2, (event,), seen=before.last_seq)), NotWritten)
        assert await store.get(RUN) == before
        fresh_fence = Batch(RUN, before.fence, (event,), seen=before.last_seq)
        assert isinstance(await log.append(fresh_fence), Landed), "the fence, not the event, was the reason"
        return
    written = await log.append(Batch(RUN, None, (event,)))
    assert isinstance(written, Landed)
    assert written.last_seq == before.last_seq + 1
    assert written.fence == (written.last_seq if KINDS[event_type].visible else before.fence)


async def test_h14_h82_nothing_follows_the_end() -> None:
    """Facts to an ended run are refused as run_ended, decisions conflict; the log does not grow."""
    log, store = await prepared()
    end = NewEvent(type=EventType.run_completed, payload=b"\x02")
    assert isinstance(await log.append(Batch(RUN, 6, (end,), seen=6)), Landed)
    late = await log.append(Batch(RUN, None, (candidate(EventType.step_completed),)))
    assert isinstance(late, Refused)
    assert late.facts[0].reason is Reason.run_ended
    assert late.status is RunStatus.completed
    second = await log.append(Batch(RUN, 6, (NewEvent(type=EventType.run_failed, payload=b"\x01"),), seen=6))
    assert isinstance(second, NotWritten)
    row = await store.get(RUN)
    assert row is not None
    assert row.last_seq == 7


REFUSALS: list[tuple[str, NewEvent, Reason]] = [
    ("start of a step that is not there", started("x#1", 1), Reason.no_entity),
    ("second start before the first", started("s#1", 2), Reason.other_attempt),
    ("failure of an attempt that never started", candidate(EventType.step_failed), Reason.other_attempt),
    (
        "signal to a hook that is not there",
        NewEvent(type=EventType.hook_received, entity="x#1", dedupe="d"),
        Reason.no_live_hook,
    ),
]


@pytest.mark.parametrize(("what", "event", "reason"), REFUSALS, ids=[row[0] for row in REFUSALS])
async def test_refusals_write_nothing(what: str, event: NewEvent, reason: Reason) -> None:
    """Each refusal names its reason."""
    log, store = await prepared()
    before = await store.get(RUN)
    written = await log.append(Batch(RUN, None, (event,)))
    assert isinstance(written, Refused)
    assert written.facts[0].reason is reason, what
    assert await store.get(RUN) == before


async def test_h102_a_verdict_per_fact() -> None:
    """The innocent fact of a merged batch lands, the other is refused."""
    log, _ = await prepared()
    written = await log.append(Batch(RUN, None, (started("x#1", 1), started("s#1", 1))))
    assert isinstance(written, Landed)
    assert [fact.outcome for fact in written.facts] == [FactOutcome.refused, FactOutcome.landed]
    assert [event.entity for event in written.events] == ["s#1"]


@pytest.mark.parametrize("over", [-1, 0, 1])
async def test_limit_of_payload_bytes(over: int) -> None:
    """At n-1 and n it lands, at n+1 it is refused with the name, the value, the bound and the way out; nothing is
    written.
    """
    log, store = await fresh(Limits(payload_bytes_max=2_000))
    size = 2_000 + over
    event = NewEvent(type=EventType.step_created, entity="s#1", payload=b"x" * size)
    if over <= 0:
        assert isinstance(await log.append(Batch(RUN, 2, (event,), seen=2)), Landed)
        return
    with pytest.raises(LimitExceeded, match=r"2001 is over payload_bytes_max = 2000; pass a reference") as caught:
        await log.append(Batch(RUN, 2, (event,), seen=2))
    assert (caught.value.limit, caught.value.value, caught.value.bound) == ("payload_bytes_max", 2_001, 2_000)
    row = await store.get(RUN)
    assert row is not None
    assert row.last_seq == 2


@pytest.mark.parametrize("over", [-1, 0, 1])
async def test_limit_of_events(over: int) -> None:
    """Room for the run's own ending is always left, and the ending always fits."""
    bound = 10
    log, _ = await fresh(Limits(events_max=bound + EVENTS_RESERVE))
    events = tuple(step_created(f"s#{n}") for n in range(bound - 2 + over))
    batch = Batch(RUN, 2, events, seen=2)
    if over <= 0:
        assert isinstance(await log.append(batch), Landed)
    else:
        with pytest.raises(LimitExceeded, match="with 2 kept for its end: 13 is over events_max = 12"):
            await log.append(batch)
    row = await log.store.get(RUN)
    assert row is not None
    end = NewEvent(type=EventType.run_completed, payload=b"\x02")
    assert isinstance(await log.append(Batch(RUN, row.fence, (end,), seen=row.last_seq)), Landed)


@pytest.mark.parametrize("over", [-1, 0, 1])
async def test_limit_of_open_entities(over: int) -> None:
    """Counted with what is open already."""
    log, _ = await fresh(Limits(open_entities_max=5))
    batch = Batch(RUN, 2, (step_created("s#1"), step_created("s#2")), seen=2)
    if over <= 0:
        assert isinstance(await log.append(batch, open_entities=3 + over), Landed)
    else:
        with pytest.raises(LimitExceeded, match="6 is over open_entities_max = 5"):
            await log.append(batch, open_entities=3 + over)
        # what ends in the same batch makes room
        ends = tuple(NewEvent(type=EventType.wait_cancelled, entity=f"w#{n}") for n in range(2))
        log.check(Batch(RUN, 2, (*ends, *batch.events), seen=2), 3 + over)


GOOD = Batch(RUN, 2, (step_created("s#1"),), seen=2)


def _no_events(verdict: Verdict) -> Verdict:
    return msgspec.structs.replace(verdict, events=())


def _busy(verdict: Verdict) -> Verdict:
    return msgspec.structs.replace(verdict, outcome=Outcome.busy)


def _refused_without_verdicts(verdict: Verdict) -> Verdict:
    return msgspec.structs.replace(verdict, outcome=Outcome.refused)


def _gap(verdict: Verdict) -> Verdict:
    event = verdict.events[0]
    second = msgspec.structs.replace(event, seq=event.seq + 2)
    return msgspec.structs.replace(verdict, events=(event, second))


def _behind_last_seq(verdict: Verdict) -> Verdict:
    return msgspec.structs.replace(verdict, last_seq=1)


BAD_REPLIES: list[Callable[[Verdict], Verdict]] = [_no_events, _busy, _refused_without_verdicts, _gap, _behind_last_seq]


@pytest.mark.parametrize("spoil", BAD_REPLIES, ids=lambda spoil: spoil.__name__.strip("_"))
async def test_h18_a_reply_that_lacks_what_it_must_carry_is_trouble(spoil: Callable[[Verdict], Verdict]) -> None:
    """Never success, never a conflict, never the user's error."""
    _, store = await fresh()

    async def append(batch: Batch) -> Verdict:
        return spoil((await store.append([batch]))[0])

    batch = GOOD if spoil is not _gap else msgspec.structs.replace(GOOD, events=(*GOOD.events, step_created("s#2")))
    with pytest.raises(StoreTrouble):
        await RunLog(store, append).append(batch)


def test_h08_h18_a_lost_reply_is_trouble_and_the_log_decides() -> None:
    """The append lands, its reply is lost: the message is released, the redelivered turn finds the event, nothing is
    written twice.
    """

    async def main() -> None:
        world = World()
        bodies: list[str] = []

        @step(registry=world.registry)
        async def work() -> str:
            bodies.append("ran")
            return "done"

        @workflow(registry=world.registry)
        async def once() -> str:
            return await work()

        async with world.worker("A") as a:
            await asyncio.sleep(1)

            def lose() -> None:
                raise StoreTrouble("the reply was lost")

            a.at("append.after", 1, lose)
            started_run = await world.start(once)
            assert await started_run.result(60) == "done"
            shape = await world.shape(started_run)
            assert shape.count("step_created work#1") == 1
            assert bodies == ["ran"]
            assert a.calls.count(("queue", "release")) == 1

    run(main)
