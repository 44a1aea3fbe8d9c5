"""Parameters of hooks, signals, answers and readers at their edges: a clear error, and nothing is written or fails."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World

from fencepost import ArgumentError, BadSignal, errors, hook, workflow
from fencepost.signal_errors import DeliveryConflict

TEXTS: list[tuple[Any, type[Exception], str]] = [
    (7, ArgumentError, "must be text"),
    (b"t", ArgumentError, "must be text"),
    ("", BadSignal, "empty"),
    ("a\0b", BadSignal, "NUL"),
    ("a\ud800b", BadSignal, "surrogate"),
    ("x" * 1_025, BadSignal, "1024"),
    ("é" * 513, BadSignal, "1026 bytes"),
]
SECONDS: list[tuple[Any, type[Exception]]] = [
    *((value, BadSignal) for value in (0, -1, math.nan, math.inf, -math.inf, 1e300, 10**400, timedelta(0), "10")),
    *((value, ArgumentError) for value in (True, b"1", [1], 1j)),
]


@pytest.mark.parametrize(("value", "kind", "said"), TEXTS)
def test_a_token_that_cannot_be_is_refused_where_it_is_given(value: Any, kind: type[Exception], said: str) -> None:
    """At ``hook()``, which used to fail the run with a NUL; and at each call of a client. Ids of deliveries alike."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> list[str]:
            with pytest.raises(kind, match=said) as raised:
                hook(int, token=value)
            return [str(raised.value)]

        async with world.worker("A"):
            started = await world.start(flow)
            (message,) = await started.result(30)
            assert "hook(token)" in message
            client = world.client()
            for call in (client.resume(value), client.ask(value), client.hook(value)):
                with pytest.raises(kind, match=said):
                    await call
            for call in (client.resume("t", id=value), client.ask("t", id=value)):
                with pytest.raises(kind, match=said):
                    await call

    run(main)


@pytest.mark.parametrize(("value", "kind"), SECONDS)
def test_a_time_that_cannot_be_is_refused_where_it_is_given(value: Any, kind: type[Exception]) -> None:
    """``respond=`` of a hook, ``wait=`` of a sender."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> None:
            with pytest.raises(kind, match="respond"):
                hook(int, token="t", respond=value)
            with pytest.raises(BadSignal, match="invalid"):
                hook(int, token="t", invalid=value)

        async with world.worker("A"):
            await (await world.start(flow)).result(30)
            for call in (world.client().resume("t", wait=value), world.client().ask("t", wait=value)):
                with pytest.raises(kind, match="wait"):
                    await call

    run(main)


@pytest.mark.parametrize("status", [0, 99, 100, 199, 600, 1_000, -200, 200.0, True, "200", math.nan, None, 10**30])
def test_an_impossible_status_is_refused_where_it_is_given(status: Any) -> None:
    _answers(1, status, BadSignal, "status")


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_without_a_body_takes_no_value(status: int) -> None:
    _answers(1, status, BadSignal, "no body")


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, [math.nan], {"a": {"b": -math.inf}}, {"a": [1, {"c": math.nan}]}]
)
def test_what_is_no_json_is_refused_where_it_is_given(value: Any) -> None:
    """NaN used to arrive as null, with status 200."""
    _answers(value, 200, errors.PayloadError, "answer of hook")


def _answers(value: Any, status: Any, kind: type[Exception], said: str) -> None:
    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> None:
            async with hook(int, token="t", respond=10) as numbers:
                await numbers
                with pytest.raises(kind, match=said):
                    numbers.respond(value, status=status)
                numbers.respond("after all")  # what was refused has not used up the answer

        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(1)
            assert (await world.client().ask("t", 1)).value == "after all"
            await started.result(30)

    run(main)


@pytest.mark.parametrize("start", [2**63, -(2**63) - 1, 2**64, 10**30, 1.0, "0", None, True, math.nan])
def test_a_streams_start_that_cannot_be_is_refused_where_it_is_given(start: Any) -> None:
    """It used to show the driver's words."""

    async def main() -> None:
        kind = BadSignal if isinstance(start, int) and not isinstance(start, bool) else ArgumentError
        with pytest.raises(kind, match="start="):
            World().client().run("00000000-0000-7000-8000-000000000000").stream("s", start=start)

    run(main)


def test_a_signal_may_wait_for_its_hook() -> None:
    """Start and signal at once: the sender looks again until the hook is open; it gives up at its own time."""

    async def main() -> None:
        world = World()
        loop = asyncio.get_running_loop()

        @workflow(registry=world.registry)
        async def flow() -> int:
            async with hook(int, token="t", respond=5) as numbers:
                n = await numbers
                numbers.respond(n + 1)
                return n

        client = world.client()
        started = await client.start(flow)
        with pytest.raises(errors.HookNotFound):
            await client.resume("t", 1)
        begun = loop.time()
        with pytest.raises(errors.HookNotFound):
            await client.resume("t", 1, wait=2)
        assert 2 <= loop.time() - begun < 2.5
        sending = asyncio.ensure_future(client.ask("t", 1, wait=timedelta(seconds=60)))
        await asyncio.sleep(5)
        async with world.worker("A"):
            assert (await sending).value == 2
            assert await started.result(30) == 1

    run(main)


def test_h180_what_a_stranger_sends_does_not_fail_the_run() -> None:
    """By default at hooks that webhooks reach; elsewhere the code is asked, or says itself what it wants."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow(token: str, http: bool, invalid: Any) -> list[int]:
            async with hook(int, token=token, http=http, invalid=invalid) as numbers:
                return [await numbers, await numbers]

        async with world.worker("A"):
            client = world.client()
            cases = [(True, None, True), (False, "drop", True), (True, "raise", False), (False, None, False)]
            for http, invalid, survives in cases:
                token = f"t-{http}-{invalid}"
                started = await client.start(flow, token, http, invalid)
                await asyncio.sleep(1)
                for value in (1, "no number", 2):
                    if survives or value != 2:
                        await client.resume(token, value)
                if survives:
                    assert await started.result(30) == [1, 2]
                else:
                    with pytest.raises(errors.RunFailed):
                        await started.result(30)

    run(main)


def test_h179_the_same_id_with_another_payload_is_a_conflict() -> None:
    """Before and after the hook has gone."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> int:
            async with hook(int, token="t") as numbers:
                return await numbers

        async with world.worker("A"):
            client = world.client()
            started = await client.start(flow)
            await asyncio.sleep(1)
            await client.resume("t", 1, id="d")
            for _ in range(2):
                with pytest.raises(DeliveryConflict) as raised:
                    await client.resume("t", 2, id="d")
                assert (raised.value.delivery, raised.value.run_id) == ("d", started.id)
                assert await client.resume("t", 1, id="d") == started.id
                assert await started.result(30) == 1

    run(main)
