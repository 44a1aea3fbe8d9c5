"""The rooms' errors in the words of the public API."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from fencepost import errors
from fencepost.log import LimitExceeded
from fencepost_queue.protocol import QueueTrouble
from fencepost_store.admission import Unstorable
from fencepost_store.protocol import StoreTrouble


@contextmanager
def public_errors() -> Generator[None]:
    """StoreTrouble and QueueTrouble become ServerUnavailable, a payload over its limit PayloadTooLarge, what no store
    can keep (a NUL in a name) ArgumentError.
    """
    try:
        yield
    except StoreTrouble as trouble:
        raise errors.ServerUnavailable(f"Postgres: {trouble}") from trouble
    except QueueTrouble as trouble:
        raise errors.ServerUnavailable(f"Redis: {trouble}") from trouble
    except Unstorable as refused:
        raise errors.ArgumentError(str(refused)) from refused
    except LimitExceeded as limit:
        raise errors.PayloadTooLarge(str(limit), size=limit.value, limit=limit.bound) from limit
