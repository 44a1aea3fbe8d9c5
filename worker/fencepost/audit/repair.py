"""What ``fencepost doctor --repair`` does about findings: ticks, deadlines, and messages that nobody needs. It never
writes to a log, and nothing that it does could harm a run that is well: a tick too many is settled, a deadline is only
set where there was none, and under the run's fence.
"""

from __future__ import annotations

from fencepost.audit.findings import Finding
from fencepost.audit.queue_checks import run_of
from fencepost.audit.report import Repair
from fencepost_queue.inspection import Held
from fencepost_queue.inspection import Inspection as QueueInspection
from fencepost_queue.protocol import Entry, Queue, tick_key
from fencepost_store.inspection import Inspected, Inspection
from fencepost_store.protocol import Outcome, Store

TICKED = frozenset(
    {
        "no_deadline",
        "overdue_without_message",
        "end_not_done",
        "child_missing",
        "end_not_told",
        "successor_missing",
    }
)
"""What a recovering tick of the run does again."""

UNWANTED = frozenset({"message_without_run", "message_of_ended_run"})


class Repairs:
    """``queue`` and ``messages`` are two sides of one queue. ``grace``: microseconds, how soon a deadline that is set
    here comes."""

    def __init__(
        self, store: Store, inspection: Inspection, queue: Queue, messages: QueueInspection, grace: int
    ) -> None:
        self._store = store
        self._inspection = inspection
        self._queue = queue
        self._messages = messages
        self._grace = grace

    async def run(self, finding: Finding, run: Inspected) -> Repair | None:
        """About a finding of a run; None: there is nothing that could be done here."""
        if finding.code not in TICKED:
            return None
        done = ""
        if finding.code == "no_deadline":
            verdict = await self._store.touch(run.run_id, run.fence, run.last_seq, run.now + self._grace)
            if verdict.outcome is not Outcome.ok:
                return Repair(finding, "nothing: the run has moved on")
            done = "set a deadline, and "
        (outcome,) = await self._queue.enqueue([Entry(queue=run.queue, key=tick_key(run.run_id), recover=True)])
        return Repair(finding, f"{done}placed a recovering tick ({outcome.value})")

    async def message(self, finding: Finding, message: Held) -> Repair | None:
        """About a finding of a message."""
        if finding.code == "message_mislaid":
            (outcome,) = await self._queue.enqueue([Entry(queue=message.queue, key=message.key, recover=True)])
            return Repair(finding, f"placed it again ({outcome.value})")
        return await self._withdraw(finding, message) if finding.code in UNWANTED else None

    async def _withdraw(self, finding: Finding, message: Held) -> Repair:
        run_id = run_of(message.key)
        standing = None if run_id is None else (await self._inspection.standings([run_id])).get(run_id)
        if standing is not None and not standing.ended:
            return Repair(finding, "nothing: its run is open")
        if standing is not None and standing.wake_at is not None and message.key.startswith("t:"):
            return Repair(finding, "nothing: what follows from its run's end is still to be done, by this tick")
        now = await self._messages.look(message.queue, [message.key])
        if any(held.state == "leased" for held in now):
            return Repair(finding, "nothing: a worker has it, and will settle it")
        await self._queue.withdraw(message.queue, [message.key])
        return Repair(finding, "withdrew it")
