"""The reconciler: every worker looks, jittered, for runs whose deadline has passed and gives them recovering ticks
(docs/protocol.md section 6, I7).

It is what makes Redis disposable: whatever was lost there, each run that owes or waits for anything but a signal has a
deadline in Postgres.
"""

from __future__ import annotations

from collections.abc import Sequence

from fencepost.engine.shell import Shell
from fencepost.telemetry import note
from fencepost_queue.protocol import Entry, QueueTrouble, tick_key
from fencepost_store.protocol import DueRun, StoreTrouble

TAKE_BACK_SECONDS = 0.5
"""What a round of renewals may take beyond its period."""


class Reconciler:
    """``round`` is one look, ``full`` the sweep after a loss of the queue, ``loop`` does rounds for ever."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    async def loop(self) -> None:
        """A round per period, or a little sooner so that workers spread; after trouble the next one tries again."""
        shell = self._shell
        while True:
            period = shell.settings.reconcile_period_seconds
            await shell.ports.sleep(period * (0.75 + shell.ports.uniform() / 4))
            await shell.gates.opened()  # or deadlines would be taken for ticks that nobody can place
            try:
                await self.round()
            except (StoreTrouble, QueueTrouble) as trouble:
                self._failed(trouble)

    async def round(self) -> int:
        """Tick what is due, and parked runs of other builds. Returns how many ticks were placed."""
        shell = self._shell
        placed = 0
        batch = shell.settings.reconcile_batch
        await shell.store.take_parked(shell.settings.build, batch)
        while due := await shell.store.take_due(batch, shell.rules.recovery):
            await self._tick(due)
            placed += len(due)
            if len(due) < batch:
                break
        if placed:
            note("reconciled", count=placed, full=False)
        return placed

    async def full(self, queue: str, generation: str) -> None:
        """All runs that have a deadline, due or not, by cursor: the queue was lost, and a claim has asked this worker
        (H104). Nobody else is at it while we say that we are; if we do not get to its end, a claim asks again (H127).

        Those who have work under way come first: with their next renewals they take their leases back. Swept before
        that, every step under way would look as if nobody had it, and its body would be begun a second time.
        """
        shell = self._shell
        await shell.ports.sleep(shell.settings.renewal_seconds + TAKE_BACK_SECONDS)
        placed = 0
        cursor: str | None = None
        try:
            while await shell.queue.sweep(queue, generation, shell.keeper.lease_ms):
                page = await shell.store.scan_deadlines(cursor, shell.settings.reconcile_batch)
                if not page:
                    await shell.queue.sweep(queue, generation, 0)
                    note("reconciled", count=placed, full=True)
                    return
                await self._tick(page)
                placed += len(page)
                cursor = page[-1].run_id
            # Another has swept meanwhile, or the data is lost again and somebody has to sweep anew.
        except (StoreTrouble, QueueTrouble) as trouble:
            self._failed(trouble)

    def _failed(self, trouble: StoreTrouble | QueueTrouble) -> None:
        if self._shell.gates.trouble(trouble):
            note("reconcile_failed", error=f"{type(trouble).__name__}: {trouble}")

    async def _tick(self, due: Sequence[DueRun]) -> None:
        await self._shell.queue.enqueue([Entry(queue=run.queue, key=tick_key(run.run_id), recover=True) for run in due])
