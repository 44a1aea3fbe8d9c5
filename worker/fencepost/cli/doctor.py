"""``fencepost doctor``: is what stands in Postgres and Redis what the protocol allows?"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click

from fencepost.cli.doctor_text import as_document, show, show_finding
from fencepost.cli.output import emit
from fencepost.cli.runs_list import check_run_id
from fencepost.cli.session import Session, json_option

if TYPE_CHECKING:
    from fencepost.audit.doctor import Scope
    from fencepost.audit.report import Report
    from fencepost.audit.run_checks import Thresholds
    from fencepost.config import Config
    from fencepost_queue.valkey import ValkeyQueue


@click.command()
@click.option("--run", "run_id", metavar="ID", callback=check_run_id, help="This one only.")
@click.option("--open", "open_only", is_flag=True, help="Runs that have not ended only.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many runs, oldest first. [default: all]")
@click.option(
    "--overdue",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long past its deadline a run, or ready a message, may be.",
)
@click.option("--repair", is_flag=True, help="Place ticks, set missing deadlines, withdraw messages that nobody needs.")
@json_option
@click.pass_context
def doctor(
    ctx: click.Context,
    run_id: str | None,
    open_only: bool,
    limit: int | None,
    overdue: float,
    repair: bool,
    as_json: bool,
) -> None:
    """Audit a live namespace: logs, rows, hook tokens, deadlines, messages, leases and clocks.

    Reads only, unless `--repair` is given. Workers may go on meanwhile. Exit codes: 0 nothing was found, 1 something
    was.
    """
    from fencepost.audit.doctor import Scope
    from fencepost.audit.report import Report
    from fencepost.audit.run_checks import Thresholds

    session: Session = ctx.obj
    report = Report() if as_json else Report(show_finding)
    scope = Scope(run_id, open_only, limit)
    seconds = session.run(_audit(session, scope, Thresholds(overdue=overdue), report, repair=repair))
    if as_json:
        emit(as_document(report, seconds))
    else:
        show(report, seconds)
    if not report.clean:
        ctx.exit(1)


async def _audit(session: Session, scope: Scope, thresholds: Thresholds, report: Report, *, repair: bool) -> float:
    """Returns how long it took, seconds."""
    import time

    from fencepost.audit.doctor import Doctor
    from fencepost.audit.repair import Repairs
    from fencepost.connections import open_inspection, open_store
    from fencepost.errors import RunNotFound

    config = session.servers()
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        inspection = await open_inspection(config)
        stack.push_async_callback(inspection.close)
        if scope.run is not None and not await inspection.standings([scope.run]):
            raise RunNotFound(f"run {scope.run} does not exist in namespace {config.namespace!r}")
        queue = await _queue(config, report)
        repairs = None
        if queue is not None:
            stack.push_async_callback(queue.close)
            if repair:
                store = await open_store(config)
                stack.push_async_callback(store.close)
                repairs = Repairs(store, inspection, queue, queue, int(config.grace_seconds * 1_000_000))
        audit = Doctor(inspection, queue, thresholds, suspect_crashes=config.suspect_crashes, repairs=repairs)
        await audit.audit(scope, report)
    return time.monotonic() - began


async def _queue(config: Config, report: Report) -> ValkeyQueue | None:
    """The queue; if workers would refuse it, or it is away, that is a finding, and Postgres is audited alone."""
    from fencepost.audit.findings import Finding
    from fencepost.connections import open_queue
    from fencepost_queue.errors import QueueRefused
    from fencepost_queue.protocol import QueueTrouble

    try:
        return await open_queue(config)
    except QueueRefused as refused:
        report.add(Finding("queue_refused", str(refused), subject="Redis"))
    except QueueTrouble as trouble:
        report.add(Finding("queue_unreachable", str(trouble), subject="Redis"))
    return None
