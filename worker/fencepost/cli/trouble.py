"""Operating errors in words, with the exit code that each stands for.

Recognised by class, never by wording. Classes are looked up in the modules that are loaded: what was never imported
cannot have been raised.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

FAILED, USAGE, NOT_FOUND, CANNOT_CONNECT, REFUSED = 1, 2, 3, 4, 5

CLASSES: tuple[tuple[str, str, int], ...] = (
    ("fencepost.config", "ConfigError", USAGE),
    ("fencepost.cli.session", "NoServers", CANNOT_CONNECT),
    ("fencepost.history", "HistoryError", USAGE),
    ("fencepost.standard_streams", "OutputLost", FAILED),
    ("fencepost.web.server", "AddressRefused", REFUSED),
    ("fencepost.engine.loading", "LoadError", USAGE),
    ("fencepost.engine.worker_life", "StartupFailed", FAILED),
    ("fencepost.cli.arguments", "BadArgument", USAGE),
    ("fencepost.cli.supervising", "Ended", FAILED),
    ("fencepost.dev.guarded", "ServersError", FAILED),
    ("fencepost.cli.runs_stream", "NoStream", NOT_FOUND),
    ("fencepost.errors", "RunNotFound", NOT_FOUND),
    ("fencepost.errors", "HookNotFound", NOT_FOUND),
    ("fencepost.errors", "WorkflowNotRegistered", NOT_FOUND),
    ("fencepost.errors", "StartConflict", REFUSED),
    ("fencepost.errors", "RunEnded", REFUSED),
    ("fencepost.errors", "DuplicateName", USAGE),
    ("fencepost.errors", "PayloadError", USAGE),
    ("fencepost.errors", "ArgumentError", USAGE),
    ("fencepost.errors", "BadAttribute", USAGE),
    ("fencepost.errors", "ServerUnavailable", CANNOT_CONNECT),
    ("fencepost.errors", "FencepostError", FAILED),
    ("fencepost_store.trouble", "StoreRefused", REFUSED),
    ("fencepost_store.protocol", "StoreTrouble", CANNOT_CONNECT),
    ("fencepost_store.protocol", "CorruptLog", FAILED),
    ("fencepost_store.admission", "Unstorable", USAGE),
    ("fencepost_queue.errors", "QueueRefused", REFUSED),
    ("fencepost_queue.protocol", "QueueTrouble", CANNOT_CONNECT),
)
"""Module, class, exit code; the first that fits counts."""


@dataclass(frozen=True, slots=True)
class Explained:
    """An exit code and a message for people."""

    code: int
    message: str


def explain(error: BaseException) -> Explained | None:
    """What to tell; None for a bug, which deserves its traceback."""
    for module, name, code in CLASSES:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is None or not isinstance(error, kind):
            continue
        if name == "ServerUnavailable" and error.__cause__ is not None:
            inner = explain(error.__cause__)
            if inner is not None:
                return inner
        said = error.strerror if name == "OutputLost" and isinstance(error, OSError) else None
        return Explained(getattr(error, "exit_code", code), said or str(error))
    return None
