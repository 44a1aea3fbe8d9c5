"""``patched``: what a run answers depends on its log alone, and never changes."""

from __future__ import annotations

import asyncio

import pytest
from replay_world import Bench, Conflict, Flow, W, World, completed, opened, received, replayed

from fencepost.replay.interface import ReplayDivergence
from fencepost_store.events import Event, EventType, NewEvent


def patched(w: W, patch: str = "p", *, retired: bool = False) -> bool:
    """As authoring calls it."""
    return w.asking.patched(patch, retired=retired)


async def old(w: W) -> object:
    await w.step("a")
    return await w.step("b")


async def new(w: W) -> object:
    await w.step("a")
    return await w.step("c" if patched(w) else "b")


async def retired(w: W) -> object:
    await w.step("a")
    patched(w, retired=True)
    return await w.step("c")


async def unpatched(w: W) -> object:
    await w.step("a")
    return await w.step("c")


def recorded(flow: Flow, steps: int) -> list[Event]:
    """The log of a run of ``flow`` after so many steps have ended and their turns were done."""
    bench = Bench(flow)
    bench.turn()
    for entity in ("a#1", "b#1" if flow is old else "c#1")[:steps]:
        bench.land(completed(entity))
        bench.turn()
    return bench.log.events


def asked(flow: Flow, log: list[Event]) -> list[str]:
    """What the code asks for beyond a log."""
    with opened(flow) as instance:
        instance.deliver(log)
        return [f"{event.type.name} {event.entity}".strip() for event in instance.pending()]


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_new_run_takes_part_and_records_it(steps: int) -> None:
    """True, with a marker in the same batch as what follows from it; a replay of the log fits."""
    log = recorded(new, steps)
    assert asked(new, log) == []
    markers = [event.entity for event in log if event.type is EventType.marker]
    assert markers == (["patched:p"] if steps else [])


@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_that_went_past_it_does_not(steps: int) -> None:
    """Its log goes on with the old branch, also when it has ended."""
    log = recorded(old, steps)
    assert asked(new, log) == []


def test_a_run_that_has_not_come_to_it_takes_part() -> None:
    """It was started by the old code, and the step before the point has ended since."""
    log = recorded(old, 0)
    bench = Bench(new)
    bench.turn()
    assert asked(new, [*log, *bench.log.land(completed("a#1"))]) == ["marker patched:p", "step_created c#1"]


def test_the_old_code_does_not_go_on_with_a_run_that_takes_part() -> None:
    """Also where both branches ask for the same: the marker itself is what the old code did not ask for."""

    async def same(w: W) -> object:
        await w.step("a")
        patched(w)
        return await w.step("b")

    with opened(old) as instance, pytest.raises(ReplayDivergence, match=r"marker patched:p.*asks for step_created b#1"):
        instance.deliver(recorded(same, 1))


def test_a_retired_patch_takes_old_markers_and_records_none() -> None:
    """Then, when no run that has one is open, the call can go; before that it cannot."""
    assert asked(retired, recorded(new, 1)) == []
    assert EventType.marker not in {event.type for event in recorded(retired, 2)}
    assert asked(unpatched, recorded(retired, 2)) == []
    with opened(unpatched) as instance, pytest.raises(ReplayDivergence, match="marker patched:p"):
        instance.deliver(recorded(new, 1))


def test_a_retired_patch_does_not_fit_runs_that_went_past_it() -> None:
    """They are what retiring must wait for."""
    with opened(retired) as instance, pytest.raises(ReplayDivergence, match="step_created b#1"):
        instance.deliver(recorded(old, 1))


def test_a_marker_from_another_worker_reaches_a_live_retired_run() -> None:
    """A worker of the build before takes a turn in between."""
    bench = Bench(retired)
    bench.turn()
    bench.land(completed("a#1"))
    bench.land(NewEvent(EventType.marker, "patched:p"), *bench.live.pending())
    assert bench.asked() == []


def test_every_later_call_answers_the_same() -> None:
    """One marker per run and id; old runs stay with the old code to their end."""
    answers: list[bool] = []

    async def loops(w: W) -> object:
        for _ in range(3):
            await w.step("a")
            answers.append(patched(w))
        return None

    async def before(w: W) -> object:
        for _ in range(3):
            await w.step("a")
        return None

    for flow, expected, markers in ((loops, True, 1), (before, False, 0)):
        bench = Bench(flow)
        bench.turn()
        for n in (1, 2):
            bench.land(completed(f"a#{n}"))
            bench.turn()
        assert [event.type for event in bench.log.events].count(EventType.marker) == markers
        answers.clear()
        assert asked(loops, [*bench.log.events, *bench.log.land(completed("a#3"))]) == ["run_completed"]
        assert answers == [expected] * 3


def test_a_marker_lands_when_the_code_returns_at_once() -> None:
    """Else the log would say that the run went past it."""

    async def returns(w: W) -> object:
        await w.step("a")
        return patched(w)

    bench = Bench(returns)
    bench.turn()
    bench.land(completed("a#1"))
    assert bench.turn() == ["marker patched:p", "run_completed"]
    assert asked(returns, bench.log.events) == []


def test_what_was_asked_before_the_point_says_nothing_of_it() -> None:
    """Steps of the same batch that stand before the marker, as after the reply to a hook whose token was taken."""

    async def conflicted(w: W) -> object:
        async def listens() -> object:
            try:
                async with w.hook("t") as hook:
                    return await hook.next()
            except Conflict:
                return await w.step("c" if patched(w) else "b")

        return list(await asyncio.gather(listens(), w.step("a")))

    bench = Bench(conflicted, taken=frozenset({"t"}))
    bench.turn()
    assert bench.turn() == ["marker patched:p", "step_created listens#1/c#1"]
    assert asked(conflicted, bench.log.events) == []


def test_a_wait_that_ends_in_the_same_batch_says_nothing_of_it() -> None:
    """Its end stands before the marker. Cut behind it, the answer is the same."""

    async def waits(w: W) -> object:
        async def listens() -> object:
            async with w.hook("t") as hook:
                await hook.next()
                return await w.step("c" if patched(w) else "b")

        return list(await asyncio.gather(listens(), asyncio.sleep(1)))

    bench = Bench(waits)
    bench.turn()
    bench.land(received("listens#1/hook#1"))
    bench.live.fire_due(bench.log.now + 2_000_000)
    assert bench.turn()[:2] == ["wait_completed sleep#1/sleep#1", "marker patched:p"]
    cut = [event.type for event in bench.log.events].index(EventType.wait_completed) + 1
    assert asked(waits, bench.log.events[:cut])[0] == "marker patched:p"


async def everywhere(w: W) -> object:
    """Patches in loops and tasks, beside hooks, sleeps and steps."""

    async def worker(n: int) -> object:
        for round_ in range(2):
            await (w.step("x") if patched(w, f"p{n}") else w.step("y"))
            await asyncio.sleep(n + round_)
        return patched(w, "shared")

    async with w.hook("t") as hook:
        first = asyncio.ensure_future(hook.next())
        await asyncio.gather(*(worker(n) for n in range(3)))
        if patched(w, "late"):
            first.cancel()
        return await w.step("z")


@pytest.mark.parametrize("seed", range(20))
def test_i10_prefixes_and_cold_instances_decide_the_same(seed: int) -> None:
    """A run of one code answers True all the way, however it is cut and fed."""
    world = World(everywhere, seed)
    events = world.run()
    assert {event.entity for event in events if event.type is EventType.marker} == {
        f"patched:{name}" for name in ("p0", "p1", "p2", "shared", "late")
    }
    assert replayed(everywhere, events, one_by_one=True) == replayed(everywhere, events, one_by_one=False)
    for turn in world.turns:
        with opened(everywhere) as cold:
            cold.deliver(events[: turn.seen])
            cold.fire_due(turn.now)
            assert cold.pending() == turn.pending


@pytest.mark.parametrize("seed", range(20))
def test_an_old_log_cut_anywhere_fits_the_new_code(seed: int) -> None:
    """Whatever the old code has done by then, the new code goes on with it: no log of it is refused."""

    def made(*, changed: bool) -> Flow:
        async def flow(w: W) -> object:
            async def worker(n: int) -> object:
                for _ in range(2):
                    await w.step("x")
                    await asyncio.sleep(n)
                    if changed and patched(w, f"p{n}"):
                        await w.step("extra")
                return await w.step("y")

            return list(await asyncio.gather(*(worker(n) for n in range(3))))

        return flow

    world = World(made(changed=False), seed)
    events = world.run()
    for turn in [turn for turn in world.turns if turn.seen < len(events)]:
        with opened(made(changed=True)) as instance:
            instance.deliver(events[: turn.seen])
            instance.pending()
