"""Kinds of trouble with the store that a caller may want to tell apart. All of them are StoreTrouble."""

from __future__ import annotations

from fencepost_store.protocol import StoreTrouble


class RolledBack(StoreTrouble):
    """The server reported an error, so nothing of the call has landed (a deadlock, a lock timeout). Any other
    StoreTrouble leaves open whether it has."""


class RowHeld(RolledBack):
    """Somebody else's transaction held a lock for longer than the call was to wait. Nothing of the call has landed."""


class ServerUnable(StoreTrouble):
    """Postgres answers, and can do nobody's work: no connections or room left, read-only. It passes by itself, or an
    operator acts."""


class UnableRolledBack(RolledBack, ServerUnable):
    """Both: the server reported it as an error of the call."""


class ChunksLost(StoreTrouble):
    """Of what an attempt has written to a stream the server has only a part, though it had taken all of it: its last
    commits are lost. What is lost nobody can write again but another attempt."""


class StoreRefused(StoreTrouble):
    """Postgres is there and says no: who we are, which database, which schema, which rights. Somebody must change
    something."""
