"""The log and the code disagree: H30 and H36."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from replay_world import Bench, Flow, W, completed, opened, received

from fencepost import records
from fencepost.replay.core import CHANGED_MAX
from fencepost.replay.interface import ReplayDivergence
from fencepost_store.events import Event, EventType, NewEvent


async def charge_then_ship(w: W) -> object:
    await w.step("charge")
    return await w.step("ship")


def recorded() -> list[Event]:
    """The log of charge_then_ship."""
    bench = Bench(charge_then_ship)
    bench.turn()
    bench.land(completed("charge#1"))
    bench.turn()
    bench.land(completed("ship#1"))
    bench.turn()
    return bench.log.events


def test_h30_another_step_names_both_sides_and_the_line() -> None:
    """The error has the seq, what the log has, what the code asks for, and the file and line that asked."""

    async def refunds_instead(w: W) -> object:
        await w.step("charge")
        return await w.step("refund")  # the line

    line = Path(__file__).read_text().split("\n").index('        return await w.step("refund")  # the line') + 1
    with opened(refunds_instead) as instance, pytest.raises(ReplayDivergence) as caught:
        instance.deliver(recorded())
    error = caught.value
    assert (error.seq, error.recorded, error.asked) == (
        4,
        "step_created ship#1 (ship)",
        "step_created refund#1 (refund)",
    )
    # The innermost user frame is the one in replay_world that calls the seam; its file stands for a user's module.
    assert error.source.startswith(str(Path(__file__).parent))
    assert str(line) in error.source or "replay_world" in error.source


def test_h30_the_line_is_that_of_the_code_that_asked() -> None:
    """A future asked for directly: the line is exact."""

    async def flow(w: W) -> object:
        return await w.asking.step("x#1", b"")  # here

    line = Path(__file__).read_text().split("\n").index('        return await w.asking.step("x#1", b"")  # here') + 1
    with opened(flow) as instance, pytest.raises(ReplayDivergence) as caught:
        instance.deliver(recorded())
    assert caught.value.source == f"{__file__}:{line}"


def test_h30_a_creation_that_the_code_does_not_ask_for() -> None:
    """The code waits for something else: the error says that it waits, and where."""

    async def waits(w: W) -> object:
        return await asyncio.get_running_loop().create_future()  # stuck here

    line = (
        Path(__file__)
        .read_text()
        .split("\n")
        .index("        return await asyncio.get_running_loop().create_future()  # stuck here")
    )
    with opened(waits) as instance, pytest.raises(ReplayDivergence) as caught:
        instance.deliver(recorded())
    assert caught.value.asked == "nothing, it waits"
    assert caught.value.source == f"{__file__}:{line + 1}"


def test_h30_the_code_has_ended_where_the_log_goes_on() -> None:
    """A workflow that lost its second step."""

    async def only_charges(w: W) -> object:
        return await w.step("charge")

    with opened(only_charges) as instance, pytest.raises(ReplayDivergence, match="nothing, it has ended"):
        instance.deliver(recorded())


def test_h30_the_code_goes_on_where_the_log_has_ended() -> None:
    """A workflow that gained a step."""

    async def more(w: W) -> object:
        await charge_then_ship(w)
        return await w.step("thank")

    with opened(more) as instance, pytest.raises(ReplayDivergence, match=r"log has run_completed, .* thank#1"):
        instance.deliver(recorded())


def test_h30_the_code_fails_where_the_log_completed() -> None:
    """The ends are of different kinds."""

    async def fails(w: W) -> object:
        await charge_then_ship(w)
        raise ValueError("no")

    with opened(fails) as instance, pytest.raises(ReplayDivergence, match="run_completed"):
        instance.deliver(recorded())


def test_h30_another_order_of_the_same_steps() -> None:
    """Batches are ordered, so the first thing asked must be the first that landed."""

    async def flow(w: W) -> object:
        return await asyncio.gather(w.step("a"), w.step("b"))

    async def swapped(w: W) -> object:
        return await asyncio.gather(w.step("b"), w.step("a"))

    bench = Bench(flow)
    bench.turn()
    with opened(swapped) as instance, pytest.raises(ReplayDivergence, match=r"log has step_created a#1.* b#1"):
        instance.deliver(bench.log.events)


def test_h30_the_same_step_from_another_task() -> None:
    """Two tasks call one step; the code that made them in another order asks first for the other task's. The name is
    the same and the arguments are, so only the entity tells them apart.
    """

    async def charges(w: W) -> object:
        return await w.step("charge")

    async def both(w: W, order: str) -> object:
        tasks = {name: asyncio.ensure_future(charges(w)) for name in ("one", "two")}
        return await asyncio.gather(*(tasks[name] for name in order.split()))

    async def waits_first(w: W) -> object:
        later = asyncio.ensure_future(charges(w))
        return await w.step("charge"), await later

    bench = Bench(lambda w: both(w, "one two"))
    bench.turn()
    assert bench.asked() == []
    created = [event.entity for event in bench.log.events if event.type is EventType.step_created]
    with opened(waits_first) as instance, pytest.raises(ReplayDivergence, match=created[0]):
        instance.deliver(bench.log.events)


def test_h30_the_same_entity_with_another_name() -> None:
    """Entity ids are made by the caller; the recorded name counts too."""

    async def named(w: W, name: str) -> object:
        return await w.asking.step("x#1", records.pack(records.StepCreated(name, b"")))

    bench = Bench(lambda w: named(w, "old"))
    bench.turn()
    with opened(lambda w: named(w, "new")) as instance, pytest.raises(ReplayDivergence, match=r"\(old\).*\(new\)"):
        instance.deliver(bench.log.events)


def test_h30_another_kind_of_wait() -> None:
    """A sleep that became a timeout."""

    async def sleeps(w: W) -> object:
        return await asyncio.sleep(1)

    async def times_out(w: W) -> object:
        async with asyncio.timeout(1):
            return await w.step("a")

    bench = Bench(sleeps)
    bench.turn()
    with opened(times_out) as instance, pytest.raises(ReplayDivergence, match=r"sleep#1.*timeout#1"):
        instance.deliver(bench.log.events)


@pytest.mark.parametrize(
    "event",
    [
        completed("nobody#1"),
        received("nobody#1"),
        NewEvent(EventType.wait_completed, "nobody#1"),
        NewEvent(EventType.wait_cancelled, "nobody#1"),
        NewEvent(EventType.step_cancelled, "charge#1"),
        NewEvent(EventType.hook_disposed, "nobody#1"),
        NewEvent(EventType.hook_conflict, "nobody#1"),
        NewEvent(EventType.marker, "patch#1"),
        NewEvent(EventType.run_created),
        NewEvent(EventType.run_completed),
        NewEvent(EventType.run_failed, payload=b"?"),
        NewEvent(EventType.wait_completed, "charge#1"),
        received("charge#1"),
    ],
    ids=lambda event: f"{event.type.name}-{event.entity}",
)
def test_h30_events_that_the_code_does_not_know(event: NewEvent) -> None:
    """An event of no entity of the code's, or of another kind of entity, is a divergence and never ignored."""
    bench = Bench(charge_then_ship)
    bench.turn()
    with pytest.raises(ReplayDivergence):
        bench.land(event)
    bench.live.evict()


def test_h30_a_result_before_its_creation() -> None:
    """The step is asked for, but the log does not have it yet: its result cannot be there."""
    bench = Bench(charge_then_ship)
    with pytest.raises(ReplayDivergence):
        bench.land(completed("charge#1"))
    bench.live.evict()


def test_h30_a_wait_completed_that_the_code_had_given_up() -> None:
    """wait_completed is a decision: at its prefix the wait was awaited, so code that has withdrawn it is other code."""

    async def gives_up(w: W) -> object:
        sleeping = asyncio.ensure_future(asyncio.sleep(60))
        await w.step("a")
        sleeping.cancel()
        return await w.step("b")

    bench = Bench(gives_up)
    bench.turn()
    bench.land(completed("a#1"))
    assert bench.asked() == ["step_created b#1", "wait_cancelled sleep#1/sleep#1"]
    with pytest.raises(ReplayDivergence):
        bench.land(NewEvent(EventType.wait_completed, "sleep#1/sleep#1"))
    bench.live.evict()


def test_an_instance_that_diverged_cannot_be_used() -> None:
    """Its state is neither the log's nor the code's."""
    bench = Bench(charge_then_ship)
    with pytest.raises(ReplayDivergence):
        bench.land(completed("charge#1"))
    with pytest.raises(RuntimeError, match="failed or was evicted"):
        bench.live.pending()
    with pytest.raises(RuntimeError, match="failed or was evicted"):
        bench.live.deliver(bench.log.events)
    bench.live.evict()


def test_h36_changed_arguments_are_noted_and_not_parked() -> None:
    """Other argument values, another token: the run goes on, and the entities are named. Due times differ between turns
    by themselves."""

    async def flow(w: W, value: str) -> object:
        await w.step("a", value)
        await asyncio.sleep(len(value))
        async with w.hook(f"token-{value}") as hook:
            return await hook.next()

    old = Bench(lambda w: flow(w, "v1"))
    old.turn()
    old.land(completed("a#1"))
    old.turn()
    old.log.now += 10_000_000
    old.live.fire_due(old.log.now)
    old.turn()
    old.land(received("hook#1", "hello"))
    with opened(lambda w: flow(w, "version 2")) as instance:
        instance.deliver(old.log.events)
        assert instance.changed_arguments == ["a#1", "hook#1"]
        assert instance.pending()[-1].type is EventType.run_completed


def test_h36_the_list_of_changed_arguments_is_bounded() -> None:
    """A deploy that changes every argument of a long run does not grow the instance."""

    async def flow(w: W, value: str) -> object:
        return await asyncio.gather(*(w.step("a", value) for _ in range(CHANGED_MAX + 20)))

    old = Bench(lambda w: flow(w, "v1"))
    old.turn()
    with opened(lambda w: flow(w, "v2")) as instance:
        instance.deliver(old.log.events)
        assert len(instance.changed_arguments) == CHANGED_MAX


def test_escape_hatches_end_a_run_wherever_the_code_is() -> None:
    """run_terminated, and run_failed by a limit, are facts and never a divergence."""
    limit = records.pack(records.RunFailed(records.Failure("Limit", "too many", code="LIMIT_EXCEEDED")))
    for event in (NewEvent(EventType.run_terminated), NewEvent(EventType.run_failed, payload=limit)):
        bench = Bench(charge_then_ship)
        bench.turn()
        bench.land(event)
        assert bench.live.work.ended is not None
        bench.live.evict()


def test_a_foreign_event_after_an_anticipated_one_is_the_engines_mistake() -> None:
    """After a conflict the instance must be dropped; feeding it what landed instead is refused."""
    bench = Bench(charge_then_ship)
    bench.turn()
    bench.live.anticipate(completed("charge#1", at=bench.log.now))
    with pytest.raises(RuntimeError, match="was anticipated"):
        bench.land(NewEvent(EventType.cancel_requested))
    bench.live.evict()


def test_h30_withdrawals_that_are_asked_one_after_the_other_have_no_order() -> None:
    """The losers of a race are cancelled in the order of a set of the user's own objects: any order fits the log. What
    follows them must still be what the log has."""

    def race(order: list[int], then: str) -> Flow:
        async def flow(w: W) -> object:
            tasks = [asyncio.ensure_future(w.step("slow", n)) for n in range(3)]
            await w.step("a")
            for n in order:
                tasks[n].cancel()
            await w.step(then)
            return [task.cancelled() for task in tasks]

        return flow

    bench = Bench(race([0, 1, 2], "then"))
    bench.turn()
    bench.land(completed("a#1"))
    assert bench.turn() == [*(f"step_cancelled slow#{n}" for n in (1, 2, 3)), "step_created then#1"]
    bench.land(completed("then#1"))
    for order in ([2, 0, 1], [1, 2, 0], [2, 1, 0]):
        with opened(race(order, "then")) as instance:
            instance.deliver(bench.log.events)
            assert instance.pending() == bench.live.pending()
    for order, then in (([0, 1], "then"), ([0, 2, 1], "another")):
        with opened(race(order, then)) as instance, pytest.raises(ReplayDivergence):
            instance.deliver(bench.log.events)
