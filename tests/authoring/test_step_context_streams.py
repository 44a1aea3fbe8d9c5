"""Streams of a step's body in a unit test."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from fencepost import Registry, StreamClosed, step, stream
from fencepost.errors import PayloadError
from fencepost.testing import step_context


@dataclass
class Label:
    text: str


@step(registry=Registry())
async def writes(n: int) -> int:
    async with stream("labels", Label) as out:
        for i in range(n):
            await out.write(Label(f"l{i}"))
    return n


@step(registry=Registry())
def blocks(n: int) -> int:
    with stream("labels", Label) as out:
        for i in range(n):
            out.write(Label(f"l{i}"))
    return n


@step(registry=Registry())
async def doubles() -> int:
    total = 0
    async with stream("out", int) as out:
        async for number in stream("in", int).read():
            await out.write(2 * number)
            total += number
    return total


@step(registry=Registry())
def sums() -> int:
    return sum(stream("in", int).read(1))


def test_what_a_body_writes_is_there_typed_and_as_a_reader_gets_it() -> None:
    with step_context() as test:
        assert asyncio.run(writes.fn(3)) == 3
        assert test.stream("labels", Label) == [Label("l0"), Label("l1"), Label("l2")]
        assert test.stream("others") == []
    with step_context() as test:
        assert blocks.fn(2) == 2
        assert test.stream("labels", Label) == [Label("l0"), Label("l1")]
        with pytest.raises(PayloadError):
            test.stream("labels", int)


def test_what_a_body_reads_is_given() -> None:
    with step_context(streams={"in": [1, 2, 3]}) as test:
        assert asyncio.run(doubles.fn()) == 6
        assert test.stream("out", int) == [2, 4, 6]
        assert sums.fn() == 5


def test_a_closed_stream_takes_nothing_and_a_chunk_of_another_type_is_refused() -> None:
    async def more() -> None:
        async with stream("in", int) as out:
            await out.write(4)

    async def wrong() -> None:
        async with stream("fresh", int) as out:
            await out.write("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    with step_context(streams={"in": [1]}):
        with pytest.raises(StreamClosed):
            asyncio.run(more())
        with pytest.raises(PayloadError):
            asyncio.run(wrong())
