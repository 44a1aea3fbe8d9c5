"""How many step bodies may run at once in this worker. A slot is taken before a message is asked for or a step is
decided to run here, so that no
granted body ever waits for one."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager


class Slots:
    """A counter with somebody waiting for it. ``size``: bodies at once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken: int = 0
        self._ending = 0
        self._closed = False
        self._freed = asyncio.Event()
        self._waiting = 0

    @property
    def free(self) -> int:
        """Slots that nobody has; none once closed."""
        return 0 if self._closed else self.size - self.taken

    @property
    def room(self) -> bool:
        """Whether a step may be decided to run here. Unlike ``free`` this counts the slots of bodies that have ended:
        what follows from a body may have its slot, or a saturated worker would send every next step through the queue.
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

    def close(self) -> None:
        """Nothing more is run here: the worker drains."""
        self._closed = True

    def take(self, count: int = 1) -> None:
        """Take slots that the caller has seen to be free (a claim may overshoot by what it was promised)."""
        self.taken += count

    def give(self, count: int = 1) -> None:
        """Give slots back."""
        self.taken -= count
        if self.taken < 0:
            raise AssertionError("more slots were given back than taken")
        if self._waiting:
            self._freed.set()

    async def freed(self) -> None:
        """Wait until a slot is given back after this call."""
        self._freed.clear()
        self._waiting += 1
        try:
            await self._freed.wait()
        finally:
            self._waiting -= 1
