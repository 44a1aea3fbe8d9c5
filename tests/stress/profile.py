"""How large a storm is, and what one cycle of it came to."""

from __future__ import annotations

from collections import Counter

import msgspec


class Profile(msgspec.Struct, frozen=True):
    """``runs`` per cycle, ``inflight`` of them at once, each of ``loops`` races against a sleep of ``sleep_ms``.
    ``window_ms``: payloads are fired between that much before and that much after the end of a sleep. ``kills`` and
    ``freezes`` of workers per cycle. ``flood``: payloads at once at one run. ``width`` of step storms, ``sides``: how
    many of each side storm.
    """

    cycles: int = 40
    runs: int = 180
    inflight: int = 50
    loops: int = 80
    sleep_ms: int = 200
    window_ms: float = 15.0
    workers: int = 3
    kills: int = 1
    freezes: int = 1
    flood: int = 180
    width: int = 50
    sides: int = 4
    lease_seconds: float = 4.0
    seed: int = 1
    cycle_seconds: float = 600.0
    """The bound of one cycle: what is open then and rests is stuck, what is open and moves is late."""


SHORT = Profile(
    cycles=1,
    runs=16,
    inflight=16,
    loops=12,
    sleep_ms=120,
    kills=0,
    freezes=1,
    flood=40,
    width=12,
    sides=1,
    lease_seconds=2.0,
    cycle_seconds=90.0,
)
"""For the gate."""


class Tally(msgspec.Struct):
    """Counts of one cycle, or of several. The last ones, but for ``late``, must be zero where fences are on.

    ``conflicts``: fences lost. ``redeliveries``: messages taken over from owners whose leases had run out.
    ``ticks``: of storm runs. ``repeats``: bodies run twice because their worker died, froze or lost its lease.
    ``unused``: starts in the log that no body followed.
    ``corrupted``: runs whose log an oracle refuses, or replays to other than it says, or whose result is not what its
    winners lead to. ``stuck``: open, at rest. ``late``: open and moving at the deadline, which blames the machine.
    ``herds``: times when there were far more ticks than there was to do.
    ``duplicated``: payloads consumed twice, bodies run twice that no fault explains.
    """

    runs: int = 0
    loops: int = 0
    events: int = 0
    steps: int = 0
    prefixes: int = 0
    payloads: int = 0
    refused: int = 0
    conflicts: int = 0
    redeliveries: int = 0
    ticks: int = 0
    flood_ticks: int = 0
    wake_ticks: int = 0
    kills: int = 0
    freezes: int = 0
    repeats: int = 0
    unused: int = 0
    parked: int = 0
    corrupted: int = 0
    stuck: int = 0
    failed: int = 0
    duplicated: int = 0
    late: int = 0
    herds: int = 0
    seconds: float = 0.0
    notes: list[str] = []

    def add(self, other: Tally) -> None:
        """Take in another one's counts."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def wrong(self) -> Counter[str]:
        """What must not be."""
        return Counter({name: getattr(self, name) for name in ("corrupted", "stuck", "failed", "duplicated")})


def told(tally: Tally) -> str:
    """One line."""
    ratio = tally.ticks / tally.runs if tally.runs else 0.0
    return (
        f"{tally.runs} runs, {tally.events} events, {tally.payloads} payloads, {tally.conflicts} conflicts,"
        f" {ratio:.1f} ticks per run, {tally.redeliveries} redeliveries ({tally.kills} kills, {tally.freezes} freezes),"
        f" {tally.repeats} bodies run twice beside a fault; corrupted {tally.corrupted}, stuck {tally.stuck},"
        f" failed {tally.failed}, duplicated {tally.duplicated}; {tally.seconds:.0f} s"
    )
