"""Messages that were lost with a worker before. If one of them has killed it, it kills the next one as well: so few of
them begin together, and few are in its company then (docs/protocol.md section 6).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fencepost_queue.limits import COMPANY_MAX, YOUNG_MS

YOUNG_SECONDS = YOUNG_MS / 1_000
"""Who has lived for so long, or has ended, makes room for the next one: a worker that takes over 64 long bodies has
begun the last of them two seconds later."""


class Redelivered:
    """Places for those that have just begun: as many as may be blamed together."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(COMPANY_MAX)

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None]:
        """Wait for a place; it is given back behind the block, or when the block has gone on for long enough."""
        await self._places.acquire()
        held = True

        def give() -> None:
            nonlocal held
            if held:
                held = False
                self._places.release()

        timer = asyncio.get_running_loop().call_later(YOUNG_SECONDS, give)
        try:
            yield
        finally:
            timer.cancel()
            give()
