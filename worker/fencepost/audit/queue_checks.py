"""What is wrong with messages, each judged by itself and by its run's standing. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fencepost.audit.findings import Finding
from fencepost.audit.run_checks import Thresholds
from fencepost_queue.inspection import Held
from fencepost_store.inspection import Standing


@dataclass(slots=True)
class LaneFigures:
    """One queue's messages, counted. Milliseconds; None: there is none."""

    queue: str
    ready: int = 0
    leased: int = 0
    delayed: int = 0
    oldest_ready_ms: int | None = None
    longest_over_ms: int | None = None
    leases_over: int = 0
    longest_lease_ms: int | None = None

    def count(self, message: Held, lease_ms: float) -> None:
        """Take a message in. ``lease_ms``: how long a lease may be over."""
        if message.ready_ms is not None:
            self.ready += 1
            self.oldest_ready_ms = max(self.oldest_ready_ms or 0, message.ready_ms)
        elif message.state == "leased":
            self.leased += 1
            left = message.due_ms or 0
            self.longest_lease_ms = max(self.longest_lease_ms or 0, left)
            if -left > lease_ms:
                self.leases_over += 1
                self.longest_over_ms = max(self.longest_over_ms or 0, -left)
        else:
            self.delayed += 1


def check_lane(figures: LaneFigures, thresholds: Thresholds) -> Iterator[Finding]:
    """What a queue's figures say of who serves it."""
    oldest = (figures.oldest_ready_ms or 0) / 1000
    if oldest > thresholds.overdue:
        found = f"{figures.ready} messages are ready in queue {figures.queue!r}, the oldest for {oldest:.0f} s"
        yield Finding("ready_too_long", found, subject=figures.queue)
    if figures.leases_over:
        longest = (figures.longest_over_ms or 0) / 1000
        found = f"{figures.leases_over} leases of queue {figures.queue!r} are over, one for {longest:.0f} s"
        yield Finding("lease_over", found, subject=figures.queue)


def check_messages(
    messages: Iterable[Held], runs: Mapping[str, Standing], thresholds: Thresholds, suspect_crashes: int
) -> Iterator[tuple[Finding, Held]]:
    """Findings of single messages. ``runs``: those of the messages' runs that exist, looked up after the messages."""
    for message in messages:
        run_id = run_of(message.key)
        told = f"{message.key} in queue {message.queue!r}"
        standing = None if run_id is None else runs.get(run_id)
        if standing is None:
            found = f"{told} is {message.state}, and there is no such run"
            yield Finding("message_without_run", found, run_id, message.key), message
        elif standing.ended and (message.ready_ms or 0) > thresholds.overdue * 1000:
            found = f"{told} has been ready for {(message.ready_ms or 0) / 1000:.0f} s"
            yield Finding("message_of_ended_run", found, run_id, message.key), message
        if not message.placed:
            yield Finding("message_mislaid", f"{told} is {message.state}", run_id, message.key), message
        if message.crashes >= suspect_crashes or message.proofs:
            found = f"{told}: {message.crashes} crashes, {message.proofs} of them when run alone"
            yield Finding("suspect", found, run_id, message.key), message


def run_of(key: str) -> str | None:
    """The id of the run that a message is of; None if the key names none."""
    parts = key.split(":", 2)
    try:
        return str(uuid.UUID(parts[1])) if len(parts) > 1 else None
    except ValueError:
        return None
