"""Workflow code that blocks in C: nothing of its process goes on but the thread beside the loop, which renews leases,
watches the turn, fails the run and ends the process. That thread is a process of the scheduler's here, with its own
connections; its logic is the engine's (``TurnWatch``, ``failing``).

The code cannot stand still in the middle of a callback of this loop. Instead its process is frozen for ever, what it
still does in that callback reaches nobody, and its seat keeps saying that the turn goes on.
"""

# A seat is made of the guard's private parts.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tests.simulate.scheduler import PROC, Proc, SimLoop
from tests.simulate.wires import StoreWire, Wire

from fencepost.config import Config
from fencepost.engine.shell import Shell
from fencepost.engine.turn_watch import INTERRUPTS_MAX, WATCH_SECONDS, TurnWatch, failing
from fencepost.replay.budget import TurnGuard, seated

BLOCKED_SECONDS = 10.0 * 1.002 + (INTERRUPTS_MAX + 2) * WATCH_SECONDS
"""By then a process whose workflow code blocks has ended: the replay budget, by a slow clock, and the interrupts."""


class Seat(TurnGuard):
    """A guard whose turn may come to stand still. No exception can be raised in it then. ``on_block``: called once."""

    def __init__(self, clock: Callable[[], float], on_block: Callable[[str], None]) -> None:
        super().__init__(clock)
        self.blocked = False
        self._on_block = on_block

    def block(self) -> None:
        """The code of the turn does not come back."""
        if not self.blocked:
            self.blocked = True
            self._on_block(self._run_id)

    def interrupt(self) -> bool:
        """It is pending for ever."""
        with self._lock:
            self._hits += 1
        return True

    def progress(self) -> None:
        """None, when it blocks."""
        if not self.blocked:
            super().progress()

    def stand(self) -> None:
        """It does not stand up, when it blocks."""
        thread = self._thread
        super().stand()
        if self.blocked:
            self._thread = thread


async def block() -> None:
    """What the code does. Where no worker executes it, but a check of its log, it only waits."""
    seat = seated()
    if isinstance(seat, Seat):
        seat.block()
    await asyncio.get_running_loop().create_future()


class Thread:
    """The thread beside a process's loop: ``proc``, ``store``. ``main``: whose thread it is. ``blocked``: the run in
    whose code that stands still.
    """

    def __init__(self, loop: SimLoop, main: Proc, wire: Wire, store: Any) -> None:
        self.main = main
        self.proc = Proc(f"{main.name}/keeper", main.epoch, main.rate)
        self.wire = Wire(loop, self.proc, wire.latency, _uncounted)
        self.wire.cut, self.wire.slow = wire.cut, wire.slow
        self.wire.branches, self.wire.landed, self.wire.sent = wire.branches, wire.landed, wire.sent
        self.store = StoreWire(self.wire, store)
        self.blocked = ""
        self._loop = loop
        self._main_wire = wire

    def seat(self, shell: Shell, on_block: Callable[[str], None]) -> None:
        """Give the process a seat that can block, and watch it."""
        guard = Seat(shell.ports.monotonic, lambda run_id: self._stand(run_id, on_block))
        shell.guard = shell.runs._guard = guard

    def _stand(self, run_id: str, on_block: Callable[[str], None]) -> None:
        self.blocked = run_id
        self._main_wire.gone = True
        self._loop.freeze(self.main)
        on_block(run_id)

    async def watch(self, shell: Shell, config: Config) -> None:
        """As KeeperThread and the process of a suspect do."""
        budget = shell.settings.replay_budget_seconds
        turns = TurnWatch(shell.ports.monotonic, shell.guard, budget, failing(config), processor=float)
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await turns.look()


def _uncounted() -> None:
    """Its calls are no places for faults."""


def exits(ended: Callable[[Proc, int], None]) -> SimpleNamespace:
    """Stands in for ``os`` in the watch: the process ends, and nothing of the thread that asked for it runs on."""

    def end(code: int) -> None:
        ended(PROC.get(), code)

    return SimpleNamespace(_exit=end)
