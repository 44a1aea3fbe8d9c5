"""What an audit came to, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
import msgspec

from fencepost.cli.output import painted, printable, span

if TYPE_CHECKING:
    from fencepost.audit.findings import Finding
    from fencepost.audit.queue_checks import LaneFigures
    from fencepost.audit.report import Report
    from fencepost.audit.servers import Clock

COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}


def show_finding(finding: Finding) -> None:
    """One finding, as soon as it is certain."""
    rule = finding.rule
    severity = rule.severity.value
    where = f" run {finding.run}" if finding.run else ""
    click.echo(f"{painted(severity, COLOURS[severity])} {finding.code}{where}: {printable(finding.found)}")
    click.echo(f"    means    {rule.means}")
    click.echo(f"    way out  {rule.way_out}")


def show(report: Report, seconds: float) -> None:
    """All but the findings, which have been told."""
    for repair in report.repairs:
        run = f" run {repair.finding.run}" if repair.finding.run else ""
        click.echo(f"repair {repair.finding.code}{run}: {printable(repair.done)}")
    for clock in report.clocks:
        click.echo(_clock(clock))
    for lane in report.lanes:
        click.echo(_lane(lane))
    for reason, count in report.parked.most_common():
        told = f"the log has {reason.recorded}, the code asks for {reason.asked}, at {reason.source}"
        click.echo(printable(f"parked: {count} of workflow {reason.workflow} by build {reason.build!r}: {told}"))
    click.echo(
        f"audited in {span(seconds)}: {report.runs} runs ({report.open_runs} open), {report.events} events,"
        f" {report.tokens} hook tokens, {report.messages} messages"
    )
    total = sum(report.counts.values())
    parts = ", ".join(f"{count} {code}" for code, count in report.counts.most_common())
    click.echo(f"{total} findings: {parts}" if total else "nothing found")


def as_document(report: Report, seconds: float) -> dict[str, Any]:
    """The document of docs/cli.md."""
    return {
        "clean": report.clean,
        "seconds": round(seconds, 3),
        "audited": {
            "runs": report.runs,
            "open_runs": report.open_runs,
            "events": report.events,
            "tokens": report.tokens,
            "messages": report.messages,
        },
        "clocks": [msgspec.structs.asdict(clock) for clock in report.clocks],
        "queues": [asdict(lane) for lane in report.lanes],
        "parked": [{**msgspec.structs.asdict(reason), "runs": count} for reason, count in report.parked.items()],
        "counts": dict(report.counts),
        "findings": [_finding(finding) for finding in report.findings],
        "repairs": [{**_finding(repair.finding), "done": repair.done} for repair in report.repairs],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    rule = finding.rule
    return {
        "code": finding.code,
        "severity": rule.severity.value,
        "run": finding.run,
        "subject": finding.subject,
        "found": finding.found,
        "means": rule.means,
        "way_out": rule.way_out,
    }


def _clock(clock: Clock) -> str:
    side = "ahead of" if clock.ahead_ms > 0 else "behind"
    error = f"give or take {clock.within_ms:.1f} ms"
    return f"clock: {clock.server} is {abs(clock.ahead_ms):.1f} ms {side} this host, {error}"


def _lane(lane: LaneFigures) -> str:
    oldest = "" if lane.oldest_ready_ms is None else f" (oldest for {span(lane.oldest_ready_ms / 1000)})"
    over = "" if not lane.leases_over else f" ({lane.leases_over} over)"
    return f"queue {lane.queue}: {lane.ready} ready{oldest}, {lane.leased} leased{over}, {lane.delayed} delayed"
