"""Facts are not fenced, they are guarded by their entity's state (I3). Each store in turn."""

from __future__ import annotations

import pytest
from worlds import EPOCH, SECOND, World, new_run_id

from fencepost_store.admission import Unstorable
from fencepost_store.events import EventType as E
from fencepost_store.events import NewEvent
from fencepost_store.protocol import FactOutcome, FactVerdict, Outcome, Reason, RunStatus, Verdict

CREATED = NewEvent(E.step_created, "s#1")


def started(n: int, by: str = "w1") -> NewEvent:
    return NewEvent(E.step_started, "s#1", attempt=n, dedupe=by)


def retrying(n: int, due_in: int = 3 * SECOND, by: str = "w1") -> NewEvent:
    return NewEvent(E.step_retrying, "s#1", attempt=n, due_in=due_in, dedupe=by)


def completed(n: int, by: str | None = "w1") -> NewEvent:
    return NewEvent(E.step_completed, "s#1", attempt=n, dedupe=by, payload=b"\x01r")


def failed(n: int, by: str = "w1") -> NewEvent:
    return NewEvent(E.step_failed, "s#1", attempt=n, dedupe=by)


def received(delivery: str | None = None) -> NewEvent:
    return NewEvent(E.hook_received, "h#1", dedupe=delivery, payload=b"\x01p")


def reasons(verdict: Verdict) -> list[Reason | FactOutcome]:
    """Per fact its reason, or its outcome where there is none."""
    return [fact.reason or fact.outcome for fact in verdict.facts]


async def test_h01_a_step_is_never_started_after_it_was_completed(world: World) -> None:
    run = await world.run(CREATED, started(1), completed(1))
    verdict = await world.fact(run, started(2, "w2"))
    assert (verdict.outcome, reasons(verdict)) == (Outcome.refused, [Reason.entity_ended])
    assert [event.type for event in await world.log(run)][-1] is E.step_completed


async def test_h08_a_fact_sent_again_by_the_same_writer_is_answered_as_the_first_was(world: World) -> None:
    run = await world.run(CREATED, started(1))
    again = await world.fact(run, started(1))
    assert again.facts == (FactVerdict(FactOutcome.already, seq=4),)
    assert (again.outcome, again.events) == (Outcome.ok, ())
    await world.fact(run, retrying(1))
    assert (await world.fact(run, retrying(1))).facts == (FactVerdict(FactOutcome.already, seq=5),)
    await world.advance(60 * SECOND)
    await world.fact(run, started(2))
    await world.fact(run, completed(2))
    await world.turn(run, NewEvent(E.run_completed))
    assert (await world.fact(run, completed(2))).facts == (FactVerdict(FactOutcome.already, seq=7),)
    assert reasons(await world.fact(run, completed(2, "w2"))) == [Reason.run_ended]
    assert reasons(await world.fact(run, completed(1))) == [Reason.run_ended]
    assert reasons(await world.fact(run, completed(2, None))) == [Reason.run_ended]
    assert reasons(await world.fact(run, started(2))) == [Reason.run_ended], "it must not run the body of an ended run"


async def test_h11_a_signal_after_disposal_or_after_the_end_never_reaches_the_log(world: World) -> None:
    run = await world.run(NewEvent(E.hook_created, "h#1", token="t"))
    assert (await world.fact(run, received("d1"))).outcome is Outcome.ok
    await world.turn(run, NewEvent(E.hook_disposed, "h#1"))
    assert reasons(await world.fact(run, received("d2"))) == [Reason.no_live_hook]
    await world.turn(run, NewEvent(E.run_completed))
    before = await world.log(run)
    assert reasons(await world.fact(run, received("d3"))) == [Reason.run_ended]
    assert reasons(await world.fact(run, NewEvent(E.cancel_requested))) == [Reason.run_ended]
    assert await world.log(run) == before


async def test_h14_a_result_for_a_run_that_has_ended_is_refused(world: World) -> None:
    run = await world.run(CREATED, started(1), NewEvent(E.run_terminated))
    assert reasons(await world.fact(run, completed(1))) == [Reason.run_ended]


async def test_h52_telling_a_parent_twice_is_refused_as_a_duplicate(world: World) -> None:
    run = await world.run(NewEvent(E.child_created, "c#1"))
    done = NewEvent(E.child_completed, "c#1")
    assert (await world.fact(run, done)).outcome is Outcome.ok
    assert reasons(await world.fact(run, done)) == [Reason.duplicate]
    assert reasons(await world.fact(run, NewEvent(E.child_failed, "c#2"))) == [Reason.no_entity]


async def test_h74_facts_of_an_older_attempt_are_refused_but_its_result_is_taken(world: World) -> None:
    run = await world.run(CREATED, started(1), started(2, "w2"))
    assert reasons(await world.fact(run, failed(1))) == [Reason.other_attempt]
    assert reasons(await world.fact(run, retrying(1))) == [Reason.other_attempt]
    assert (await world.fact(run, completed(1))).outcome is Outcome.ok
    assert reasons(await world.fact(run, failed(2, "w2"))) == [Reason.entity_ended]


async def test_h120_a_step_without_a_start_fails_as_attempt_0_and_only_then(world: World) -> None:
    """A timeout before the first start against that start: whichever is first wins, the other is refused."""
    run = await world.run(CREATED)
    assert reasons(await world.fact(run, failed(1))) == [Reason.other_attempt]
    assert (await world.fact(run, failed(0))).outcome is Outcome.ok
    assert reasons(await world.fact(run, started(1))) == [Reason.entity_ended]
    other = await world.run(CREATED, started(1))
    assert reasons(await world.fact(other, failed(0))) == [Reason.other_attempt]
    refused = await world.turn(other, failed(0))
    assert (refused.outcome, reasons(refused)) == (Outcome.refused, [Reason.other_attempt])
    assert (await world.turn(other, failed(1))).outcome is Outcome.ok
    together = await world.run()
    assert (await world.turn(together, CREATED, failed(0))).outcome is Outcome.ok
    with pytest.raises(Unstorable, match="attempt 0 of a step that this batch starts"):
        await world.turn(await world.run(), CREATED, started(1), failed(0))
    for kind in (E.step_completed, E.step_started):
        with pytest.raises(Unstorable, match="attempt 0"):
            await world.fact(other, NewEvent(kind, "s#1"))


async def test_h76_an_attempt_is_started_once_and_in_order(world: World) -> None:
    run = await world.run(CREATED)
    assert reasons(await world.fact(run, started(2))) == [Reason.other_attempt]
    assert (await world.fact(run, started(1, "w1"))).outcome is Outcome.ok
    assert reasons(await world.fact(run, started(1, "w2"))) == [Reason.other_attempt]
    assert reasons(await world.fact(run, NewEvent(E.step_started, "s#9", attempt=1))) == [Reason.no_entity]


async def test_h99_h107_the_next_start_waits_for_its_retry(world: World) -> None:
    run = await world.run(CREATED, started(1), retrying(1, 3 * SECOND))
    early = await world.fact(run, started(2, "w2"))
    assert (early.outcome, early.facts) == (Outcome.refused, (FactVerdict(FactOutcome.early, rest=3 * SECOND),))
    await world.advance(3 * SECOND)
    assert (await world.fact(run, started(2, "w2"))).outcome is Outcome.ok
    assert reasons(await world.fact(run, retrying(1, by="w9"))) == [Reason.other_attempt]


async def test_h102_one_refused_fact_does_not_hurt_its_neighbours(world: World) -> None:
    run = await world.run(CREATED, NewEvent(E.step_created, "s#2"))
    verdict = await world.fact(
        run,
        NewEvent(E.step_completed, "s#1", attempt=1),
        NewEvent(E.step_completed, "s#1", attempt=1),
        received(),
        NewEvent(E.step_completed, "s#2", attempt=1),
    )
    assert reasons(verdict) == [FactOutcome.landed, Reason.entity_ended, Reason.no_live_hook, FactOutcome.landed]
    assert [event.seq for event in verdict.events] == [5, 6]
    assert [fact.seq for fact in verdict.facts] == [5, None, None, 6]


async def test_h103_a_signal_sent_twice_is_accepted_once_even_after_disposal_and_the_end(world: World) -> None:
    run = await world.run(NewEvent(E.hook_created, "h#1", token="t"))
    twice = await world.fact(run, received("d1"), received("d1"), received())
    assert [fact.seq for fact in twice.facts] == [4, 4, 5]
    assert [fact.outcome for fact in twice.facts] == [FactOutcome.landed, FactOutcome.already, FactOutcome.landed]
    await world.turn(run, NewEvent(E.hook_disposed, "h#1"))
    assert (await world.fact(run, received("d1"))).facts == (FactVerdict(FactOutcome.already, seq=4),)
    await world.turn(run, NewEvent(E.run_completed))
    assert (await world.fact(run, received("d1"))).facts == (FactVerdict(FactOutcome.already, seq=4),)


async def test_h106_a_retry_of_an_attempt_that_is_not_the_newest_is_refused_with_the_step_open(world: World) -> None:
    run = await world.run(CREATED, started(1), started(2, "zombie"))
    verdict = await world.fact(run, retrying(1))
    assert (reasons(verdict), verdict.status) == ([Reason.other_attempt], RunStatus.running)
    assert (await world.fact(run, started(3))).outcome is Outcome.ok


async def test_facts_of_one_batch_see_each_other(world: World) -> None:
    run = await world.run(CREATED)
    verdict = await world.fact(
        run, started(1), started(1, "w2"), retrying(1, 0), started(2), failed(1), failed(2), started(3)
    )
    other = Reason.other_attempt
    landed = FactOutcome.landed
    assert reasons(verdict) == [landed, other, landed, landed, other, landed, Reason.entity_ended]
    assert [event.seq for event in verdict.events] == [4, 5, 6, 7]


async def test_a_fact_repeated_within_a_batch_names_the_seq_of_the_first(world: World) -> None:
    run = await world.run(CREATED, started(1))
    verdict = await world.fact(run, NewEvent(E.cancel_requested, dedupe="x"), completed(1), completed(1))
    assert [(fact.outcome, fact.seq) for fact in verdict.facts] == [
        (FactOutcome.landed, 5),
        (FactOutcome.landed, 6),
        (FactOutcome.already, 6),
    ]


async def test_nothing_lands_behind_an_end_in_the_same_batch_of_facts(world: World) -> None:
    run = await world.run(CREATED)
    verdict = await world.fact(run, NewEvent(E.run_failed), completed(1), NewEvent(E.run_terminated))
    assert reasons(verdict) == [FactOutcome.landed, Reason.run_ended, Reason.run_ended]
    assert (verdict.status, verdict.last_seq) == (RunStatus.failed, 4)


async def test_a_run_that_does_not_exist_refuses_everything(world: World) -> None:
    verdict = await world.fact(new_run_id(), completed(1), received())
    assert (verdict.outcome, reasons(verdict)) == (Outcome.refused, [Reason.run_not_found] * 2)
    fenced = await world.fenced(new_run_id(), 1, CREATED)
    assert (fenced.outcome, reasons(fenced)) == (Outcome.refused, [Reason.run_not_found])
    assert await world.store.load(new_run_id()) is None
    assert await world.store.load_entity(new_run_id(), "s#1") is None


@pytest.mark.parametrize("event", [started(1), retrying(1, 0)], ids=["step_started", "step_retrying"])
async def test_h90_invisible_facts_do_not_move_the_fence(world: World, event: NewEvent) -> None:
    run = await world.run(CREATED)
    if event.type is E.step_retrying:
        await world.fact(run, started(1))
    verdict = await world.fact(run, event)
    assert (verdict.outcome, verdict.fence) == (Outcome.ok, 3)
    assert (await world.fenced(run, 3, NewEvent(E.wait_created, "w#1", due=EPOCH))).outcome is Outcome.ok


async def test_the_writer_s_own_time_is_stored_as_it_is(world: World) -> None:
    run = await world.run(CREATED, started(1))
    verdict = await world.fact(run, NewEvent(E.step_completed, "s#1", attempt=1, at=EPOCH - 7))
    assert verdict.events[0].at == EPOCH - 7
    assert (await world.log(run))[-1] == verdict.events[0]
