"""Steps with a process of their own, for tests that count processes."""

from __future__ import annotations

import time

from fencepost.authoring.registry import Registry
from fencepost.authoring.step import step

registry = Registry()


@step(process=True, registry=registry, retries=0, timeout=2.0)
def in_turn(n: int) -> int:
    """Most of its time."""
    time.sleep(1.2)
    return n
