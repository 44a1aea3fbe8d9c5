"""Two versions of the code beside each other: what a worker's code cannot do is no fact about a step or a run."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World
from oracle import check

from fencepost import continue_as_new, errors, hook, sleep, step, workflow
from fencepost.authoring.registry import Registry
from fencepost.records import StepCreated, unpack
from fencepost_store.events import EventType

Make = Callable[[Registry], Any]


@dataclasses.dataclass
class Order:
    """As the old code has it."""

    number: int


def newer() -> type:
    """The class of that name as the new code has it."""
    return dataclasses.make_dataclass("Order", [("number", int), ("currency", str)], namespace={"__module__": __name__})


async def beside(world: World, new: Registry, old: Registry, flow: Any, *args: Any) -> Any:
    """The result of a run that new code starts and old code gets to see first, at each of its messages."""
    world.registry = old
    async with world.worker("old1"), world.worker("old2"):
        started = await world.start(flow, *args)
        await asyncio.sleep(1)
        world.registry = new
        async with world.worker("new"):
            result = await started.result(60)
        check(await world.log(started))
        return result


def test_h131_a_step_that_only_new_code_has() -> None:
    """The new worker dies with the step on its way: the old ones leave it to the next new one."""

    async def main() -> None:
        world = World()
        old, new = Registry(), world.registry

        @step(registry=new)
        async def added() -> str:
            return "new"

        @workflow(registry=new, name="flow")
        async def flow() -> str:
            return await added()

        @workflow(registry=old, name="flow")
        async def before() -> str:
            return await added()

        world.registry = old
        async with world.worker("old"):
            started = await world.start(flow)
            await asyncio.sleep(1)
            assert await world.shape(started) == ["run_created", "run_started", "step_created added#1"]
            world.registry = new
            async with world.worker("new"):
                assert await started.result(2) == "new"

    run(main)


def test_h131_arguments_that_a_signature_cannot_take() -> None:
    """A new parameter with a default: the old code refuses what it cannot take."""

    async def main() -> None:
        world = World()
        old, new = Registry(), world.registry
        did: list[str] = []
        made: Any = newer()

        def build(registry: Registry, order: Any, *, wider: bool) -> tuple[Any, Any]:
            async def charge(order: Any, currency: str = "EUR") -> str:
                did.append("new")
                return f"{order.number} {currency}"

            async def narrow(order: Any) -> str:
                did.append("old")
                return f"{order.number}"

            body = charge if wider else narrow
            body.__annotations__["order"] = order
            return step(registry=registry, name="charge", queue="steps")(body), order

        new_charge, _ = build(new, made, wider=True)
        build(old, Order, wider=False)

        @workflow(registry=new)
        async def flow(currency: str) -> str:
            if currency:
                return await new_charge(made(1, "x"), currency)
            return await new_charge(made(1, "x"))

        world.config = World(queues=("steps",)).config
        world.registry = old
        async with world.worker("old"):
            world.config = World(queues=("default",)).config
            world.registry = new
            async with world.worker("turns"):
                wide = await world.start(flow, "USD")
                await asyncio.sleep(20)
                assert (await world.shape(wide))[-1] == "step_created charge#1", "neither started nor failed"
                assert did == []
                world.config = World(queues=("steps",)).config
                async with world.worker("new"):
                    assert await wide.result(2) == "1 USD"
                assert did == ["new"]

    run(main)


def test_h133_a_workflow_s_input_of_a_newer_client() -> None:
    """Neither its first turn nor a later one by old code ends the run."""

    async def main() -> None:
        world = World()
        old, new = Registry(), world.registry

        @workflow(registry=new, name="flow")
        async def flow(number: int, currency: str = "EUR") -> str:
            async with hook(str, token="go") as go:
                return f"{number} {currency} {await go}"

        @workflow(registry=old, name="flow")
        async def before(number: int) -> str:
            async with hook(str, token="go") as go:
                return f"{number} {await go}"

        world.registry = old
        async with world.worker("old") as member:
            started = await world.start(flow, 1, "USD")
            by_name = await world.client().start("flow", 1, 2, 3)
            await asyncio.sleep(5)
            assert await world.shape(started) == await world.shape(by_name) == ["run_created"]
            assert member.calls.count(("queue", "refuse")) == 2
            (seen,) = [one for one in await world.server.client("x").peek("default", 9) if started.id in one.key]
            assert "too many positional arguments" in seen.why
            world.registry = new
            async with world.worker("new"):
                await asyncio.sleep(1)
                assert (await started.status()).status == "running"
            await world.client().resume("go", "on")
            await asyncio.sleep(5)
            assert (await started.status()).status == "running", "the old code has met it again, and left it"
            async with world.worker("newer"):
                assert await started.result(2) == "1 USD on"
            assert (await by_name.status()).status == "pending"

    run(main)


@pytest.mark.parametrize("kind", ["step", "child", "signal"])
def test_h133_values_of_newer_code(kind: str) -> None:
    """A result of a step or child, and a signal, of the type that the new code has: old code that meets them in a
    replay cannot read them, and leaves the run."""

    async def main() -> None:
        world = World()
        old, new = Registry(), world.registry

        def build(registry: Registry, shape: Any, value: Any) -> Any:
            async def give() -> Any:
                return value

            give.__annotations__["return"] = shape
            giving = step(registry=registry)(give)

            async def child() -> Any:
                return value

            child.__annotations__["return"] = shape
            childish = workflow(registry=registry)(child)

            @workflow(registry=registry, name="flow")
            async def flow() -> str:
                if kind == "step":
                    got: Any = await giving()
                elif kind == "child":
                    got = await childish()
                else:
                    async with hook(Order if registry is new else newer(), token="value") as values:
                        got = (await values).number
                async with hook(str, token="go") as go:
                    return f"{got} {await go}"

            return flow

        flow = build(new, dict[str, int], {"a": 1})
        build(old, int, 1)
        async with world.worker("new"):
            started = await world.start(flow)
            await asyncio.sleep(1)
            if kind == "signal":
                await world.client().resume("value", {"number": 1})
                await asyncio.sleep(1)
        world.registry = old
        async with world.worker("old") as member:
            await world.client().resume("go", "on")
            await asyncio.sleep(5)
            assert (await started.status()).status == "running"
            assert member.calls.count(("queue", "refuse")) > 0
            assert (await world.log(started))[-1].type is EventType.hook_received
            world.registry = new
            async with world.worker("newer"):
                assert await started.result(2) == ("1 on" if kind == "signal" else "{'a': 1} on")

    run(main)


def test_h133_a_run_that_goes_on_in_renamed_code() -> None:
    """continue_as_new: its successor has the old name, which the new code does not know; old code goes on."""

    async def main() -> None:
        world = World()
        old, new = world.registry, Registry()

        @workflow(registry=old, name="poll")
        async def poll(page: int) -> int:
            if page < 3:
                await sleep(2)
                continue_as_new(page + 1)
            return page

        @workflow(registry=new, name="poll2")
        async def renamed(page: int) -> int:
            return page

        assert renamed.name == "poll2"
        assert await beside(world, old, new, poll, 1) == 3

    run(main)


def test_h132_innocent_runs_beside_a_foreign_application_are_quick() -> None:
    """Two applications on one queue: 30 trivial runs of each, with a step each, none of them waits for pauses."""

    async def main() -> None:
        world = World()
        mine, foreign = world.registry, Registry()

        def build(registry: Registry, name: str) -> Any:
            @step(registry=registry, name=f"step_{name}")
            async def trivial() -> str:
                return name

            @workflow(registry=registry, name=f"flow_{name}")
            async def flow() -> str:
                return await trivial()

            return flow

        flows = [build(mine, "mine"), build(foreign, "foreign")]
        async with world.worker("A1"), world.worker("A2"):
            world.registry = foreign
            async with world.worker("B1"), world.worker("B2"):
                runs = [await world.start(flow) for _ in range(30) for flow in flows]
                async with asyncio.timeout(3):
                    results = await asyncio.gather(*(one.result(60) for one in runs))
                assert results == ["mine", "foreign"] * 30

    run(main)


def test_h131_only_the_callers_own_code_blames_the_arguments() -> None:
    """Arguments that a class refuses when they are read again: the step's error where that code has written them."""

    async def main() -> None:
        world = World()
        refusing = False

        @dataclasses.dataclass
        class Strict:
            number: int

            def __post_init__(self) -> None:
                if refusing:
                    raise ValueError("not today")

        async def charge(order: Any) -> None: ...

        charge.__annotations__["order"] = Strict
        made = step(registry=world.registry, retries=5)(charge)

        @workflow(registry=world.registry)
        async def flow() -> str:
            try:
                await made(Strict(1))
            except errors.PayloadError as error:
                return str(error)
            return ""

        def flip() -> None:
            nonlocal refusing
            refusing = True

        async with world.worker("A") as a:
            a.at("append.after", 1, flip)
            started = await world.start(flow)
            assert "not today" in await started.result(60)
            (created,) = [e for e in await world.log(started) if e.type is EventType.step_created]
            assert unpack(created.payload, StepCreated).fingerprint == made.arguments.fingerprint
            assert a.calls.count(("queue", "refuse")) == 0

    run(main)


def test_h131_a_step_s_time_is_kept_by_workers_that_lack_it() -> None:
    """schedule_to_start of a step that nobody has, found by an executor that could not run it."""

    async def main() -> None:
        world = World()
        elsewhere = Registry()

        @step(registry=elsewhere, schedule_to_start=timedelta(seconds=5))
        async def absent() -> None: ...

        @workflow(registry=world.registry)
        async def flow() -> str:
            try:
                await absent()
            except errors.StepTimeout as late:
                return late.which or ""
            return "ran"

        async with world.worker("A"):
            assert await (await world.start(flow)).result(60) == "schedule_to_start"

    run(main)
