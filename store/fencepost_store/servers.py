"""Which server the store's connections lead to, and whether it is another one than before.

A standby that was promoted, a server that was restored or started again may not have what was committed a moment ago.
The stamps in the log keep decisions apart (``stamps.py``); what a worker keeps beside the log it throws away when this
changes.
"""

from __future__ import annotations

from fencepost_store.driver import Connection, PostgresError
from fencepost_store.statements import of_no_namespace

Identity = tuple[object, ...]
"""The cluster's identifier, its timeline, and since when the server runs."""


class Servers:
    """``epoch`` grows whenever a new connection leads to another server than the one before it."""

    def __init__(self) -> None:
        self.epoch: int = 0
        self._known: Identity | None = None

    def met(self, identity: Identity | None) -> None:
        """A connection was made. None: the server does not say what it is."""
        if identity is None or identity == self._known:
            return
        if self._known is not None:
            self.epoch += 1
        self._known = identity


async def identity_of(connection: Connection) -> Identity | None:
    """What the server says it is. None where it has no such functions, or our role may not call them."""
    try:
        async with connection.transaction(isolation="read_committed"):
            (row,) = await connection.fetch(of_no_namespace("server"))
    except PostgresError:
        return None
    return tuple(row.values())
