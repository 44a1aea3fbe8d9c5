"""Signals over ``continue_as_new``: what was accepted is delivered once, in order, across the chain (H173, H174, H175).
On a virtual clock, by construction."""

from __future__ import annotations

import asyncio
import logging

import pytest
from chain_flows import CLOSINGS, ROUNDS, chain, logs
from engine_flows import land_signal
from engine_virtual import run
from engine_world import World, at_once
from oracle import check

from fencepost import continue_as_new, errors, hook, sleep, workflow
from fencepost.cli.waiting import waiting
from fencepost.records import HookDisposed, unpack
from fencepost_store.events import EventType
from fencepost_store.protocol import RunStatus


@pytest.mark.parametrize("closing", CLOSINGS)
def test_h173_payloads_that_nobody_has_taken_go_over_to_the_run_that_goes_on(closing: str) -> None:
    """All are sent before the first run has taken one; each run takes one: in order, once."""

    async def main() -> None:
        world = World()
        got: list[int] = []
        flow = chain(world, closing, got)
        async with world.worker("A"):
            client = world.client()
            started = await client.start(flow)
            await asyncio.sleep(1)
            for n in range(ROUNDS):
                await client.resume("t", n, id=f"d{n}")
            assert await started.result(60) == "at last"
        assert got == list(range(ROUNDS))
        assert len(await logs(world)) == ROUNDS

    run(main)


@pytest.mark.parametrize("closing", CLOSINGS)
def test_h174_a_payload_that_lands_between_the_end_of_the_code_and_the_runs_end_goes_over(closing: str) -> None:
    """The turn that ends the run loses its fence to the signal. The replay's code does not see it, for it has come to
    its end before; the run that goes on does."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def two(got: list[int]) -> list[int]:
            numbers = hook(int, token="t")
            got = [*got, await numbers]
            if closing == "before it":
                numbers.close()
            if len(got) == 2:
                return got
            if closing == "never":
                continue_as_new(got)
            async with numbers:
                continue_as_new(got)

        async with world.worker("A") as a:
            client = world.client()
            started = await client.start(two, [])
            await asyncio.sleep(1)
            a.at("append.before", a.seen["append.before"] + 1, lambda: land_signal(world, "t", 1, "second"))
            await client.resume("t", 0, id="first")
            assert await started.result(60) == [0, 1]
        first, second = await logs(world)
        kinds = [event.type for event in first if event.type is not EventType.hook_disposed]
        assert kinds[-3:] == [EventType.hook_received, EventType.hook_received, EventType.run_continued]
        assert [event.dedupe for event in second if event.type is EventType.hook_received] == ["second"]

    run(main)


@pytest.mark.parametrize("closing", CLOSINGS)
def test_h175_a_sender_is_never_refused_while_the_run_goes_on_as_another(closing: str) -> None:
    """At each point that a worker passes, from the first hook to the last, the token has somebody who listens."""

    async def main() -> None:
        world = World()
        got: list[int] = []
        refused: list[str] = []
        sent = 0
        flow = chain(world, closing, got)
        async with world.worker("A") as a:
            client = world.client()
            started = await client.start(flow)
            await asyncio.sleep(1)
            appending = ("append.before", "append.after", "successor.started")
            points = ("tick.replayed", *appending, "settle.before", "end.done")

            def look(point: str) -> None:
                nonlocal sent
                if at_once(world.store.find_hook("t")) is None and len(got) < ROUNDS:
                    refused.append(point)
                elif sent < ROUNDS:
                    land_signal(world, "t", sent, f"d{sent}")
                    sent += 1

            for point in points:
                for n in range(a.seen.get(point, 0) + 1, a.seen.get(point, 0) + 60):
                    a.at(point, n, lambda point=point: look(point))
            land_signal(world, "t", sent, "d")
            sent += 1
            assert await started.result(300) == "at last"
        assert refused == []
        assert got == list(range(ROUNDS))

    run(main)


@pytest.mark.parametrize("point", ["append.after", "successor.started", "settle.before"])
def test_h173_a_worker_that_dies_behind_the_end_leaves_nothing_behind(point: str) -> None:
    """Another worker finds the successor there, with all that it inherits, and creates it no second time."""

    async def main() -> None:
        world = World()
        got: list[int] = []
        flow = chain(world, "leaves the block", got, rounds=2)
        async with world.worker("A") as a:
            client = world.client()
            started = await client.start(flow)
            await asyncio.sleep(1)
            for n in (0, 1):
                await client.resume("t", n, id=f"d{n}")

            def crash_at_the_end() -> None:
                if any(row.status is RunStatus.continued for row in at_once(world.rows())):
                    a.crash()

            for n in range(1, 20):
                a.at(point, a.seen.get(point, 0) + n, crash_at_the_end)
            await a.crashed.wait()
            async with world.worker("B"):
                assert await started.result(120) == "at last"
        assert sorted(set(got)) == [0, 1]
        first, second = await logs(world)
        assert [event.dedupe for event in first if event.type is EventType.hook_received] == ["d0", "d1"]
        assert [event.dedupe for event in second if event.type is EventType.hook_received] == ["d1"]

    run(main)


def test_h103_a_signal_sent_again_after_the_change_is_answered_as_the_first_was() -> None:
    """Whether it was taken before the change, or went over: the same run's id, and it is not taken in again."""

    async def main() -> None:
        world = World()
        got: list[int] = []
        flow = chain(world, "leaves the block", got, rounds=3)
        async with world.worker("A"):
            client = world.client()
            started = await client.start(flow)
            await asyncio.sleep(1)
            for n in (0, 1):
                land_signal(world, "t", n, f"d{n}")
            await client.resume("t", 0, id="d0")
            await asyncio.sleep(5)
            assert got == [0, 1]
            for _ in range(2):
                for n in (0, 1):
                    assert await client.resume("t", n, id=f"d{n}") == started.id
            await asyncio.sleep(5)
            assert got == [0, 1]
            await client.resume("t", 2, id="d2")
            assert await started.result(60) == "at last"
            for n in (0, 1):
                assert await client.resume("t", n, id=f"d{n}") == started.id
        assert got == [0, 1, 2]

    run(main)


def test_h173_an_answer_comes_from_the_run_that_goes_on() -> None:
    """A sender who waits for it is not sent away by the change, and hears the same when it asks again."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def main_flow(generation: int = 1) -> None:
            async with hook(int, token="t", respond=20) as numbers:
                n = await numbers
                if generation == 1:
                    numbers.respond("first")
                    await sleep(5)
                    continue_as_new(2)
                numbers.respond(f"second {n}")

        async with world.worker("A"):
            client = world.client()
            await client.start(main_flow)
            await asyncio.sleep(1)
            assert (await client.ask("t", 1, id="a")).value == "first"
            reply = await client.ask("t", 2, id="b")
            assert (reply.status, reply.value) == (200, "second 2")
            again = await client.ask("t", 2, id="b")
            assert (again.status, again.value, again.run_id) == (200, "second 2", reply.run_id)

    run(main)


def test_h173_what_the_run_that_goes_on_never_asks_for_is_held_and_shown() -> None:
    """Under its token, on to the next of the chain; `why` tells, and a hook that opens late gets it."""

    async def main() -> None:
        world = World()
        got: list[str] = []

        @workflow(registry=world.registry)
        async def phases(phase: int = 1) -> str:
            if phase == 1:
                async with hook(str, token="t"), hook(str, token="go") as go:
                    await go
                    continue_as_new(2)
            if phase == 2:
                await sleep(10)
                continue_as_new(3)
            await sleep(10)
            async with hook(str, token="t") as words:
                got.extend([await words, await words])
            return "read"

        async with world.worker("A"):
            client = world.client()
            started = await client.start(phases)
            await asyncio.sleep(1)
            await client.resume("t", "one")
            await client.resume("go", "")
            await asyncio.sleep(5)
            second = next(row for row in await world.rows() if not row.status.ended)
            assert (await client.hook("t")).run_id == second.run_id
            loaded = await world.store.load(second.run_id)
            assert loaded is not None
            held = next(wait for wait in waiting(loaded) if wait.as_json["kind"] == "held")
            assert (held.as_json["token"], held.as_json["count"]) == ("t", 1)
            assert await client.resume("t", "two") == second.run_id
            await asyncio.sleep(10)
            with pytest.raises(errors.HookNotFound):  # it had no payload when the run left it unopened
                await client.resume("go", "")
            assert await started.result(60) == "read"
        assert got == ["one", "two"]
        await logs(world)

    run(main)


def test_h174_a_hook_that_is_closed_with_payloads_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """In a log line, and in `why`; so does a run that ends with them, and one that never opened what it inherited."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def closes(then: str) -> str:
            async with hook(int, token=f"t-{then}"), hook(int, token=f"go-{then}") as go:
                await go
                if then == "ends":
                    return then
            await sleep(1)
            return then

        async with world.worker("A"):
            client = world.client()
            for then in ("closes", "ends"):
                started = await client.start(closes, then)
                await asyncio.sleep(1)
                for n in range(3):
                    await client.resume(f"t-{then}", n)
                caplog.clear()
                with caplog.at_level(logging.WARNING, "fencepost"):
                    await client.resume(f"go-{then}", 0)
                    assert await started.result(60) == then
                said = [vars(record) for record in caplog.records]
                told = [one["fields"] for one in said if one["event"] == "signals_untaken"]
                assert [(line["token"], line["count"]) for line in told] == [(f"t-{then}", 3)]
                log = await world.log(started)
                disposed = [e for e in log if e.type is EventType.hook_disposed and e.payload]
                assert [len(unpack(event.payload, HookDisposed).untaken) for event in disposed] == [3]
                loaded = await world.store.load(started.id)
                assert loaded is not None
                untaken = [wait.as_json for wait in waiting(loaded) if wait.as_json["kind"] == "untaken"]
                assert [(one["token"], one["count"]) for one in untaken] == [(f"t-{then}", 3)]

    run(main)


def test_h174_a_payload_that_lands_while_its_hook_is_closed_is_counted() -> None:
    """The code had closed it before: nobody takes it, and hook_disposed says so."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def closes() -> str:
            async with hook(int, token="t") as numbers:
                await numbers
            await sleep(1)
            return "closed"

        async with world.worker("A") as a:
            client = world.client()
            started = await client.start(closes)
            await asyncio.sleep(1)
            land = a.seen["append.before"] + 1
            a.at("append.before", land, lambda: land_signal(world, "t", 2, "late"))
            await client.resume("t", 1)
            assert await started.result(60) == "closed"
            log = await world.log(started)
            disposed = next(event for event in log if event.type is EventType.hook_disposed)
            assert len(unpack(disposed.payload, HookDisposed).untaken) == 1
            check(log)

    run(main)
