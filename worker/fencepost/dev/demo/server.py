"""What the demo asks the database server itself, beside the engine: the time, the count of commits, who is at work."""

from __future__ import annotations

import asyncio
import time
from importlib import resources

import msgspec

from fencepost_store.driver import Connection, connect

STILL_SECONDS = 1.0
"""A statement of the engine's takes milliseconds."""
LOOK_SECONDS = 0.005


class Moment(msgspec.Struct, frozen=True):
    """``now``: microseconds since the epoch, the clock that the log's events carry. ``transactions``: write
    transactions that the server has seen so far.
    """

    now: int
    transactions: int


class Server:
    """A connection of the demo's own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, url: str) -> Server:
        """Open the connection."""
        return cls(await connect(url))

    async def moment(self) -> Moment:
        """Read clock and counter."""
        (row,) = await self._connection.fetch(_sql("moment"))
        return Moment(row["now"], row["transactions"])

    async def still(self, since: int) -> bool:
        """True as soon as nothing that was sent before ``since`` (microseconds) is under way, False if that takes too
        long: a frozen worker may hold a lock that others wait for.
        """
        deadline = time.monotonic() + STILL_SECONDS
        while await self._at_work(since):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True

    async def _at_work(self, since: int) -> int:
        (row,) = await self._connection.fetch(_sql("at_work"), since)
        count: int = row["count"]
        return count

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()


def _sql(name: str) -> str:
    return resources.files("fencepost.dev.demo").joinpath("sql", f"{name}.sql").read_text("utf-8")
