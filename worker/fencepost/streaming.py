"""Reading a stream while it grows, for clients and for steps alike, and telling readers that it has grown.

A reader asks Postgres for what is there, from the next index on, and then waits: for a hint, or for ``POLL_SECONDS`` in
case the hint was lost. A hint is the stream's tail, so that a reader who is ahead of it does not look. What a reader
has is an index, so a lost connection costs it nothing but time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

from fencepost import errors
from fencepost.telemetry import note
from fencepost_queue.protocol import Queue, QueueTrouble, Subscription
from fencepost_store.protocol import StoreTrouble
from fencepost_store.streams import Chunk, StreamPage, Streams

POLL_SECONDS = 1.0
"""What a lost hint costs at most."""

SUBSCRIBE_AGAIN_SECONDS = 10.0
"""How often a reader that could not subscribe tries again; polls carry it meanwhile."""

PAGE_CHUNKS = 1_000
PAGE_BYTES = 1_048_576
"""One look at the store: a few milliseconds of it, and no more memory than a reader can be expected to have."""

PATIENCE_SECONDS = 60.0
"""How long a reader bears with a Postgres that does not answer: a restart or a fail-over, not an outage."""

END = b"end"


def channel_of(run_id: str, name: str) -> str:
    """Where the hints of one stream go."""
    return f"stream:{run_id}:{name}"


async def announce(queue: Queue, run_id: str, name: str, tail: int, *, closed: bool) -> None:
    """Tell readers that the stream has grown, or is closed. May be lost: they poll as well."""
    channel = channel_of(run_id, name)
    try:
        await queue.publish(channel, END if closed else str(tail).encode())
    except QueueTrouble as trouble:
        note("hint_failed", channel=channel, error=str(trouble))


class StreamSource:
    """One stream, to be read."""

    def __init__(self, store: Streams, queue: Queue, run_id: str, name: str) -> None:
        self._store = store
        self._queue = queue
        self._run_id = run_id
        self._name = name

    async def tail(self) -> int:
        """The index that the stream's next chunk will have. Raises RunNotFound, ServerUnavailable."""
        return (await self._page(0, 1)).tail

    async def follow(self, start: int) -> AsyncGenerator[Chunk]:
        """Its chunks from index ``start`` on (negative: from the tail), those of the future too; ends when the stream
        is closed, or the run has ended and all is read. Raises RunNotFound, ServerUnavailable, CorruptLog.
        """
        place = start
        settled = False
        async with AsyncExitStack() as stack:
            wakes = _Wakes(self._queue, (channel_of(self._run_id, self._name), f"ended:{self._run_id}"), stack)
            while True:
                page = await self._page(place, PAGE_CHUNKS)
                for chunk in page.chunks:
                    yield chunk
                place = page.start + len(page.chunks)
                if place < page.tail:
                    continue
                if page.closed or (page.status.ended and settled):
                    return
                if page.status.ended:
                    # Nothing is written from now on, but a write may have been under way when the run ended (H115).
                    await self._settle()
                    settled = True
                else:
                    await wakes.next(place)

    async def _settle(self) -> None:
        try:
            await self._store.settle_stream(self._run_id, self._name)
        except StoreTrouble as trouble:
            raise errors.ServerUnavailable(f"Postgres: {trouble}") from trouble

    async def _page(self, start: int, limit: int) -> StreamPage:
        clock = asyncio.get_running_loop().time
        until = clock() + PATIENCE_SECONDS
        while True:
            try:
                page = await self._store.read_stream(self._run_id, self._name, start, limit=limit, bytes_max=PAGE_BYTES)
            except StoreTrouble as trouble:
                pause = POLL_SECONDS * random.random()  # full jitter: a restarted server meets no herd (H86)
                if clock() + pause > until:
                    raise errors.ServerUnavailable(f"Postgres: {trouble}") from trouble
                await asyncio.sleep(pause)
                continue
            if page is None:
                raise errors.RunNotFound(self._run_id)
            return page


class _Wakes:
    """Hints of several channels as one thing to wait for; polls where there are none."""

    def __init__(self, queue: Queue, channels: tuple[str, ...], stack: AsyncExitStack) -> None:
        self._queue = queue
        self._channels = channels
        self._stack = stack
        self._joined: list[Subscription] = []
        self._heard: dict[asyncio.Task[bytes | None], Subscription] = {}
        self._again_at = 0.0

    async def next(self, place: int) -> None:
        """Return when it is time to look for chunks from index ``place`` on."""
        loop = asyncio.get_running_loop()
        if not self._joined and loop.time() >= self._again_at:
            if await self._join():
                return  # something may have come before we listened
            self._again_at = loop.time() + SUBSCRIBE_AGAIN_SECONDS
        if not self._joined:
            await asyncio.sleep(POLL_SECONDS)
            return
        until = loop.time() + POLL_SECONDS
        while (rest := until - loop.time()) > 0:
            hints = await self._hints(rest)
            if not hints or any(news(hint, place) for hint in hints):
                return

    async def _join(self) -> bool:
        try:
            async with AsyncExitStack() as joining:
                joined = [await joining.enter_async_context(self._queue.subscribe(name)) for name in self._channels]
                self._stack.push_async_exit(joining.pop_all())
        except QueueTrouble as trouble:
            note("stream_hints_unheard", error=str(trouble))
            return False
        self._stack.push_async_callback(self._leave)  # first, for it is the last to come
        self._joined = joined
        return True

    async def _hints(self, seconds: float) -> list[bytes | None]:
        """What has been heard; empty after the time."""
        for joined in self._joined:
            if joined not in self._heard.values():
                self._heard[asyncio.ensure_future(joined.next(POLL_SECONDS))] = joined
        done, _ = await asyncio.wait(self._heard, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            del self._heard[task]
        return [task.result() for task in done]

    async def _leave(self) -> None:
        """Before the subscriptions are left."""
        for task in self._heard:
            task.cancel()
        await asyncio.gather(*self._heard, return_exceptions=True)
        self._heard.clear()


def news(hint: bytes | None, place: int) -> bool:
    """Whether a reader that has all chunks below ``place`` should look."""
    return hint is None or not hint.isdigit() or len(hint) > 10 or int(hint) > place
