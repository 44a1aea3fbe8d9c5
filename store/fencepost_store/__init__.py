"""The store: the event logs of all runs, and everything else that is true.

What this room promises: a run's log is dense (events 1..last_seq, no gap is ever visible), a decision lands only on the
log prefix it was derived from, a fact lands only while its entity may take it, a run and an entity end once, and
whatever a call answered as landed is committed. Postgres is authoritative. Nothing here knows the queue or the worker.

``protocol.py`` is the promise as types and ``events.py`` the vocabulary. ``postgres.py`` keeps the promise with one
PL/pgSQL function, ``memory.py`` is its executable specification, and ``coalescer.py`` turns many small appends into few
large ones.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fencepost_store.admission import Unstorable
    from fencepost_store.coalescer import Coalescer
    from fencepost_store.events import KINDS, Event, EventType, NewEvent
    from fencepost_store.memory import MemoryStore
    from fencepost_store.migrations import SchemaMismatch, ServerTooOld, WrongIsolation, check, migrate
    from fencepost_store.postgres import PostgresStore, connect
    from fencepost_store.protocol import Batch, CorruptLog, Store, StoreTrouble, Verdict
    from fencepost_store.trouble import RolledBack, StoreRefused

_HOME = {
    "KINDS": "events",
    "Batch": "protocol",
    "Coalescer": "coalescer",
    "CorruptLog": "protocol",
    "Event": "events",
    "EventType": "events",
    "MemoryStore": "memory",
    "NewEvent": "events",
    "PostgresStore": "postgres",
    "RolledBack": "trouble",
    "SchemaMismatch": "migrations",
    "ServerTooOld": "migrations",
    "Store": "protocol",
    "StoreRefused": "trouble",
    "StoreTrouble": "protocol",
    "Unstorable": "admission",
    "Verdict": "protocol",
    "WrongIsolation": "migrations",
    "check": "migrations",
    "connect": "postgres",
    "migrate": "migrations",
}

__all__ = [
    "KINDS",
    "Batch",
    "Coalescer",
    "CorruptLog",
    "Event",
    "EventType",
    "MemoryStore",
    "NewEvent",
    "PostgresStore",
    "RolledBack",
    "SchemaMismatch",
    "ServerTooOld",
    "Store",
    "StoreRefused",
    "StoreTrouble",
    "Unstorable",
    "Verdict",
    "WrongIsolation",
    "check",
    "connect",
    "migrate",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the driver is half of a command's start-up time and most commands need little
    of it."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
