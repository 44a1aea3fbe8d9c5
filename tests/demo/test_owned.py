"""Nothing is left behind by a signal that comes while a thing is being made."""

from __future__ import annotations

import asyncio

import pytest

from fencepost.dev.demo.owned import owned


async def test_cancelled_while_it_is_made() -> None:
    """The making goes on to its end, what it made is ended, and the cancellation goes on."""
    begun, go, ended = asyncio.Event(), asyncio.Event(), list[str]()

    async def make() -> str:
        begun.set()
        await go.wait()
        return "thing"

    async def end(thing: str) -> None:
        ended.append(thing)

    async def use() -> None:
        async with owned(make(), end):
            raise AssertionError("never entered")

    using = asyncio.create_task(use())
    await begun.wait()
    using.cancel()
    await asyncio.sleep(0)
    assert not using.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert ended == ["thing"]


async def test_ended_after_use_and_after_an_error() -> None:
    """As any context manager."""
    ended = list[str]()

    async def make() -> str:
        return "thing"

    async def end(thing: str) -> None:
        ended.append(thing)

    async with owned(make(), end) as thing:
        assert thing == "thing"
        assert ended == []
    with pytest.raises(KeyError):
        async with owned(make(), end):
            raise KeyError
    assert ended == ["thing", "thing"]


async def test_what_could_not_be_made_is_not_ended() -> None:
    """The error comes out as it is."""

    async def make() -> str:
        raise OSError("no")

    async def end(thing: str) -> None:
        raise AssertionError(thing)

    with pytest.raises(OSError, match="no"):
        async with owned(make(), end):
            pass
