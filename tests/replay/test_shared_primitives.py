"""H160: locks, events, queues and streams of a module are shared by all runs of a process, and refused in workflows."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from replay_world import Bench, W

from fencepost.replay.limits import WorkflowRestriction
from fencepost.replay.shared_primitives import GUARDED, MADE_ANYWHERE, MADE_OUTSIDE, public_of

MAKE: dict[str, Callable[[], Any]] = {
    "Lock": asyncio.Lock,
    "Event": asyncio.Event,
    "Semaphore": lambda: asyncio.Semaphore(2),
    "Condition": asyncio.Condition,
    "Barrier": lambda: asyncio.Barrier(2),
    "Queue": asyncio.Queue[int],
    "BoundedSemaphore": lambda: asyncio.BoundedSemaphore(1),
    "PriorityQueue": asyncio.PriorityQueue[int],
}
MAKE_ANYIO: dict[str, Callable[[], Any]] = {
    "LockAdapter": anyio.Lock,
    "EventAdapter": anyio.Event,
    "SemaphoreAdapter": lambda: anyio.Semaphore(1),
    "CapacityLimiterAdapter": lambda: anyio.CapacityLimiter(1),
    "Condition": anyio.Condition,
    "MemoryObjectSendStream": lambda: anyio.create_memory_object_stream[int](1)[0],
    "MemoryObjectReceiveStream": lambda: anyio.create_memory_object_stream[int](1)[1],
}
ANYIO_CASES = sorted({(cls.__name__, name) for cls in (*MADE_OUTSIDE, *MADE_ANYWHERE) for name in public_of(cls)})
MADE_OF_THE_OTHERS = {
    asyncio.Lock: set[str](),
    asyncio.Event: set[str](),
    asyncio.Semaphore: set[str](),
    asyncio.BoundedSemaphore: set[str](),
    asyncio.Condition: {"wait_for", "notify_all"},
    asyncio.Barrier: {"parties"},  # which never changes
    asyncio.Queue: {"maxsize"},  # neither does this
}
CASES = [
    *((cls.__name__, name) for cls, names in GUARDED.items() for name in names),
    ("PriorityQueue", "get_nowait"),
    ("PriorityQueue", "put"),
]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_h160_what_a_run_has_not_made_is_refused_with_the_way_out(kind: str, name: str) -> None:
    """At once, whether or not anybody else uses it just now."""
    shared = MAKE[kind]()

    async def flow(w: W) -> object:
        with pytest.raises(WorkflowRestriction, match="make it in the workflow"):
            called(shared, name)
        return None

    assert Bench(flow).asked() == ["run_completed"]


def called(thing: Any, name: str) -> object:
    """What it answers; a property is not called."""
    member = getattr(thing, name)
    takes = name in ("put", "put_nowait", "send", "send_nowait") or "behalf" in name
    return member(1) if takes else member() if callable(member) else member


def test_h160_all_that_asyncio_has_is_looked_at() -> None:
    """A method of a new Python is seen here."""
    for cls, names in GUARDED.items():
        public = {name for name in vars(cls) if not name.startswith("_")}
        assert public - {*names} == MADE_OF_THE_OTHERS[cls] & public, cls


@pytest.mark.parametrize(("kind", "name"), [case for case in ANYIO_CASES if case[0] in MAKE_ANYIO])
def test_h160_so_are_anyios(kind: str, name: str) -> None:
    """Those of a module, and what a stream's other end is made of."""
    shared = MAKE_ANYIO[kind]()

    async def flow(w: W) -> object:
        with pytest.raises(WorkflowRestriction, match=r"an anyio\.\w+ that this run has not made \(make it in"):
            called(shared, name)
        return None

    assert Bench(flow).asked() == ["run_completed"]
    if hasattr(shared, "close"):
        shared.close()


def test_h160_what_anyio_makes_in_a_run_is_its_own() -> None:
    """And no other's."""
    made: list[tuple[Any, ...]] = []

    async def flow(w: W) -> object:
        send, receive = anyio.create_memory_object_stream[int](1)
        made.append((anyio.Lock(), anyio.Event(), anyio.Semaphore(1), anyio.CapacityLimiter(1), anyio.Condition()))
        lock, event, semaphore, limiter, condition = made[-1]
        async with lock, semaphore, limiter, condition:
            event.set()
            with send.clone() as sending, receive:
                await sending.send(1)
                assert await receive.receive() == 1
        send.close()
        if len(made) == 1:
            return "own"
        for thing, name in zip(made[0], ("locked", "is_set", "value", "borrowed_tokens", "statistics"), strict=True):
            with pytest.raises(WorkflowRestriction):
                called(thing, name)
        return "refused"

    assert [Bench(flow).output(), Bench(flow).output()] == ["own", "refused"]


def test_h160_a_condition_does_not_keep_its_locks_methods() -> None:
    """One that was made before the first workflow of the process ran has them as they were."""
    shared = asyncio.Condition()
    vars(shared)["acquire"] = lambda: pytest.fail("past the guard")

    async def flow(w: W) -> object:
        with pytest.raises(WorkflowRestriction, match=r"asyncio\.Condition"):
            await shared.acquire()
        return None

    assert Bench(flow).asked() == ["run_completed"]


def test_h160_what_a_module_makes_while_a_run_imports_it_is_the_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that came first would use it, and be refused in its replay."""
    (tmp_path / "late_import.py").write_text("import asyncio, anyio\nLOCK = asyncio.Lock()\nGATE = anyio.Event()\n")
    monkeypatch.syspath_prepend(tmp_path)

    async def flow(w: W) -> object:
        late: Any = importlib.import_module("late_import")
        for use in (late.LOCK.locked, late.GATE.is_set):
            with pytest.raises(WorkflowRestriction):
                use()
        return None

    assert [Bench(flow).asked(), Bench(flow).asked()] == [["run_completed"]] * 2
    del sys.modules["late_import"]


def test_h160_guarded_coroutine_functions_are_coroutine_functions() -> None:
    """For who asks: mocks made of a queue, retries around ``queue.get``."""
    asks = [asyncio.iscoroutinefunction, *([inspect.iscoroutinefunction] if sys.version_info >= (3, 12) else [])]
    for ask in asks:
        assert all(ask(each) for each in (asyncio.Queue.get, asyncio.Lock().acquire, asyncio.Condition().acquire))
        assert not ask(asyncio.Queue.get_nowait)


def test_h160_another_runs_are_refused_too() -> None:
    """A run that got hold of one by a global; its own it may use."""
    made: list[asyncio.Lock] = []

    async def flow(w: W) -> object:
        made.append(asyncio.Lock())
        async with made[-1]:
            pass
        if len(made) == 1:
            return "own"
        with pytest.raises(WorkflowRestriction):
            async with made[0]:
                pass
        return "refused"

    assert [Bench(flow).output(), Bench(flow).output()] == ["own", "refused"]


def test_h160_outside_a_workflow_they_are_as_they_were() -> None:
    """Made anywhere, used in any loop."""
    things = {kind: make() for kind, make in MAKE.items()}

    async def main() -> None:
        async with things["Lock"], things["Semaphore"], things["Condition"]:
            things["Event"].set()
            await things["Event"].wait()
        await things["Queue"].put(1)
        assert await things["Queue"].get() == 1
        assert things["Queue"].empty()

    asyncio.run(main())


class Limiter:
    """As rate limiters are made: it keeps the loop of its first use, and sets timers and futures in it."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None

    def first(self) -> asyncio.AbstractEventLoop:
        """The loop."""
        self.loop = self.loop or asyncio.get_running_loop()
        return self.loop


USES: dict[str, Callable[[asyncio.AbstractEventLoop], object]] = {
    "call_at": lambda loop: loop.call_at(loop.time() + 5, print),
    "call_later": lambda loop: loop.call_later(5, print),
    "call_soon": lambda loop: loop.call_soon(print),
    "create_task": lambda loop: loop.create_task(asyncio.sleep(1)),
}


@pytest.mark.parametrize("use", sorted(USES))
@pytest.mark.parametrize("ended", [True, False])
def test_h160_another_runs_loop_is_refused(use: str, ended: bool) -> None:
    """Whether that run is over or waits: a timer that another one sets would be a wait in its log that its code never
    asks for. From outside a workflow as well."""
    shared = Limiter()

    async def flow(w: W) -> object:
        mine = shared.loop is None
        loop = shared.first()
        if mine:
            await w.step("a")
            return "first"
        with pytest.raises(WorkflowRestriction, match="another run's event loop"):
            USES[use](loop)
        return "second"

    first = Bench(flow)
    first.turn()
    if ended:
        first.live.evict()
    assert Bench(flow).output() == "second"
    assert shared.loop is not None
    with pytest.raises(RuntimeError, match="outside the workflow"):
        USES[use](shared.loop)
    assert ended or first.asked() == []
