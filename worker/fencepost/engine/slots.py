"""How many step bodies may run at once in this worker. A slot is taken before a message is asked for or a step is
decided to run here, so that no
granted body ever waits for one."""

from __future__ import annotations

import asyncio


class Slots:
    """A counter with somebody waiting for it. ``size``: bodies at once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0
        self._freed = asyncio.Event()

    @property
    def free(self) -> int:
        """Slots that nobody has."""
        return self.size - self.taken

    def take(self, count: int = 1) -> None:
        """Take slots that the caller has seen to be free (a claim may overshoot by what it was promised)."""
        self.taken += count

    def give(self, count: int = 1) -> None:
        """Give slots back."""
        self.taken -= count
        if self.taken < 0:
            raise AssertionError("more slots were given back than taken")
        self._freed.set()

    async def freed(self) -> None:
        """Wait until a slot is given back after this call."""
        self._freed.clear()
        await self._freed.wait()
