"""The workflows with streams. Every reader verifies what it reads; what a chunk holds says when it was written, by the
machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable

from fencepost import step, stream, workflow

LETTERS = 100
"""Bytes of a small chunk: 20 digits (when it was generated), 60 letters, 20 digits (when it was transformed)."""
WORDS = (b"the quick brown fox jumps over the lazy dog " * 2)[: LETTERS - 40]

BLOCK = 65_536
BLOCKS = 16
PATTERN = bytes(range(256)) * (BLOCK // 256)


def stamp() -> bytes:
    """Now, in 20 digits."""
    return b"%020d" % time.monotonic_ns()


def block(number: int) -> bytes:
    """A block of a megabyte: like no other of it, and with the time in front."""
    return stamp() + PATTERN[number + 20 :] + PATTERN[:number]


def xored(data: bytes, key: int) -> bytes:
    """Behind the stamp, every byte with the key."""
    return data[:20] + data[20:].translate(TABLES[key])


TABLES = [bytes(value ^ key for value in range(256)) for key in range(256)]


def verified(data: bytes, number: int, key: int) -> int:
    """When the block was generated, nanoseconds. Raises ValueError if it is not what it must be."""
    if xored(data, key)[20:] != (PATTERN[number + 20 :] + PATTERN[:number]):
        raise ValueError(f"block {number} is not what was generated")
    return int(data[:20])


@step
async def speak(count: int, pause: float) -> None:
    """Small chunks, a pause before each but the first."""
    async with stream("spoken", bytes) as out:
        for number in range(count):
            if number:
                await asyncio.sleep(pause)
            await out.write(stamp() + WORDS)


@step
async def upper() -> None:
    """Each in capitals, as it comes."""
    async with stream("loud", bytes) as out:
        async for chunk in stream("spoken", bytes).read():
            await out.write(chunk.upper() + stamp())


@step
async def generate(name: str) -> None:
    """A megabyte."""
    async with stream(name, bytes) as out:
        for number in range(BLOCKS):
            await out.write(block(number))


@step
async def transform(source: str, target: str, key: int) -> None:
    """A megabyte in, a megabyte out."""
    async with stream(target, bytes) as out:
        async for data in stream(source, bytes).read():
            await out.write(xored(data, key))


@step
async def verify(names: list[str], keys: list[int]) -> int:
    """All streams at once; answers when the first chunk of any came, nanoseconds."""
    first: list[int] = []

    async def one(name: str, key: int) -> int:
        count = 0
        async for data in _noting(stream(name, bytes).read(), first):
            verified(data, count, key)
            count += 1
        return count

    counts = await asyncio.gather(*(one(*pair) for pair in zip(names, keys, strict=True)))
    if counts != [BLOCKS] * len(names):
        raise ValueError(f"{counts} blocks, {BLOCKS} of each were generated")
    return min(first)


async def _noting(reader: AsyncIterable[bytes], first: list[int]) -> AsyncIterable[bytes]:
    began = False
    async for data in reader:
        if not began:
            began = True
            first.append(time.monotonic_ns())
        yield data


@workflow
async def loud(count: int, pause: float) -> int:
    """Read by the client."""
    await asyncio.gather(speak(count, pause), upper())
    return 0


@workflow
async def pipeline(length: int) -> int:
    """One megabyte through a row of steps; read by the client."""
    calls = [transform(f"s{number}", f"s{number + 1}", number + 1) for number in range(length)]
    await asyncio.gather(generate("s0"), *calls)
    return 0


@workflow
async def parallel(width: int) -> int:
    """Megabytes side by side, verified by one step."""
    names = [f"s{number}" for number in range(width)]
    *_, first = await asyncio.gather(*(generate(name) for name in names), verify(names, [0] * width))
    return first or 0


@workflow
async def fan(width: int) -> int:
    """Megabytes side by side, each through a step of its own, verified by one."""
    names = [f"s{number}" for number in range(width)]
    calls = [transform(name, f"t{number}", number + 1) for number, name in enumerate(names)]
    check = verify([f"t{number}" for number in range(width)], [number + 1 for number in range(width)])
    *_, first = await asyncio.gather(*(generate(name) for name in names), *calls, check)
    return first or 0
