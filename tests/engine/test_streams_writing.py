"""How steps and workflows write streams: buffers, ends, limits, retries. Virtual clock, but for threads."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World

from fencepost import current, errors, step, stream, stream_errors, workflow
from fencepost.chunks import RAW
from fencepost.client.run import Run
from fencepost_store.events import EventType
from fencepost_store.streams import StreamVerdict, StreamWrite


async def collected(started: Run[Any], name: str = "s") -> list[Any]:
    """What a reader sees until the end."""
    return [chunk async for chunk in started.stream(name)]


def test_all_is_written_before_the_step_s_end_is_in_the_log() -> None:
    """Also without a block, and also of a step that fails."""

    async def main() -> None:
        world = World()
        tails: list[int] = []

        @step(registry=world.registry, retries=0)
        async def produce(fails: bool) -> None:
            out = await stream("s", int, shared=True).__aenter__()
            for n in range(10):
                await out.write(n)
            if fails:
                raise ValueError("no luck")

        @workflow(registry=world.registry)
        async def flow(fails: bool) -> None:
            await produce(fails)

        real = world.memory.append
        land = world.memory.write_stream

        async def slow(write: StreamWrite) -> StreamVerdict:
            await asyncio.sleep(1)
            return await land(write)

        world.memory.write_stream = slow  # type: ignore[method-assign]

        async def append(batches: Any, *, wait: bool = True) -> Any:
            for batch in batches:
                if any(event.type in (EventType.step_completed, EventType.step_failed) for event in batch.events):
                    page = await world.memory.read_stream(batch.run_id, "s", 0, limit=1, bytes_max=1)
                    tails.append(0 if page is None else page.tail)
            return await real(batches, wait=wait)

        world.memory.append = append  # type: ignore[method-assign]
        async with world.worker("A"):
            for fails in (False, True):
                started = await world.start(flow, fails)
                assert await collected(started) == list(range(10))
        assert tails == [10, 10]

    run(main)


def test_leaving_the_block_closes_the_stream_unless_it_is_shared_or_the_body_failed() -> None:
    async def main() -> None:
        world = World()
        closed: list[bool] = []

        @step(registry=world.registry, retries=0)
        async def produce(name: str, shared: bool, fails: bool) -> None:
            async with stream(name, int, shared=shared) as out:
                await out.write(1)
                if fails:
                    raise ValueError("no luck")

        @workflow(registry=world.registry)
        async def flow() -> None:
            await produce("a", False, False)
            await produce("b", True, False)
            await produce("c", False, True)

        async with world.worker("A"):
            started = await world.start(flow)
            with pytest.raises(errors.RunFailed):
                await started.result(60)
            closed = [info.closed for info in await started.streams()]
            assert closed == [True, False, False]
            assert [await collected(started, name) for name in "abc"] == [[1], [1], [1]]

    run(main)


def test_several_steps_share_a_stream() -> None:
    async def main() -> None:
        world = World()

        @step(registry=world.registry)
        async def part(n: int) -> None:
            async with stream("s", str, shared=True) as out:
                for m in range(3):
                    await out.write(f"{n}.{m}")
                    await asyncio.sleep(0.1)

        @step(registry=world.registry)
        async def end() -> None:
            async with stream("s", str):
                pass

        @workflow(registry=world.registry)
        async def flow() -> None:
            await asyncio.gather(*(part(n) for n in range(4)))
            await end()
            await asyncio.Event().wait()

        async with world.worker("A"):
            started = await world.start(flow)
            chunks = await collected(started)
            assert sorted(chunks) == [f"{n}.{m}" for n in range(4) for m in range(3)]
            for n in range(4):
                assert [one for one in chunks if one.startswith(f"{n}.")] == [f"{n}.{m}" for m in range(3)]
            assert not (await started.status()).ended

    run(main)


def test_a_closed_stream_refuses_and_the_step_is_not_retried() -> None:
    """In the same attempt, and from another step; a body may handle it."""

    async def main() -> None:
        world = World()
        tries: list[int] = []

        @step(registry=world.registry)
        async def produce() -> None:
            async with stream("s", int) as out:
                await out.write(1)
            async with stream("s", int) as out:
                with pytest.raises(stream_errors.StreamClosed):
                    await out.write(2)

        @step(registry=world.registry)
        async def late() -> None:
            tries.append(current().attempt)
            async with stream("s", int) as out:
                await out.write(3)

        @workflow(registry=world.registry)
        async def flow() -> str:
            await produce()
            try:
                await late()
            except stream_errors.StreamClosed as error:
                return str(error)
            return "it was written"

        async with world.worker("A"):
            started = await world.start(flow)
            assert "the stream 's' is closed" in await started.result(60)
            assert tries == [1]
            assert await collected(started) == [1]

    run(main)


def test_a_step_that_closed_its_stream_and_failed_then_finds_it_complete() -> None:
    async def main() -> None:
        world = World()
        found: list[tuple[bool, int]] = []

        @step(registry=world.registry)
        async def produce() -> str:
            async with stream("s", int) as out:
                found.append((out.complete, out.written))
                for n in range(3):
                    await out.write(n)
            if current().attempt == 1:
                raise ValueError("after it was closed")
            return "done"

        @workflow(registry=world.registry)
        async def flow() -> str:
            return await produce()

        async with world.worker("A"):
            started = await world.start(flow)
            assert await started.result(60) == "done"
            assert found == [(False, 0), (True, 3)]
            assert await collected(started) == [0, 1, 2]

    run(main)


def test_a_stream_has_a_limit_and_its_step_fails_with_it() -> None:
    """stream_bytes_max, by name; what fitted is there. One chunk: payload_bytes_max."""

    async def main() -> None:
        world = World(stream_bytes_max=20_000, payload_bytes_max=10_000)

        @step(registry=world.registry)
        async def produce(size: int) -> None:
            async with stream("s", bytes) as out:
                for n in range(30):
                    await out.write(bytes([n]) * size)

        @workflow(registry=world.registry)
        async def flow(size: int) -> None:
            await produce(size)

        async with world.worker("A"):
            started = await world.start(flow, 1_999)
            with pytest.raises(errors.RunFailed, match="stream_bytes_max = 20000") as failed:
                await started.result(60)
            assert isinstance(failed.value.__cause__, stream_errors.StreamLimitExceeded)
            assert len(await collected(started)) == 10
            started = await world.start(flow, 10_000)
            with pytest.raises(errors.RunFailed, match=r"chunk 0 for stream 's'.*10,001 bytes, the limit is 10,000"):
                await started.result(60)

    run(main)


def test_bytes_are_stored_as_they_are() -> None:
    async def main() -> None:
        world = World()

        @step(registry=world.registry)
        async def produce() -> None:
            async with stream("s") as out:
                for chunk in (b"abc", b"", "text", None, {"a": [1]}):
                    await out.write(chunk)

        @workflow(registry=world.registry)
        async def flow() -> None:
            await produce()

        async with world.worker("A"):
            started = await world.start(flow)
            await started.result(60)
            assert await collected(started) == [b"abc", b"", "text", None, {"a": [1]}]
            page = await world.memory.read_stream(started.id, "s", 0, limit=2, bytes_max=100)
            assert page is not None
            assert [chunk.payload for chunk in page.chunks] == [RAW + b"abc", RAW]
            with pytest.raises(errors.PayloadError, match="chunk 0 of stream 's': bytes were written"):
                _ = [chunk async for chunk in started.stream("s", int)]
            with pytest.raises(errors.PayloadError, match="chunk 2 of stream 's'"):
                _ = [chunk async for chunk in started.stream("s", bytes)]

    run(main)


def test_what_cannot_be_done_where_says_so() -> None:
    """Reading in a workflow, `with` in a workflow, anything elsewhere; bad names and options."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> list[str]:
            told: list[str] = []
            for call in (lambda: stream("s").read(), lambda: stream("s").__enter__()):
                try:
                    call()
                except errors.NotInWorkflow as error:
                    told.append(str(error))
            return told

        async with world.worker("A"):
            started = await world.start(flow)
            assert await started.result(60) == [
                "stream 's' cannot be read in a workflow: do it in a step",
                "stream 's': in a workflow write with `async with`",
            ]
        with pytest.raises(errors.NotInWorkflow, match="in a step that runs for a workflow"):
            async with stream("s"):
                pass
        with pytest.raises(ValueError, match="1 to 100 characters"):
            stream("")
        with pytest.raises(ValueError, match="'append' or 'continue'"):
            stream("s", on_retry="again")  # type: ignore[call-overload]

    run(main)


async def test_def_steps_write_and_read_in_their_threads() -> None:
    """On a real loop with real threads: `with`, `write` and `for` block the thread, not the loop."""
    world = World()
    threads: set[int] = set()

    @step(registry=world.registry)
    def produce() -> None:
        with stream("s", int) as out:
            for n in range(50):
                threads.add(threading.get_ident())
                out.write(n)
            out.flush()

    @step(registry=world.registry)
    def consume() -> int:
        return sum(stream("s", int).read())

    @workflow(registry=world.registry)
    async def flow() -> int:
        _, total = await asyncio.gather(produce(), consume())
        return total or 0

    async with world.worker("A") as a:
        object.__setattr__(a.shell.ports, "run_thread", asyncio.to_thread)
        started = await world.start(flow)
        assert await started.result(60) == sum(range(50))
        assert threading.get_ident() not in threads


async def test_a_blocking_call_in_the_loop_s_own_thread_is_refused() -> None:
    """It would wait for itself."""
    world = World()

    @step(registry=world.registry, retries=0)
    async def produce() -> None:
        with stream("s", int) as out:
            out.write(1)

    @workflow(registry=world.registry)
    async def flow() -> None:
        await produce()

    async with world.worker("A"):
        started = await world.start(flow)
        with pytest.raises(errors.RunFailed, match="use `async with`"):
            await started.result(60)


def test_a_run_that_is_not_there_is_told() -> None:
    async def main() -> None:
        world = World()
        run_id = "01900000-0000-7000-8000-000000000000"
        with pytest.raises(errors.RunNotFound):
            _ = [n async for n in world.client().run(run_id).stream("numbers")]
        with pytest.raises(errors.RunNotFound):
            await world.client().run(run_id).stream("numbers").tail()

    run(main)
