"""Why a run waits for other code."""

from __future__ import annotations

import msgspec


class Parked(msgspec.Struct, frozen=True):
    """Why a run is parked: by which build, at which seq, and both sides in words. ``before``: what other builds have
    made of the same log, the newest first; they are not asked again until an event lands.
    """

    build: str
    seq: int
    recorded: str
    asked: str
    source: str
    before: tuple[Parked, ...] = ()

    @property
    def builds(self) -> tuple[str, ...]:
        """Every build that has tried."""
        return self.build, *(one.build for one in self.before)
