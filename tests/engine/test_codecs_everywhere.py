"""Values are encoded with the codecs of the worker, whatever the context is that the user's code asks from."""

from __future__ import annotations

import asyncio
import contextvars
import threading

from engine_virtual import run
from engine_world import World
from test_codecs_in_runs import codecs

from fencepost import StepContext, current, hook, step, stream, workflow
from fencepost.payload_codecs import install

SECRET = "4111-1111"


async def unreadable(world: World, run_id: str) -> None:
    """Nothing in the log shows the secret."""
    loaded = await world.store.load(run_id, 0)
    assert loaded is not None
    shown = [event for event in loaded.events if SECRET.encode() in event.payload]
    assert not shown, shown


def test_workflow_code_asks_from_an_empty_context_and_its_values_are_encrypted() -> None:
    """A task, a callback and a task that a callback makes, each in a context that nothing was carried into."""

    async def main() -> None:
        install(codecs("k1"))
        world = World()

        @step(registry=world.registry)
        async def charge(card: str) -> str:
            return card

        @workflow(registry=world.registry)
        async def flow(card: str) -> list[str]:
            loop = asyncio.get_running_loop()
            made: asyncio.Future[asyncio.Task[str]] = loop.create_future()
            first = await loop.create_task(charge(card), context=contextvars.Context())
            loop.call_soon(lambda: made.set_result(asyncio.ensure_future(charge(card))), context=contextvars.Context())
            second = await (await made)
            third = await contextvars.Context().run(asyncio.ensure_future, charge(card))

            async def listens() -> str:
                async with hook(str, token="word", metadata={"card": card}) as words:
                    return await words

            fourth = await loop.create_task(listens(), context=contextvars.Context())
            return [first, second, third, fourth]

        async with world.worker("A"):
            started = await world.client().start(flow, SECRET)
            await asyncio.sleep(5)
            await world.client().resume("word", SECRET)
            assert await started.result(60) == [SECRET] * 4
        await unreadable(world, started.id)

    run(main)


def test_a_body_tells_from_an_empty_context_and_what_it_tells_is_encrypted() -> None:
    """Heartbeats' details and chunks of streams, from threads and tasks that nothing was carried into."""

    async def main() -> None:
        install(codecs("k1"))
        world = World()
        beats: list[bytes | None] = []

        @step(registry=world.registry)
        async def tells(card: str) -> str:
            context: StepContext = current()
            assert context.pulse is not None
            object.__setattr__(context, "pulse", beats.append)
            thread = threading.Thread(target=context.heartbeat, args=({"card": card},))
            thread.start()
            thread.join()

            async with stream("cards", str) as out:
                await asyncio.get_running_loop().create_task(out.write(card), context=contextvars.Context())

            async def read() -> str:
                return await anext(reader.values())

            reader = stream("cards", str).read()
            return await asyncio.get_running_loop().create_task(read(), context=contextvars.Context())

        @workflow(registry=world.registry)
        async def flow(card: str) -> str:
            return await tells(card)

        async with world.worker("A"):
            started = await world.client().start(flow, SECRET)
            assert await started.result(60) == SECRET
            page = await world.store.read_stream(started.id, "cards", 0, limit=10, bytes_max=10_000)
            assert page is not None
            chunks: list[bytes] = [chunk.payload for chunk in page.chunks]
        assert len(beats) == len(chunks) == 1
        assert not [data for data in [*beats, *chunks] if data is None or SECRET.encode() in data]

    run(main)
