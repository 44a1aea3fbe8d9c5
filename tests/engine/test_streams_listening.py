"""A reader of a stream that begins to listen: what comes between its first look and its subscription."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from engine_virtual import run
from engine_world import World

from fencepost import step, stream, workflow
from fencepost.streaming import POLL_SECONDS, channel_of


def test_a_chunk_that_comes_while_a_reader_begins_to_listen_is_not_left_to_the_poll() -> None:
    """It lands and is announced after the reader's first look and before its subscription, and nothing comes after it
    that could wake the reader.
    """

    async def main() -> None:
        world = World()
        go_on, never = asyncio.Event(), asyncio.Event()
        announced = {b"1": asyncio.Event(), b"2": asyncio.Event()}
        loop = asyncio.get_running_loop()

        @step(registry=world.registry)
        async def produce() -> None:
            async with stream("numbers", int) as out:
                await out.write(0)
                await go_on.wait()
                await out.write(1)
                await never.wait()

        @workflow(registry=world.registry)
        async def flow() -> None:
            await produce()

        async with world.worker("A") as worker:
            started = await world.start(flow)
            channel = channel_of(started.id, "numbers")
            publish = worker.shell.queue.publish

            async def told(name: str, message: bytes) -> None:
                await publish(name, message)
                if name == channel:
                    announced[message].set()

            worker.shell.queue.publish = told  # type: ignore[method-assign]
            connected = started._connected  # pyright: ignore[reportPrivateUsage]
            subscribe = connected.queue.subscribe

            @asynccontextmanager
            async def late(name: str) -> AsyncGenerator[Any]:
                go_on.set()
                await announced[b"2"].wait()
                async with subscribe(name) as joined:
                    yield joined

            connected.queue.subscribe = late  # type: ignore[method-assign, assignment]
            await announced[b"1"].wait()  # or the reader's first look would find nothing, and it would listen in time
            reading = aiter(started.stream("numbers", int))
            assert await anext(reading) == 0
            asking = asyncio.ensure_future(anext(reading))  # type: ignore[arg-type]
            await announced[b"2"].wait()
            heard = loop.time()
            assert await asking == 1
            assert loop.time() - heard < 0.01 * POLL_SECONDS

    run(main)
