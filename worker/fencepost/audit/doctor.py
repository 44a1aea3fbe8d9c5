"""The audit of a live namespace, page by page, with bounded memory.

Traffic goes on meanwhile, and Postgres and Redis are never seen at one moment. So whatever looks wrong is looked at
again after a pause, under a fresh snapshot, and told only if it looks wrong in the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import msgspec

from fencepost.audit.findings import Finding
from fencepost.audit.kin import kin_findings, stray_findings
from fencepost.audit.queues import QueueAudit
from fencepost.audit.repair import Repairs
from fencepost.audit.report import Report
from fencepost.audit.run_checks import Thresholds, check_run, with_tick
from fencepost.audit.servers import check_clocks, read_clock
from fencepost_queue.inspection import Held
from fencepost_queue.inspection import Inspection as QueueInspection
from fencepost_queue.protocol import tick_key
from fencepost_store.inspection import Inspected, Inspection

PAGE_RUNS = 500
EVENTS_AT_ONCE = 20_000
"""Runs are read together as long as their logs have fewer events than this; a longer one is read alone. An event
without its payload is some 200 bytes here."""

PAUSE_SECONDS = 0.5
"""Before the second look: longer than a turn takes, so that what was under way is over."""


class Scope(msgspec.Struct, frozen=True):
    """What is audited. ``run``: this one only, and of the queue its tick. ``limit``: at most so many runs, oldest
    first."""

    run: str | None = None
    open_only: bool = False
    limit: int | None = None


class Doctor:
    """``queue`` None: it could not be reached or was refused, and only Postgres is audited."""

    def __init__(
        self,
        inspection: Inspection,
        queue: QueueInspection | None,
        thresholds: Thresholds,
        *,
        suspect_crashes: int,
        repairs: Repairs | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._inspection = inspection
        self._queue = queue
        self._thresholds = thresholds
        self._suspect_crashes = suspect_crashes
        self._repairs = repairs
        self._sleep = sleep

    async def audit(self, scope: Scope, report: Report) -> None:
        """Look at all that the scope names, and write the report. Raises StoreTrouble, QueueTrouble."""
        for told in self._inspection.warnings:
            report.add(Finding("commits_not_kept", told, subject="Postgres"))
        await self._clocks(report)
        async for chunk in self._chunks(scope):
            await self._runs(chunk, report)
            await self._kin(chunk, report)
        if scope.run is not None:
            return
        await self._tokens(report)
        async for finding in stray_findings(self._inspection):
            report.add(finding)
        if self._queue is not None:
            audit = QueueAudit(self._inspection, self._queue, self._thresholds, self._suspect_crashes, self._again)
            async for finding, message in audit.findings(report):
                report.add(finding)
                if self._repairs is not None and message is not None:
                    repaired = await self._repairs.message(finding, message)
                    report.repairs += [] if repaired is None else [repaired]

    async def _again(self) -> None:
        await self._sleep(PAUSE_SECONDS)

    async def _clocks(self, report: Report) -> None:
        async def postgres() -> float:
            return await self._inspection.now() / 1000

        report.clocks.append(await read_clock("Postgres", postgres))
        if self._queue is not None:
            report.clocks.append(await read_clock("Redis", self._queue.clock_ms))
        for finding in check_clocks(report.clocks, self._thresholds.clocks):
            report.add(finding)

    async def _chunks(self, scope: Scope) -> AsyncGenerator[list[str]]:
        """Run ids in portions that are read at once."""
        if scope.run is not None:
            yield [scope.run]
            return
        left, after = scope.limit, None
        while left is None or left > 0:
            page = await self._inspection.page(
                after, PAGE_RUNS if left is None else min(left, PAGE_RUNS), open_only=scope.open_only
            )
            if not page:
                return
            chunk: list[str] = []
            events = 0
            for length in page:
                if chunk and events + length.last_seq > EVENTS_AT_ONCE:
                    yield chunk
                    chunk, events = [], 0
                chunk.append(length.run_id)
                events += length.last_seq
            yield chunk
            after = page[-1].run_id
            left = None if left is None else left - len(page)

    async def _runs(self, run_ids: Sequence[str], report: Report) -> None:
        runs = await self._inspection.runs(run_ids)
        for run in runs:
            report.count(run)
        first = await self._judged(runs)
        if not first:
            return
        await self._again()
        suspicious = list(dict.fromkeys(finding.run for finding in first if finding.run is not None))
        again = await self._inspection.runs(suspicious)
        known = {finding.identity for finding in first}
        by_id = {run.run_id: run for run in again}
        for finding in await self._judged(again):
            if finding.identity in known:
                report.add(finding)
                await self._repair(finding, by_id[finding.run or ""], report)

    async def _kin(self, run_ids: Sequence[str], report: Report) -> None:
        for finding in await kin_findings(self._inspection, run_ids, self._thresholds.overdue, self._again):
            report.add(finding)
            for run in await self._inspection.runs([finding.run or ""]) if self._repairs is not None else ():
                await self._repair(finding, run, report)

    async def _repair(self, finding: Finding, run: Inspected, report: Report) -> None:
        if self._repairs is not None:
            repaired = await self._repairs.run(finding, run)
            report.repairs += [] if repaired is None else [repaired]

    async def _judged(self, runs: Sequence[Inspected]) -> list[Finding]:
        found: list[Finding] = []
        for run in runs:
            for finding in check_run(run, self._thresholds):
                if finding.code != "overdue_without_message":
                    found.append(finding)
                elif self._queue is not None:  # else whether it has a message cannot be known
                    found.append(with_tick(finding, await self._tick(run)))
        return found

    async def _tick(self, run: Inspected) -> Held | None:
        assert self._queue is not None
        found = await self._queue.look(run.queue, [tick_key(run.run_id)])
        return found[0] if found else None

    async def _tokens(self, report: Report) -> None:
        """Rows of ``hooks`` whose run does not exist; the others are judged with their runs."""
        after = ""
        while page := await self._inspection.tokens(after, PAGE_RUNS):
            report.tokens += len(page)
            for held in page:
                if held.stray:
                    found = f"token {held.token!r} is held for {held.entity} of run {held.run_id}"
                    report.add(Finding("token_without_run", found, held.run_id, held.token))
            after = page[-1].token
