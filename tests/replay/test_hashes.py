"""H155: what a workflow makes past the loop's factories is ordered by the run, and not by its place in memory."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from replay_shapes_made import FUTURES, TASKS
from replay_world import Bench, W, completed, opened, received

from fencepost.replay.builtin_types import put_attribute
from fencepost.replay.hashing import OBJECTS, hash_of_object


async def _pages() -> AsyncIterator[int]:
    yield 1


MAKERS: dict[str, Callable[[], Any]] = {
    "coroutine": lambda: asyncio.sleep(0),
    "async_generator": _pages,
    "generator": lambda: (n for n in range(3)),
    "ReadyHandle": lambda: asyncio.get_running_loop().call_soon(int),
    "Barrier": lambda: asyncio.Barrier(2),
    "Timeout": lambda: asyncio.timeout(None),
    "CapacityLimiter": lambda: _anyio("CapacityLimiter")(1),
    "MemoryObjectReceiveStream": lambda: _anyio("create_memory_object_stream")(1)[1],
    "MemoryObjectSendStream": lambda: _anyio("create_memory_object_stream")(1)[0],
}


def _anyio(name: str) -> Any:
    import anyio

    return getattr(anyio, name)


def made(cls: type) -> Any:
    """One of that class, as workflow code would make it."""
    maker = MAKERS.get(cls.__name__) or cls
    return maker() if cls.__name__ != "Semaphore" or cls.__module__.startswith("asyncio") else cls(1)


def numbers_of(make: Callable[[], Any], run_id: str = "run-1") -> list[int]:
    """The hashes of five that a run makes."""
    found: list[int] = []

    async def flow(w: W) -> object:
        things = [make() for _ in range(5)]
        found.extend(hash(each) for each in things)
        assert [hash(each) for each in things] == found, "a hash does not change"
        for each in things:
            if hasattr(each, "close"):
                each.close()
        return None

    bench = Bench(flow)
    assert bench.asked() == ["run_completed"]
    bench.live.evict()
    return found


@pytest.mark.parametrize("make", FUTURES, ids=lambda make: f"{make.__module__}.{make.__qualname__}")
def test_h155_a_future_has_a_number_of_its_run_whatever_class_made_it(make: Callable[[], Any]) -> None:
    """Equal in each replay, wherever the futures are in memory."""
    noise = [asyncio.sleep] * 1000
    first = numbers_of(make)
    keep = [object() for _ in range(len(noise) * 3)]
    assert numbers_of(make) == first
    assert len(set(first)) == 5
    del keep


@pytest.mark.parametrize("cls", OBJECTS, ids=lambda cls: f"{cls.__module__}.{cls.__qualname__}")
def test_h155_what_asyncio_and_anyio_make_has_a_number_of_its_run(cls: type) -> None:
    """Coroutines, generators, primitives, scopes, streams, handles."""
    first = numbers_of(lambda: made(cls))
    keep = [object() for _ in range(3000)]
    assert numbers_of(lambda: made(cls)) == first
    assert len(set(first)) == 5
    del keep


def test_h155_outside_a_workflow_a_hash_is_what_it_was() -> None:
    """Also in another loop, and while a workflow exists."""

    async def flow(w: W) -> object:
        return await w.step("a")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        things: list[Any] = [asyncio.Future(), asyncio.Task(asyncio.sleep(0)), asyncio.gather(asyncio.sleep(0))]
        things += [loop.create_future(), asyncio.current_task(), asyncio.Lock(), asyncio.sleep(0)]
        assert [hash(each) for each in things] == [object.__hash__(each) for each in things]
        things[-1].close()
        await asyncio.gather(*things[1:3])

    with opened(flow):
        asyncio.run(main())


def test_h155_the_step_that_a_receipt_belongs_to_does_not_hang_on_addresses() -> None:
    """Two instances of one run, with the futures elsewhere in memory: the same customer gets the same step."""

    async def flow(w: W) -> object:
        customers = {asyncio.Future(): f"customer {n}" for n in range(20)}  # type: ignore[var-annotated]
        return [(customers[each], await w.step("charge", customers[each])) for each in set(customers)]

    def played(noise: int) -> Any:
        keep = [bytearray(n % 97) for n in range(noise)]
        bench = Bench(flow)
        for n in range(20):
            bench.turn()
            bench.land(completed(f"charge#{n + 1}", n))
        del keep
        return bench.output()

    first = played(0)
    assert sorted(name for name, _ in first) == sorted(f"customer {n}" for n in range(20))
    assert all(played(noise) == first for noise in (777, 3001, 10_003))


@pytest.mark.parametrize("make", TASKS, ids=lambda make: f"{make.__module__}.{make.__qualname__}")
def test_h155_a_task_made_by_its_class_is_as_the_loops_own(make: Callable[..., Any]) -> None:
    """It has ids and a name of its own, stands among all tasks, and is cancelled when the code returns."""
    seen: list[object] = []

    async def one(w: W) -> None:
        try:
            await w.step("a")
            await w.step("b")
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def flow(w: W) -> object:
        loop = asyncio.get_running_loop()
        tasks = [make(one(w), loop=loop), make(one(w), loop=loop, name="mine")]
        await w.step("a")
        return [[task.get_name() for task in tasks], {*tasks} <= asyncio.all_tasks()]

    bench = Bench(flow)
    assert bench.turn() == ["step_created a#1", "step_created one#1/a#1", "step_created one#2/a#1"]
    bench.land(completed("one#1/a#1"))
    assert bench.turn() == ["step_created one#1/b#1"]
    bench.land(completed("a#1"))
    assert bench.output() == [["one#1", "mine"], True]
    assert seen == ["cancelled"] * 2
    assert bench.live.loop.live_tasks() == []


def test_h155_a_task_made_by_its_class_is_ended_by_eviction() -> None:
    """Nothing of it is left."""
    seen: list[str] = []

    async def one(w: W) -> None:
        try:
            await w.step("a")
        finally:
            seen.append("ended")

    async def flow(w: W) -> object:
        asyncio.Task(one(w))
        await w.step("b")

    bench = Bench(flow)
    bench.turn()
    bench.live.evict()
    assert seen == ["ended"]


def test_h155_a_payload_is_given_back_by_a_task_made_by_its_class() -> None:
    """Cancelled between the payload's arrival and its waking up, as a task of the loop's own."""

    async def flow(w: W) -> object:
        async with w.hook("t") as hook:
            task: list[asyncio.Task[Any]] = []
            future = hook.channel.next()
            future.add_done_callback(lambda _: task[0].cancel())  # runs before the task's own wake-up
            task.append(asyncio.Task(wait_on(future)))
            await asyncio.wait(task)
            return task[0].cancelled(), await hook.next()

    async def wait_on(future: Any) -> object:
        return await future

    bench = Bench(flow)
    bench.turn()
    bench.land(received("hook#1", "kept"))
    assert bench.output() == [True, "kept"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks cannot begin at once before 3.12")
def test_h155_a_task_of_a_class_that_begins_at_once_asks_at_once() -> None:
    """Under its own path, before the code after it."""

    async def one(w: W) -> object:
        return await w.step("a")

    async def flow(w: W) -> object:
        task = asyncio.Task(one(w), loop=asyncio.get_running_loop(), eager_start=True)  # type: ignore[call-arg]  # pyright: ignore
        mine = await w.step("a")
        return [mine, await task, task.get_name()]

    bench = Bench(flow)
    assert bench.turn() == ["step_created one#1/a#1", "step_created a#1"]
    bench.land(completed("one#1/a#1", 1), completed("a#1", 2))
    assert bench.output() == [2, 1, "one#1"]


def test_h155_all_tasks_are_those_of_the_run_in_one_order() -> None:
    """Whatever other runs of the process have made before, and however many."""

    async def idle() -> None:
        await asyncio.Event().wait()

    async def flow(w: W) -> object:
        tasks = [asyncio.create_task(idle()) for _ in range(40)]
        names = [task.get_name() for task in asyncio.all_tasks()]
        assert asyncio.all_tasks() == {*tasks, asyncio.current_task()}
        assert asyncio.all_tasks(asyncio.get_running_loop()) == asyncio.all_tasks()
        return names

    async def other(w: W) -> object:
        tasks = [asyncio.create_task(idle()) for _ in range(5)]
        await w.step("a")
        return tasks

    first = Bench(flow).output()
    assert len(first) == 41
    for _ in range(6):
        Bench(other)
        assert Bench(flow).output() == first


def test_a_type_that_is_not_as_expected_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written into a type whose layout is unknown."""
    from fencepost.replay import builtin_types

    monkeypatch.setattr(builtin_types, "_TP_HASH", 7)
    with pytest.raises(RuntimeError, match="CPython"):
        builtin_types.put_hash(OBJECTS[0], hash_of_object)


def test_an_attribute_of_a_builtin_type_is_seen_by_code_that_has_run() -> None:
    """The interpreter keeps what it has found in a type."""
    import datetime

    def asks() -> object:
        return datetime.timedelta.total_seconds(datetime.timedelta(1))

    before = vars(datetime.timedelta)["total_seconds"]
    assert [asks() for _ in range(100)] == [86400.0] * 100
    put_attribute(datetime.timedelta, "total_seconds", lambda self: "mine")  # pyright: ignore[reportUnknownLambdaType]
    try:
        assert asks() == "mine"
    finally:
        put_attribute(datetime.timedelta, "total_seconds", before)
    assert asks() == 86400.0
