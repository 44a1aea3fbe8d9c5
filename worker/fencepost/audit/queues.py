"""The audit of the queue's messages, lane by lane, in slices."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from fencepost.audit.findings import Finding
from fencepost.audit.queue_checks import LaneFigures, check_lane, check_messages, run_of
from fencepost.audit.report import Report
from fencepost.audit.run_checks import Thresholds
from fencepost_queue.inspection import Held
from fencepost_queue.inspection import Inspection as QueueInspection
from fencepost_store.inspection import Inspection, Standing

SLICE = 500


class QueueAudit:
    """``again``: the pause before a second look."""

    def __init__(
        self,
        inspection: Inspection,
        queue: QueueInspection,
        thresholds: Thresholds,
        suspect_crashes: int,
        again: Callable[[], Awaitable[None]],
    ) -> None:
        self._inspection = inspection
        self._queue = queue
        self._thresholds = thresholds
        self._suspect_crashes = suspect_crashes
        self._again = again

    async def findings(self, report: Report) -> AsyncGenerator[tuple[Finding, Held | None]]:
        """What is wrong with each queue and its messages; the figures go into the report. None: it is of a queue."""
        figures: dict[str, LaneFigures] = {}
        for queue, shard in await self._queue.lanes():
            lane = figures.setdefault(queue, LaneFigures(queue))
            cursor = 0
            while True:
                messages, cursor = await self._queue.scan(queue, shard, cursor, SLICE)
                for message in messages:
                    report.messages += 1
                    lane.count(message, self._thresholds.lease * 1000)
                for pair in await self._certain(queue, messages):
                    yield pair
                if cursor == 0:
                    break
        report.lanes = list(figures.values())
        for lane in report.lanes:
            for finding in check_lane(lane, self._thresholds):
                yield finding, None

    async def _certain(self, queue: str, messages: Sequence[Held]) -> list[tuple[Finding, Held]]:
        """Findings that are there at both looks. The run is looked up after its message: it was committed before."""
        first = await self._judged(messages)
        if not first:
            return []
        await self._again()
        keys = list(dict.fromkeys(message.key for _, message in first))
        known = {finding.identity for finding, _ in first}
        again = await self._judged(await self._queue.look(queue, keys))
        return [(finding, message) for finding, message in again if finding.identity in known]

    async def _judged(self, messages: Sequence[Held]) -> list[tuple[Finding, Held]]:
        ids = list(dict.fromkeys(run_id for message in messages if (run_id := run_of(message.key)) is not None))
        standings: dict[str, Standing] = await self._inspection.standings(ids) if ids else {}
        return list(check_messages(messages, standings, self._thresholds, self._suspect_crashes))
