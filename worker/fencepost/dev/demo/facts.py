"""What was seen in one run of the demo: plain values, from which ``promises.py`` judges and ``--json`` prints."""

from __future__ import annotations

import msgspec

from fencepost.dev.demo.index import Report
from fencepost.dev.demo.order import Outcome


class Kill(msgspec.Struct, frozen=True):
    """The death of a worker. ``at``: microseconds, the log's clock, read while it was frozen and right before the
    signal. ``in_flight``: the steps that it had begun and not ended, by the log, at that moment. ``leases_ended``: what
    the word to the queue (this worker is dead) found. ``handed_on_ms``: from the kill until the queue had none of its
    messages under its name any more.
    """

    victim: str
    pid: int
    exit_code: int
    at: int
    completed_before: int
    in_flight: tuple[str, ...]
    leases_ended: int
    handed_on_ms: float


class IndexFacts(msgspec.Struct, frozen=True):
    """The index run.

    ``begun_before_kill``: steps begun by each worker until the kill. ``lost``: steps that the killed worker had begun
    and somebody else ended, by the whole log. ``begun_again``: steps with more than one start in the log, and whose
    starts they were. ``ran_twice``: steps whose body really began twice, by the bodies' own journal. ``recovery_ms``:
    from the kill to the first repeated start, by the log's clock; None if there was none. ``before_them``: steps begun
    for the first time in between, for what is handed on keeps its turn. ``not_ended_once``: steps whose log does not
    hold exactly one end.
    """

    run: str
    steps: int
    events: int
    seconds: float
    commits: int
    kill: Kill
    begun_before_kill: dict[str, int]
    lost: tuple[str, ...]
    begun_again: dict[str, tuple[str, ...]]
    ran_twice: tuple[str, ...]
    not_ended_once: tuple[str, ...]
    recovery_ms: float | None
    before_them: int
    report: Report
    direct: Report


class OrderFacts(msgspec.Struct, frozen=True):
    """One order. ``retries``: of the flaky step; ``overlap``: how many of its parallel steps ran at one moment.
    ``slept_seconds``: from the approval to the waking; None if it did not come to the sleep.
    """

    run: str
    order: str
    steps: int
    seconds: float
    outcome: Outcome
    expected: Outcome
    retries: int
    overlap: int
    slept_seconds: float | None


class Facts(msgspec.Struct, frozen=True):
    """Everything. ``unrecorded``: bodies that began without their start in the log, or more than once for one start.
    ``exit_codes``: of the workers that were told to drain. ``left_in_queue``: messages after that.
    """

    index: IndexFacts
    orders: tuple[OrderFacts, ...]
    order_commits: int
    unrecorded: tuple[str, ...]
    exit_codes: dict[str, int]
    left_in_queue: int
    lease_seconds: float
    seconds: float
