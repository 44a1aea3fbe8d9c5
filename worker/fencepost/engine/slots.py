"""How much this worker has in hand. A slot is taken before a message is asked for or a step is decided to run here, so
that no granted body ever waits for one, and no two claims have been promised the same slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager


class Slots:
    """A counter with somebody waiting for it. ``size``: bodies (or turns) at once. ``wanted``: queues in which a step
    waits, as this worker last heard.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken: int = 0
        self.wanted: set[str] = set()
        self._reserved = 0
        self._ending = 0
        self._closed = False
        self._freed = asyncio.Event()
        self._waiting = 0

    @property
    def free(self) -> int:
        """Slots that nobody has and no claim has been promised; none once closed."""
        return 0 if self._closed else self.size - self.taken - self._reserved

    @property
    def room(self) -> bool:
        """Whether a step may be decided to run here. Unlike ``free`` this counts the slots of bodies that have ended:
        what follows from a body may have its slot, or a saturated worker would send every next step through the queue.
        It also counts what a claim was promised: what comes of a claim is handed back if there is no room by then.
        """
        return not self._closed and self.taken - self._ending < self.size

    @contextmanager
    def ending(self) -> Generator[None]:
        """The caller's body has ended; its slot is given back when what came of it is dealt with."""
        self._ending += 1
        try:
            yield
        finally:
            self._ending -= 1

    @contextmanager
    def reserved(self, least: int = 1) -> Generator[int]:
        """All that is free, for a claim that is under way; nothing if that is less than ``least``."""
        count = self.free if self.free >= least else 0
        self._reserved += count
        try:
            yield count
        finally:
            self._reserved -= count
            if self._waiting and self.free > 0:
                self._freed.set()

    def close(self) -> None:
        """Nothing more is run here: the worker drains."""
        self._closed = True

    def take(self, count: int = 1) -> None:
        """Take slots that the caller has seen to be free."""
        self.taken += count

    def give(self, count: int = 1) -> None:
        """Give slots back."""
        self.taken -= count
        if self.taken < 0:
            raise AssertionError("more slots were given back than taken")
        if self._waiting and self.free > 0:
            self._freed.set()

    async def freed(self, least: int = 1) -> None:
        """Wait until so many are free."""
        self._waiting += 1
        try:
            while self.free < least:
                self._freed.clear()
                await self._freed.wait()
        finally:
            self._waiting -= 1
