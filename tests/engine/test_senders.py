"""Hooks as their senders see them: what is told of a hook, and what becomes of a signal around a hook's end."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from engine_virtual import run
from engine_world import Member, World

from fencepost import errors, hook, sleep, step, workflow
from fencepost.client import Client
from fencepost.replay.identity import seed_of
from fencepost_store.events import Event, EventType, NewEvent
from fencepost_store.protocol import Batch, StoreTrouble, TokenTrace


def signals(log: list[Event]) -> list[str | None]:
    """The delivery ids in a log."""
    return [event.dedupe for event in log if event.type is EventType.hook_received]


def test_a_sender_sees_the_run_the_type_and_the_metadata() -> None:
    """Before it sends anything; without any, the metadata is empty."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def asks() -> int:
            async with hook(int, token="a", metadata={"order": 7, "lines": ["x"]}, http=True) as first, hook(token="b"):
                return await first

        async with world.worker("A"):
            started = await world.start(asks)
            await asyncio.sleep(1)
            client = world.client()
            told = await client.hook("a")
            assert (told.run_id, told.workflow, told.hook, told.payload) == (started.id, "asks", "hook#1", "int")
            assert (told.metadata, told.http) == ({"order": 7, "lines": ["x"]}, True)
            created = next(event for event in await world.log(started) if event.type is EventType.hook_created)
            assert told.created_at.timestamp() == created.at / 1e6
            plain = await client.hook("b")
            assert (plain.metadata, plain.http) == ({}, False)

    run(main)


def test_unknown_disposed_and_ended_are_told_apart() -> None:
    """By class, with the run's id; all three are HookNotFound to who does not care."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def closes() -> None:
            async with hook(int, token="t"):
                await sleep(10)
            await sleep(10)

        async with world.worker("A"):
            client = world.client()

            async def told() -> errors.HookNotFound | None:
                errors_seen: list[errors.HookNotFound] = []
                for call in (lambda: client.hook("t"), lambda: client.resume("t", 1)):
                    try:
                        await cast(Any, call())
                    except errors.HookNotFound as error:
                        errors_seen.append(error)
                assert len({(type(error), str(error)) for error in errors_seen}) <= 1
                return errors_seen[0] if errors_seen else None

            unknown = await told()
            assert type(unknown) is errors.HookNotFound
            started = await world.start(closes)
            await asyncio.sleep(5)
            assert await told() is None
            await asyncio.sleep(10)
            disposed = await told()
            assert isinstance(disposed, errors.HookDisposed)
            assert (type(disposed), disposed.token, disposed.run_id) == (errors.HookDisposed, "t", started.id)
            await started.result(60)
            ended = await told()
            assert isinstance(ended, errors.HookRunEnded)
            assert ended.run_id == started.id
            again = type(ended).__new__(type(ended), *ended.args)
            assert again.args == ("t", started.id), "args rebuild it, for its way through a log"

    run(main)


@pytest.mark.parametrize("after", ["disposal", "the end", "another run took the token"])
def test_h103_a_signal_sent_again_after_its_hook_has_gone_is_answered_as_the_first_was(after: str) -> None:
    """The same run's id, and nothing is written anywhere."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def takes_one(rest: float) -> int:
            async with hook(int, token="t") as numbers:
                got = await numbers
            await sleep(rest)
            return got

        async with world.worker("A"):
            started = await world.start(takes_one, 1_000 if after == "disposal" else 0)
            await asyncio.sleep(1)
            client = world.client()
            assert await client.resume("t", 5, id="d") == started.id
            await asyncio.sleep(5)
            other = None
            if after == "another run took the token":
                other = await world.start(takes_one, 0)
                await asyncio.sleep(1)
            assert await client.resume("t", 5, id="d") == started.id
            assert signals(await world.log(started)) == ["d"]
            if other is not None:
                assert signals(await world.log(other)) == []
                assert await client.resume("t", 6, id="e") == other.id
                assert await other.result(10) == 6
            else:
                with pytest.raises(errors.HookDisposed):
                    await client.resume("t", 6, id="e")

    run(main)


def test_h103_a_signal_whose_reply_was_lost_counts_once_while_its_hook_listens() -> None:
    """The client sends again by itself, under the id that it gave at first."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def takes_all() -> list[int]:
            got: list[int] = []
            async with hook(int, token="t") as numbers:
                while not got or got[-1]:
                    got.append(await numbers)
            return got

        async with world.worker("A"):
            started = await world.start(takes_all)
            await asyncio.sleep(1)
            client = world.client()
            append = client._open.log._append  # pyright: ignore[reportPrivateUsage]
            lost: list[Batch] = []

            async def losing(batch: Batch) -> Any:
                verdict = await append(batch)
                if not lost:
                    lost.append(batch)
                    raise StoreTrouble("the reply is lost")
                return verdict

            client._open.log._append = losing  # pyright: ignore[reportPrivateUsage]
            await client.resume("t", 5)
            await client.resume("t", 0)
            assert (await started.result(10), len(lost)) == ([5, 0], 1)

    run(main)


def test_h103_the_reply_is_lost_and_the_hook_is_gone_before_the_sender_asks_again() -> None:
    """One call of the client's: it sends again by itself."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def takes_one() -> int:
            async with hook(int, token="t") as numbers:
                return await numbers

        async with world.worker("A") as a:
            started = await world.start(takes_one)
            await asyncio.sleep(1)
            client = world.client()
            append = client._open.log._append  # pyright: ignore[reportPrivateUsage]
            calls = 0

            async def losing(batch: Batch) -> Any:
                nonlocal calls
                calls += 1
                verdict = await append(batch)
                if calls == 1:
                    await client._tick(started.id, "default")  # pyright: ignore[reportPrivateUsage]
                    assert await started.result(10) == 5
                    raise StoreTrouble("the reply is lost")
                return verdict

            client._open.log._append = losing  # pyright: ignore[reportPrivateUsage]
            assert await client.resume("t", 5) == started.id
            assert calls == 2
            assert len(signals(await world.log(started))) == 1
            assert a.calls

    run(main)


def test_a_signal_that_meets_a_hook_just_closed_goes_to_the_next_of_that_token() -> None:
    """Closed and opened again between the sender's look and its append: a loop that uses one token."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def rounds() -> list[int]:
            got: list[int] = []
            for _ in range(3):
                async with hook(int, token="t") as numbers:
                    got.append(await numbers)
            return got

        async with world.worker("A"):
            started = await world.start(rounds)
            await asyncio.sleep(1)
            client, trace = world.client(), world.memory.trace_token
            looks = 0

            async def outrun(token: str, delivery: str | None = None) -> TokenTrace | None:
                nonlocal looks
                looks += 1
                found = await trace(token, delivery)
                if looks == 1:
                    world.memory.trace_token = trace  # type: ignore[method-assign]
                    await world.client().resume("t", 1)
                    await asyncio.sleep(1)
                return found

            world.memory.trace_token = outrun  # type: ignore[method-assign]
            await client.resume("t", 2)
            await asyncio.sleep(1)
            await client.resume("t", 3)
            assert await started.result(10) == [1, 2, 3]

    run(main)


def test_h13_one_token_in_a_loop_over_crashes_takes_every_signal_once() -> None:
    """Twelve hooks of one token in one run, one signal each, sent twice; the worker is ended in the middle."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def rounds() -> list[int]:
            got: list[int] = []
            for _ in range(12):
                async with hook(int, token="t") as numbers:
                    assert await numbers.conflict() is None
                    got.append(await numbers)
            return got

        async def send() -> None:
            client = world.client()
            for n in range(12):
                await _sent(client, n)
                await client.resume("t", n, id=f"d{n}")  # again, whatever has become of the hook since

        async with world.worker("A") as a:
            started = await world.start(rounds)
            a.crash_at("append.after", 8)
            sending = asyncio.ensure_future(send())
            await asyncio.wait_for(a.crashed.wait(), 100)
            async with world.worker("B"):
                assert await started.result(600) == list(range(12))
                await sending
        assert signals(await world.log(started)) == [f"d{n}" for n in range(12)]

    run(main)


async def _sent(client: Client, n: int) -> None:
    for _ in range(2_000):
        try:
            if (
                await client.hook("t")
            ).hook == f"hook#{n + 1}":  # what a hook has not handed out when it closes is lost
                await client.resume("t", n, id=f"d{n}")
                return
        except errors.HookNotFound:
            pass
        await asyncio.sleep(0.1)
    raise AssertionError(f"hook {n + 1} never came")


def test_default_tokens_cannot_be_computed_and_are_the_same_on_another_worker() -> None:
    """Told to a step before the hook is in the log; the worker dies, and another one replays."""

    async def main() -> None:
        world = World()
        told: list[str] = []

        @step(registry=world.registry)
        async def tell(token: str) -> None:
            told.append(token)

        @workflow(registry=world.registry)
        async def asks() -> tuple[str, int]:
            async with hook(int) as answer:
                await tell(answer.token)
                return answer.token, await answer

        async with world.worker("A") as a:
            a.crash_at("append.after", 1)
            started = await world.start(asks)
            await a.crashed.wait()
            async with world.worker("B") as b:
                other = await world.start(asks)
                await asyncio.sleep(60)
                assert b.seen["tick.replayed"] > 0
                (created,) = [e for e in await world.log(started) if e.type is EventType.hook_created]
                assert created.token is not None
                assert set(told) == {created.token, (await token_of(world, other))}
                assert len(set(told)) == 2
                assert created.token != seed_of(started.id, "hook#1")[:16].hex()
                assert len(bytes.fromhex(created.token)) == 16
                await world.client().resume(created.token, 3)
                assert await started.result(10) == (created.token, 3)

    run(main)


async def token_of(world: World, started: Any) -> str:
    """The token of the run's first hook."""
    found = [event.token for event in await world.log(started) if event.type is EventType.hook_created]
    assert found[0] is not None
    return found[0]


def test_a_second_start_with_the_same_arguments_is_no_conflict() -> None:
    """The runs' secrets differ, what the caller asked for does not."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow(n: int) -> int:
            return n

        client = world.client()
        first = await client.start("flow", 1, key="k", strict=True)
        again = await client.start(flow, 1, key="k", strict=True)  # type: ignore[call-arg]
        assert (again.id, again.created) == (first.id, False)
        with pytest.raises(errors.StartConflict):
            await client.start("flow", 2, key="k", strict=True)

    run(main)


def test_conflict_is_told_without_a_payload_and_names_the_owner() -> None:
    """In the same turn; the token's holder, and the way on, are the code's business."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def takes(rest: float) -> str:
            async with hook(int, token="t") as mine:
                clash = await mine.conflict()
                if clash is not None:
                    return clash.owner
                await sleep(rest)
                return "mine"

        async with world.worker("A"):
            holder = await world.start(takes, 100)
            await asyncio.sleep(1)
            assert await (await world.start(takes, 0)).result(1) == holder.id
            assert await holder.result(200) == "mine"

    run(main)


def test_a_signal_is_taken_by_hand_as_before() -> None:
    """A hook whose record this version cannot read is found, says nothing of itself, and takes signals."""

    async def main() -> None:
        world = World()
        client = world.client()

        @workflow(registry=world.registry)
        async def flow() -> None:
            await sleep(1)

        started = await client.start(flow)
        foreign = NewEvent(EventType.hook_created, "h", token="t", payload=b"\x7fother")
        await world.store.append([Batch(started.id, 1, (foreign,))])
        told = await client.hook("t")
        assert (told.payload, told.metadata, told.http) == ("", {}, False)
        assert await client.resume("t", 1) == started.id
        with pytest.raises(errors.HookNotFound):
            await client.resume("t", 2, http=True)

    run(main)
    assert Member
