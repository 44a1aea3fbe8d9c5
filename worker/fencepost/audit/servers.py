"""How far the clocks of this host, Postgres and Redis are apart. Nothing depends on it (H16, H100); people do."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator

import msgspec

from fencepost.audit.findings import Finding

TRIES = 3
"""Round trips per server: the shortest one tells the time best."""


class Clock(msgspec.Struct, frozen=True):
    """A server's clock against this host's. ``ahead_ms``: positive if it is ahead. ``within_ms``: half of the round
    trip, which is how well it is known.
    """

    server: str
    ahead_ms: float
    within_ms: float


async def read_clock(
    server: str, now_ms: Callable[[], Awaitable[float]], here: Callable[[], float] = time.time
) -> Clock:
    """``now_ms`` asks the server, milliseconds since the epoch; ``here``: this host's clock, seconds."""
    best: Clock | None = None
    for _ in range(TRIES):
        sent = here() * 1000
        told = await now_ms()
        answered = here() * 1000
        clock = Clock(server, told - (sent + answered) / 2, (answered - sent) / 2)
        best = clock if best is None or clock.within_ms < best.within_ms else best
    assert best is not None
    return best


def check_clocks(clocks: list[Clock], seconds: float) -> Iterator[Finding]:
    """One finding per clock that is further from this host's than ``seconds``, for certain."""
    for clock in clocks:
        if abs(clock.ahead_ms) - clock.within_ms > seconds * 1000:
            side = "ahead of" if clock.ahead_ms > 0 else "behind"
            found = f"{clock.server} is {abs(clock.ahead_ms) / 1000:.1f} s {side} this host"
            yield Finding("clocks_differ", found, subject=clock.server)
