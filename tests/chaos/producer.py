"""A producer: does jobs from standard input, each until it is accepted, and says so.

As a process: ``python -m tests.chaos.producer``.

Trouble with a server is not an answer: it asks again, with the same key or id, for as long as it takes.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable

import msgspec
from tests.chaos.jobs import Answer, Cancel, Hello, Job, Send, Start

from fencepost.client import Client
from fencepost.engine.logs import configure_logs
from fencepost.engine.loops import run_loop
from fencepost.errors import HookDisposed, HookNotFound, HookRunEnded, RunEnded, ServerUnavailable

PAUSE_SECONDS = 0.5
"""Upper end of the jittered pause before a job is tried again."""


async def serve() -> None:
    """Until standard input ends."""
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    hello = msgspec.json.decode(await reader.readline(), type=Hello)
    client = await _open(hello)
    tasks: set[asyncio.Task[None]] = set()
    decoder = msgspec.json.Decoder(Job)
    while line := await reader.readline():
        task = asyncio.create_task(_do(client, decoder.decode(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def _open(hello: Hello) -> Client:
    while True:
        client = Client(hello.config)
        try:
            return await client.__aenter__()
        except ServerUnavailable:
            await _pause()


async def _pause() -> None:
    await asyncio.sleep(random.uniform(0.05, PAUSE_SECONDS))


async def _do(client: Client, job: Job) -> None:
    match job:
        case Start():
            answer = await _until(job.job, lambda: _start(client, job))
        case Send():
            await asyncio.sleep(job.after)
            answer = await _until(job.job, lambda: client.resume(job.token, job.value, id=job.id))
        case Cancel():
            await asyncio.sleep(job.after)
            answer = await _until(job.job, lambda: _cancel(client, job))
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
    sys.stdout.flush()


async def _until(job: int, call: Callable[[], Awaitable[str]]) -> Answer:
    tries = 0
    while True:
        tries += 1
        try:
            return Answer(job, await call(), tries=tries)
        except (HookRunEnded, HookDisposed, RunEnded):
            return Answer(job, accepted=False, tries=tries)
        except (ServerUnavailable, HookNotFound):  # away, or its hook is not open yet
            await _pause()


async def _start(client: Client, job: Start) -> str:
    run = await client.start(job.workflow, *job.args, key=job.key)
    return run.id


async def _cancel(client: Client, job: Cancel) -> str:
    await client.run(job.run).cancel(job.reason, id=job.id)
    return job.run


if __name__ == "__main__":
    configure_logs("text", "error")
    run_loop(serve())
