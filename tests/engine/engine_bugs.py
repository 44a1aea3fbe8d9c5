"""What no test of the engine may leave in the log."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from tests.log_lines import captured


@contextmanager
def no_bug() -> Generator[None]:
    """No handler raises: a message that is handed back as a bug of ours comes back for ever."""
    with captured() as logs:
        yield
    assert [entry for entry in logs if entry["event"] == "handler_failed"] == []
