"""Children and successors beyond the hazards: chains, keys, policies, errors, and what they inherit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World
from test_crash_everywhere import families

from fencepost import (
    ChildCancelled,
    ChildFailed,
    ChildTerminated,
    NotInWorkflow,
    PayloadTooLarge,
    RunCancelled,
    RunEnded,
    RunFailed,
    StartConflict,
    continue_as_new,
    set_attributes,
    sleep,
    step,
    workflow,
)
from fencepost.records import RunCreated, unpack


def test_a_chain_is_one_run_to_its_client() -> None:
    """Result, key, cancel and terminate, attributes, timeout and queue go along the chain."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry, timeout=1_000)
        async def count(n: int, until: int) -> int:
            set_attributes(n=n)
            await sleep(10)
            if n < until:
                continue_as_new(n + 1, until=until)
            return n

        client = world.client()
        async with world.worker("A"):
            first = await client.start(count, 1, 3, key="k")
            await asyncio.sleep(15)
            again = await client.start(count, 1, 3, key="k")
            assert (again.id, again.created) == (first.id, False)
            assert await again.result(100) == 3
            rows = sorted(await client.list(), key=lambda row: row.created_at, reverse=True)
            assert [row.status for row in rows] == ["completed", "continued", "continued"]
            assert [row.key for row in rows] == [None, None, "k"]
            assert [row.attributes for row in rows] == [{"n": 3}, {"n": 2}, {"n": 1}]
            created = [unpack((await world.log_of(row.id))[0].payload, RunCreated) for row in rows]
            assert [one.timeout for one in created] == [1_000.0] * 3
            assert len({one.secret for one in created}) == 1
            assert [one.origin.previous for one in created if one.origin] == [rows[1].id, rows[2].id]
            assert {one.origin.first for one in created if one.origin} == {rows[2].id}
            with pytest.raises(RunEnded):
                await first.cancel("late")
            endless = await client.start(count, 1, 10**6)
            await asyncio.sleep(25)
            await endless.cancel("enough")
            with pytest.raises(RunCancelled, match="enough"):
                await endless.result(100)
            endless = await client.start(count, 1, 10**6)
            await asyncio.sleep(25)
            await endless.terminate("now")
            with pytest.raises(RunCancelled) as caught:
                await endless.result(100)
            assert caught.value.terminated
            await families(world)

    run(main)


def test_continue_as_new_runs_what_stands_around_it() -> None:
    """finally blocks may await; a task group's wrapping is seen through; arguments that do not fit fail the run."""

    async def main() -> None:
        world = World()
        undone: list[int] = []

        @step(registry=world.registry)
        async def undo(n: int) -> None:
            undone.append(n)

        @step(registry=world.registry, retries=0)
        async def inside() -> None:
            continue_as_new(1)

        @workflow(registry=world.registry)
        async def flow(n: int) -> int:
            if n == 1:
                try:
                    continue_as_new(2)
                finally:
                    await undo(n)
            if n == 2:
                async with asyncio.TaskGroup() as group:
                    group.create_task(nested())
            return n

        async def nested() -> None:
            continue_as_new(3)

        @workflow(registry=world.registry)
        async def misfit(n: int) -> int:
            continue_as_new("1", "2")

        @workflow(registry=world.registry)
        async def in_a_step() -> None:
            await inside()

        @workflow(registry=world.registry)
        async def typed(n: int, *, until: int) -> int:
            if n < until:
                typed.continue_as_new(n + 1, until=until)
            return n

        @workflow(registry=world.registry)
        async def as_another() -> None:
            typed.continue_as_new(1, until=2)

        async with world.worker("A"):
            assert await (await world.client().start(typed, 1, until=3)).result(100) == 3
            with pytest.raises(RunFailed, match=r"as_another.continue_as_new\(...\), or start the other"):
                await (await world.start(as_another)).result(100)
            assert await (await world.start(flow, 1)).result(100) == 3
            assert undone == [1]
            with pytest.raises(RunFailed, match="ArgumentError"):
                await (await world.start(misfit, 1)).result(100)
            with pytest.raises(RunFailed) as caught:
                await (await world.start(in_a_step)).result(100)
            assert isinstance(caught.value.__cause__, NotInWorkflow)
        with pytest.raises(NotInWorkflow):
            continue_as_new(1)
        with pytest.raises(NotInWorkflow):
            typed.continue_as_new(1, until=1)

    run(main)


def test_how_a_child_s_end_is_seen() -> None:
    """Failed with its causes, cancelled and terminated by others, a key that is taken, a result that is too large."""

    async def main() -> None:
        world = World(payload_bytes_max=5_000)

        @workflow(registry=world.registry)
        async def fails() -> None:
            try:
                raise KeyError("inner")
            except KeyError as inner:
                raise ValueError("outer") from inner

        @workflow(registry=world.registry)
        async def waits() -> int:
            await sleep(50)
            return 1

        @workflow(registry=world.registry)
        async def large() -> str:
            return "x" * 6_000

        @workflow(registry=world.registry)
        async def parent(kind: str) -> str:
            flows: dict[str, Any] = {"fails": fails, "large": large, "taken": waits.with_options(key="k")}
            await flows.get(kind, waits)()
            return "completed"

        async def failure(kind: str, act: str = "") -> BaseException | None:
            started = await world.start(parent, kind)
            if act:
                await asyncio.sleep(1)
                (row,) = await client.list(parent=started.id)
                child = client.run(row.id)
                await (child.cancel("why") if act == "cancel" else child.terminate("why"))
            with pytest.raises(RunFailed) as caught:
                await started.result(100)
            return caught.value.__cause__

        client = world.client()
        async with world.worker("A"):
            failed = await failure("fails")
            assert isinstance(failed, ChildFailed)
            assert failed.workflow == "fails"
            assert isinstance(failed.__cause__, ValueError)
            assert isinstance(failed.__cause__.__cause__, KeyError)
            assert "outer" in str(failed)
            cancelled = await failure("waits", "cancel")
            assert isinstance(cancelled, ChildCancelled)
            assert str(cancelled).endswith("was cancelled: why")
            terminated = await failure("waits", "terminate")
            assert isinstance(terminated, ChildTerminated)
            assert terminated.message == "why"
            large_one = await failure("large")
            assert isinstance(large_one, ChildFailed)
            assert isinstance(large_one.__cause__, PayloadTooLarge)
            holder = await client.start(waits, key="k")
            taken = await failure("taken")
            assert isinstance(taken, ChildFailed)
            assert isinstance(taken.__cause__, StartConflict)
            assert taken.__cause__.run_id == holder.id
            assert await holder.result(100) == 1

    run(main)


@pytest.mark.parametrize(
    ("policy", "status"), [("cancel", "cancelled"), ("terminate", "terminated"), ("abandon", "completed")]
)
@pytest.mark.parametrize("ending", ["return", "fail", "cancel", "terminate", "continue"])
def test_every_end_of_a_parent_closes_its_children_by_policy(policy: Any, status: str, ending: str) -> None:
    """However the parent ends, from inside or outside."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def child() -> int:
            await sleep(20)
            return 1

        @workflow(registry=world.registry)
        async def parent(how: str) -> None:
            if how == "done":
                return
            child.with_options(parent_close=policy).start()
            await sleep(5)
            if how == "fail":
                raise ValueError(how)
            if how == "continue":
                continue_as_new("done")
            if how != "return":
                await sleep(1_000)

        async with world.worker("A"):
            started = await world.start(parent, ending)
            await asyncio.sleep(6)
            if ending == "cancel":
                await started.cancel()
            elif ending == "terminate":
                await started.terminate()
            await families(world)
            (row,) = [row for row in await world.rows() if row.workflow == "child"]
            assert row.status.name == status

    run(main)
