"""What is said of a run that does not end, and of one that is parked: where it stands, what is behind it, the user's
line and the way out. On a virtual clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World

from fencepost import errors, hook, sleep, step, workflow
from fencepost_store.protocol import Parked


def line_in(fn: Any, text: str) -> int:
    """The number of the line of the function that has the text."""
    import inspect

    lines, first = inspect.getsourcelines(fn)
    return first + next(number for number, line in enumerate(lines) if text in line)


async def parked_by(old: Callable[[World], Any], new: Callable[[World], Any], *, check: bool = False) -> Parked:
    """A run of the old code that waits for a signal is taken up by the new code, and parked."""
    world = World(build="old", check_replay=check)
    flow = old(world)
    async with world.worker("A"):
        started = await world.start(flow)
        await asyncio.sleep(60)
    world.registry.workflows.clear()
    world.registry.steps.clear()
    new(world)
    world.config = World(build="new").config
    async with world.worker("B"):
        await world.client().resume("t", 1)
        await asyncio.sleep(60)
        found = (await started.status()).parked
        assert found is not None, await world.shape(started)
        with pytest.raises(errors.ResultTimeout) as caught:
            await started.result(1)
    told = str(caught.value)
    assert "it is parked" in told
    assert found.recorded in told
    assert found.asked in told
    assert f"fencepost runs why {started.id}" in told
    assert "'new'" in told
    return found


def old_code(world: World) -> Any:
    @step(registry=world.registry)
    async def charge(n: int) -> int:
        return n

    @workflow(registry=world.registry, name="flow")
    async def flow() -> int:
        await charge(1)
        async with hook(int, token="t") as signal:
            return await signal

    return flow


def test_a_park_shows_the_exception_behind_it() -> None:
    """The new code fails before it asks for what the log has: an ArgumentError, with its line."""
    flows: list[Any] = []

    def new_code(world: World) -> Any:
        @step(registry=world.registry)
        async def charge(n: int, currency: str) -> int:
            return n

        @workflow(registry=world.registry, name="flow")
        async def flow() -> int:
            await charge(1)  # type: ignore[call-arg]  # pyright: ignore
            return 1

        flows.append(flow)
        return flow

    async def main() -> None:
        found = await parked_by(old_code, new_code)
        assert found.recorded == "step_created charge#1 (charge)"
        assert found.asked.startswith("nothing, it has ended, with fencepost.errors.ArgumentError: charge")
        assert "currency" in found.asked
        assert found.source == f"{__file__}:{line_in(flows[0].fn, 'await charge(1)')}"

    run(main)


@pytest.mark.parametrize("shape", ["gather", "task", "wait"])
def test_the_line_of_a_gathered_step_is_the_users_call(shape: str) -> None:
    """Each step's own, and not the line of gather or of the machinery below it."""
    flows: list[Any] = []

    def new_code(world: World) -> Any:
        @step(registry=world.registry)
        async def refund(n: int) -> int:
            return n

        @workflow(registry=world.registry, name="flow")
        async def flow() -> object:
            calls = [
                refund(1),  # the first
                refund(2),
            ]
            if shape == "gather":
                return await asyncio.gather(*calls)
            tasks = [asyncio.create_task(call) for call in calls]
            if shape == "wait":
                return await asyncio.wait(tasks)
            return [await task for task in tasks]

        flows.append(flow)
        return flow

    async def main() -> None:
        found = await parked_by(old_code, new_code)
        assert found.asked == "step_created refund#1 (refund)"
        assert found.source == f"{__file__}:{line_in(flows[0].fn, '# the first')}"

    run(main)


def test_a_line_of_ours_is_never_told() -> None:
    """A gathered sleep is asked for by no line of the user's: where the workflow waits is told."""
    flows: list[Any] = []

    def new_code(world: World) -> Any:
        @workflow(registry=world.registry, name="flow")
        async def flow() -> object:
            return await asyncio.gather(sleep(1), sleep(2))

        flows.append(flow)
        return flow

    async def main() -> None:
        found = await parked_by(old_code, new_code)
        assert found.source == f"{__file__}:{line_in(flows[0].fn, 'asyncio.gather')}"

    run(main)


def test_the_values_of_both_replays_are_told() -> None:
    """Where arguments are all that differs."""

    async def main() -> None:
        world = World(check_replay=True)
        count = iter(range(100))

        @step(registry=world.registry)
        async def work(n: int, *, unit: str = "s") -> int:
            return n

        @workflow(registry=world.registry)
        async def flow() -> int:
            return (await asyncio.gather(work(next(count), unit="h")))[0]

        flow_line = line_in(flow.fn, "next(count)")
        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(30)
            found = (await started.status()).parked
        assert found is not None
        assert "the values were (0, unit='h') and (1, unit='h')" in found.asked
        assert found.source == f"{__file__}:{flow_line}"

    run(main)


def test_a_run_whose_workflow_nobody_has_says_so_when_its_result_is_awaited() -> None:
    """Its queue and its workflow, and what to ask."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def known() -> int:
            async with hook(int, token="t") as signal:
                return await signal

        client = world.client()
        async with world.worker("A"):
            missing = await client.start("nobody_has_it", queue="default")
            with pytest.raises(errors.ResultTimeout) as caught:
                await missing.result(30)
            told = str(caught.value)
            assert told.startswith(f"run {missing.id} has not ended yet: within 30 s; it is pending")
            assert "queue 'default'" in told
            assert "workflow 'nobody_has_it'" in told
            assert f"fencepost runs why {missing.id}" in told
            waits = await world.start(known)
            with pytest.raises(errors.ResultTimeout, match="it is running") as again:
                await waits.result(30)
            assert f"fencepost runs why {waits.id}" in str(again.value)
            assert isinstance(again.value, TimeoutError)

    run(main)
