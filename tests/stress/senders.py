"""Whoever fires payloads at storm runs: each log is followed, and payloads are timed to the end of its race's sleep."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

from tests.ordeal.follower import Seen
from tests.ordeal.ground import now
from tests.stress.storm_flows import PER_TOKEN

from fencepost.client import Client
from fencepost.errors import HookNotFound
from fencepost_store.events import EventType

BURSTS = (0, 1, 1, 2, 2, 3, 4)
"""How many payloads are fired at one race: none, so that the sleep wins; one; or several, of which the later ones find
the next races."""


class Senders:
    """Fires at every race that it sees, ten payloads per token in all. ``sent``: by run, values that were accepted."""

    def __init__(self, client: Client, window_ms: float, seed: int) -> None:
        self._client = client
        self._window = window_ms / 1000
        self._random = random.Random(seed)
        self._tokens: dict[str, str] = {}
        self._left: dict[str, int] = {}
        self._values = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.sent: dict[str, list[str]] = {}
        self.refused = 0

    def saw(self, event: Seen) -> None:
        """An event of a storm run."""
        if event.type is EventType.hook_created and event.token is not None:
            self._tokens[event.run] = event.token
            self._left[event.run] = PER_TOKEN
        elif event.type is EventType.wait_created and "nap#" in event.entity and event.due is not None:
            count = min(self._random.choice(BURSTS), self._left.get(event.run, 0))
            for _ in range(count):
                self._left[event.run] -= 1
                self._values += 1
                offset = self._random.uniform(-self._window, self._window)
                delay = (event.due - now()) / 1e6 + offset
                self._start(self._fire(event.run, self._tokens[event.run], self._values, delay))

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fire(self, run: str, token: str, value: int, delay: float) -> None:
        await asyncio.sleep(max(0.0, delay))
        try:
            await self._client.resume(token, value, id=f"v{value}")
        except HookNotFound:  # its loops were over
            self.refused += 1
        else:
            self.sent.setdefault(run, []).append(f"v{value}")

    async def settle(self) -> None:
        """Wait for what is under way. Raises what a sender raised."""
        while self._tasks:
            await asyncio.gather(*self._tasks)
