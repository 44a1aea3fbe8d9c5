"""What goes on beside the storm: step storms, a flood at one run, wake loops, pairs of steps before a webhook."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from tests.ordeal.follower import Follower
from tests.stress.profile import Profile, Tally
from tests.web.asgi import request

from fencepost.client import Client
from fencepost.errors import HookNotFound
from fencepost.web.webhooks import webhooks

WAKE_TIMES = 20
TICKS_PER_WAKE = 3.0
"""A sleep that is over needs one turn; another one may lose its fence, a third one recover. A wake loop takes any
number."""


class Sides:
    """The side storms of one cycle."""

    def __init__(self, client: Client, follower: Follower, profile: Profile, number: int) -> None:
        self._client = client
        self._follower = follower
        self._profile = profile
        self._number = number
        self._app = webhooks(client)
        self.runs: list[str] = []
        self.flooded: list[str] = []
        self.wakes: list[str] = []

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        """Each starts its runs and waits for their ends."""
        sides = range(self._profile.sides)
        return [
            self._flood(),
            self._start("kills_once"),
            *(self._step_storm() for _ in sides),
            *(self._wakes(n) for n in sides),
            *(self._webhook(n) for n in sides),
        ]

    def complaints(self, tally: Tally) -> list[str]:
        """What is wrong beyond single runs: a herd of ticks, a wake loop."""
        found: list[str] = []
        bound = TICKS_PER_WAKE * WAKE_TIMES * max(1, len(self.wakes))
        if tally.wake_ticks > bound:
            found.append(
                f"{len(self.wakes)} runs of {WAKE_TIMES} sleeps took {tally.wake_ticks} ticks, at most {bound:g}"
            )
        if tally.flood_ticks > 2 * self._profile.flood:
            found.append(f"{self._profile.flood} signals at one run took {tally.flood_ticks} ticks")
        return found

    async def _start(self, workflow: str, *args: Any) -> None:
        run: Any = await self._client.start(workflow, *args)
        self.runs.append(run.id)
        await self._follower.ended(run.id)

    async def _step_storm(self) -> None:
        await self._start("step_storm", self._profile.width)

    async def _flood(self) -> None:
        token = f"flood:{self._number}"
        run: Any = await self._client.start("flooded", token, self._profile.flood)
        self.runs.append(run.id)
        self.flooded.append(run.id)
        await self._listening(token)
        sending = (self._client.resume(token, n, id=f"flood{n}") for n in range(self._profile.flood))
        await asyncio.gather(*sending)
        await self._follower.ended(run.id)

    async def _wakes(self, n: int) -> None:
        token = f"wakes:{self._number}:{n}"
        run: Any = await self._client.start("wakes", token, WAKE_TIMES)
        self.runs.append(run.id)
        self.wakes.append(run.id)
        await self._listening(token)
        await self._client.resume(token, n, id=token)
        await self._follower.ended(run.id)

    async def _webhook(self, n: int) -> None:
        token = f"pair:{self._number}:{n}"
        run: Any = await self._client.start("pair_then_webhook", token)
        self.runs.append(run.id)
        await self._listening(token)
        for _ in range(2):  # the second one is the same delivery
            answer = await request(self._app, f"/{token}", str(n).encode(), {"webhook-id": token})
            assert answer.status == 202, answer
        await self._follower.ended(run.id)

    async def _listening(self, token: str) -> None:
        while True:
            try:
                await self._client.hook(token)
            except HookNotFound:
                await asyncio.sleep(0.02)  # its first turn has not been; there is nothing to wait on but time
            else:
                return
