"""Development mode: every turn replayed twice and compared, and traced. On a virtual clock."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World, at_once
from oracle import check
from tests.log_lines import captured

from fencepost import hook, patched, payload_codecs, sleep, step, workflow
from fencepost.authoring.workflow import Workflow
from fencepost.config import load_config
from fencepost.payload import encode
from fencepost.payload_keys import codecs_of
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch

Flow = Callable[[World], Workflow[..., Any]]


def deterministic(world: World) -> Workflow[..., Any]:
    """Steps in sequence and in parallel, waits, a hook, a retry, a patch, a failure that quotes an address."""
    tries: list[int] = []

    @step(registry=world.registry, first_delay=1.0)
    async def work(n: int) -> int:
        tries.append(n)
        if tries == [1]:
            raise ValueError("once")
        return n

    @workflow(registry=world.registry)
    async def flow() -> None:
        await asyncio.gather(work(1), work(2), sleep(3))
        async with hook(int, token="t") as numbers:
            try:
                async with asyncio.timeout(5):
                    await numbers
            except TimeoutError:
                await work(3 if patched("p") else 4)
        await sleep(1)
        raise ValueError(f"at {object()}")

    return flow


def counting(world: World) -> Workflow[..., Any]:
    """A global decides which step comes."""
    numbers = itertools.count()

    @step(registry=world.registry)
    async def even() -> None: ...

    @step(registry=world.registry)
    async def odd() -> None: ...

    @workflow(registry=world.registry)
    async def flow() -> None:
        await sleep(1)
        await (odd() if next(numbers) % 2 else even())

    return flow


def arguments(world: World) -> Workflow[..., Any]:
    """A global is passed to a step, on the hot path."""
    numbers = itertools.count()

    @step(registry=world.registry)
    async def work(n: int) -> int:
        return n

    @workflow(registry=world.registry)
    async def flow() -> None:
        await work(0)
        await work(next(numbers))

    return flow


def returning(world: World) -> Workflow[..., Any]:
    """The second replay waits where the first has ended."""
    numbers = itertools.count()

    @workflow(registry=world.registry)
    async def flow() -> None:
        if next(numbers) % 2:
            await sleep(10)

    return flow


def adding(world: World) -> Workflow[..., Any]:
    """Nothing but steps and a result."""

    @step(registry=world.registry)
    async def add(n: int) -> int:
        return n + 1

    @workflow(registry=world.registry)
    async def flow() -> int:
        return await add(await add(0))

    return flow


CASES: list[tuple[Flow, int, str, str]] = [
    (counting, 3, "step_created even#1 (even)", "step_created odd#1 (odd)"),
    (arguments, 4, "step_created work#2 (work)", "step_created work#2 (work) with other values"),
    (returning, 1, "run_completed", "wait_created sleep#1 (sleep)"),
]


@pytest.mark.parametrize(("flow", "seq", "recorded", "asked"), CASES, ids=[case[0].__name__ for case in CASES])
def test_code_that_is_not_deterministic_is_parked(flow: Flow, seq: int, recorded: str, asked: str) -> None:
    """With both replays and the line, and before it is in the log."""

    async def main() -> None:
        world = World(check_replay=True)
        made = flow(world)
        async with world.worker("A"):
            started = await world.start(made)
            await asyncio.sleep(30)
            parked = (await started.status()).parked
            assert parked is not None, await world.shape(started)
            assert parked.recorded == f"{recorded} as this turn asked"
            assert parked.asked.startswith(f"{asked}, when")
            assert parked.seq >= seq, "the log that both have seen"
            assert "not deterministic" in parked.asked
            assert "test_rehearsal.py" in parked.source
            assert len(await world.log(started)) < 8

    run(main)


@pytest.mark.parametrize("flow", [counting, arguments, returning])
def test_without_the_check_it_goes_unnoticed(flow: Flow) -> None:
    """Until the run is replayed for another reason."""

    async def main() -> None:
        world = World()
        made = flow(world)
        async with world.worker("A"):
            await (await world.start(made)).result(60)

    run(main)


@pytest.mark.parametrize("settings", [{"check_replay": True}, {"trace": True}, {}], ids=str)
def test_code_that_is_deterministic_goes_its_way(settings: dict[str, Any]) -> None:
    """Its events are the same, checked, traced or neither."""

    async def main() -> list[str]:
        world = World(**settings)
        made = deterministic(world)
        async with world.worker("A"):
            started = await world.start(made)
            await asyncio.sleep(60)
            assert (await started.status()).status == "failed"
            check(await world.log(started))
            return await world.shape(started)

    assert run(main)[-1] == "run_failed"


def test_two_workers_trace_the_same_of_the_same_log() -> None:
    """Digests of log and decision, by which a disagreement can be found."""

    async def main() -> list[tuple[int, str, str, tuple[str, ...]]]:
        world = World(trace=True)
        made = deterministic(world)
        with captured() as said:
            async with world.worker("A"):
                started = await world.start(made)
                await asyncio.sleep(60)
                assert (await started.status()).status == "failed"
        return [
            (line["seq"], line["log"], line["decision"], tuple(line["events"]))
            for line in said
            if line["event"] == "turn_traced" and line["run"] == started.id
        ]

    lines = run(main)
    assert len(lines) >= 5
    assert [line[0] for line in lines] == sorted({line[0] for line in lines}), "one line per turn"
    assert len({line[1] for line in lines}) == len(lines), "another log, another digest"
    assert lines[-1][3] == ("wait_completed sleep#1", "run_failed")


def test_a_signal_that_lands_meanwhile_is_a_conflict_and_no_difference() -> None:
    """The second replay is of what the turn has seen, whatever stands behind it by now."""

    async def main() -> None:
        world = World(check_replay=True, divergence="fail")  # which no fence would hold up

        @workflow(registry=world.registry)
        async def flow() -> str:
            async with hook(int, token="t") as numbers:
                try:
                    async with asyncio.timeout(5):
                        return f"got {await numbers}"
                except TimeoutError:
                    return "late"

        async with world.worker("A") as a:
            started = await world.start(flow)
            await asyncio.sleep(3)

            def land() -> None:
                listening = at_once(world.store.find_hook("t"))
                assert listening is not None
                signal = NewEvent(EventType.hook_received, listening.entity, dedupe="d", payload=encode(7))
                at_once(world.store.append([Batch(run_id=started.id, fence=None, events=(signal,))]))

            a.at("tick.replayed", a.seen["tick.replayed"] + 1, land)
            assert await started.result(60) == "got 7"
            shape = await world.shape(started)
            assert "wait_completed timeout#1" not in shape, "the turn that fired it lost its fence"

    run(main)


@pytest.mark.parametrize("chain", [("aes-gcm",), ("zlib", "aes-gcm")], ids=str)
def test_encrypted_values_are_compared_by_what_they_hold(chain: tuple[str, ...]) -> None:
    """Equal values have other bytes each time (their nonce is random), which is no difference; other values are one."""
    keys = f"k:{base64.b64encode(bytes(32)).decode()}"
    environ = {"FENCEPOST_PAYLOAD_CODECS": ",".join(chain), "FENCEPOST_PAYLOAD_KEYS": keys}

    async def main(flow: Flow) -> str:
        world = World(check_replay=True)
        made = flow(world)
        async with world.worker("A"):
            started = await world.start(made)
            await asyncio.sleep(60)
            return (await started.status()).status

    with payload_codecs.using(codecs_of(load_config(None, environ))):
        assert run(lambda: main(deterministic)) == "failed"
        assert run(lambda: main(adding)) == "completed"
        assert run(lambda: main(arguments)) == "parked"


def _visits(world: World, order: list[str]) -> Workflow[..., Any]:
    @step(registry=world.registry)
    async def visit(city: str) -> str:
        return city

    @workflow(registry=world.registry)
    async def tour() -> list[str]:
        seen = [await visit(city) for city in order[:3]]
        async with hook(int, token="go") as go:
            await go
        return seen + [await visit(city) for city in order[3:]]

    return tour


@pytest.mark.parametrize("development", [True, False])
def test_other_arguments_in_another_process_park_in_development_and_are_told_else(development: bool) -> None:
    """As the order of a set would show after a kill: the same steps with other cities."""

    async def main() -> None:
        cities = ["oslo", "rome", "bern", "kyiv"]
        world = World(check_replay=development)
        flow = _visits(world, cities)
        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(3)
        again = World(check_replay=development, store=world.store)
        _visits(again, ["rome", "oslo", "bern", "kyiv"])
        world.registry = again.registry
        with captured() as logs:
            async with world.worker("B"):
                await world.client().resume("go", 1)
                if development:
                    await asyncio.sleep(30)
                    row = await started.status()
                    assert row.status == "parked"
                    assert row.parked is not None
                    assert row.parked.recorded == "step_created visit#1 (visit) with ('oslo')"
                    assert row.parked.asked.startswith(
                        "step_created visit#1 (visit) with ('rome'): a workflow must call"
                    )
                    assert all(word in row.parked.asked for word in ("order of a set", "clock", "chance", "global"))
                    assert "test_rehearsal.py" in row.parked.source
                    return
                assert await started.result(30) == ["oslo", "rome", "bern", "kyiv"], "the recorded ones count"
        (told,) = [line for line in logs if line["event"] == "arguments_changed"]
        assert told["entities"] == ["visit#1", "visit#2"]
        assert ("oslo" in told["recorded"], "rome" in told["asked"]) == (True, True)

    run(main)


@pytest.mark.parametrize("change", ["retries", "default", "type"])
def test_a_change_of_options_defaults_or_types_parks_nothing(change: str) -> None:
    """Somebody works on the code while runs are open: what is recorded counts, and it is told as such."""

    async def main() -> None:
        def build(world: World, changed: bool) -> Workflow[..., Any]:
            retries = 7 if changed and change == "retries" else 3

            async def plain(city: str, nights: int = 1) -> int:
                return nights

            async def other_default(city: str, nights: int = 2) -> int:
                return nights

            async def other_type(city: str, nights: float = 1) -> int:
                return int(nights)

            code = {"default": other_default, "type": other_type}.get(change, plain) if changed else plain
            visit: Any = step(registry=world.registry, name="visit", retries=retries)(code)

            @workflow(registry=world.registry)
            async def tour() -> int:
                nights: int = await visit("oslo")
                async with hook(int, token="go") as go:
                    return nights + await go

            return tour

        world = World(check_replay=True)
        flow = build(world, False)
        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(3)
        again = World(check_replay=True, store=world.store)
        build(again, True)
        world.registry = again.registry
        with captured() as logs:
            async with world.worker("B"):
                await world.client().resume("go", 10)
                assert await started.result(60) == 11
        assert [
            line["event"] for line in logs if line["event"] in ("arguments_changed", "call_changed", "run_parked")
        ] in (
            ["call_changed"],
            [],
        )

    run(main)
