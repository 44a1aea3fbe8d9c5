# type: ignore  # wrong on purpose: checked by test_typing_cases.py
"""Streams: typed writers and readers. Read by test_typing_cases.py, never imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from fencepost import Client, Stream, StreamChunk, StreamReader, StreamWriter, step, stream
from fencepost.sync import Client as BlockingClient


@dataclass
class Label:
    text: str


@step
async def right() -> None:
    assert_type(stream("labels", Label), Stream[Label])
    assert_type(stream("labels"), Stream[Any])
    async with stream("labels", Label, on_retry="continue", shared=True) as out:
        assert_type(out, StreamWriter[Label])
        await out.write(Label("a"))
        assert_type(out.written, int)
    async for label in stream("labels", Label).read(start=-1):
        assert_type(label, Label)
    async with Client() as client:
        reader = client.run("id").stream("labels", Label, start=3)
        assert_type(reader, StreamReader[Label])
        async for chunk in reader.chunks():
            assert_type(chunk, StreamChunk[Label])
            assert_type(chunk.value, Label)
        assert_type(await reader.tail(), int)


@step
def blocking() -> None:
    with stream("labels", Label) as out:
        out.write(Label("a"))
    for label in stream("labels", Label).read():
        assert_type(label, Label)
    with BlockingClient() as client:
        for label in client.run("id").stream("labels", Label):
            assert_type(label.text, str)


@step
async def wrong() -> None:
    async with stream("labels", Label) as out:
        await out.write("a")  # expect-error
        await out.write(Label("a"), Label("b"))  # expect-error
    with stream("labels", Label) as blocked:
        blocked.write(1)  # expect-error
    stream(1)  # expect-error
    stream("labels", Label, on_retry="restart")  # expect-error
    async for label in stream("labels", Label).read():
        label.txt()  # expect-error
    async with Client() as client:
        client.run("id").stream("labels", Label, start="0")  # expect-error
