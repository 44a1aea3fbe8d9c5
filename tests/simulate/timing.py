"""Whether a run went on as soon as it could: what is late must have an excuse."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from tests.simulate.bodies import BRIEF_SECONDS
from tests.simulate.programs import nodes_of
from tests.simulate.world import EPOCH, Record

from fencepost.records import StepCreated, unpack
from fencepost_store.events import Event, EventType

T = EventType
PROMPT_SECONDS = 2.0
"""What anything may take when nothing is wrong: some round trips, a floor of a delay, a turn of others before it."""

EXCUSES = {
    # After a flush all moves again within a reconcile period, an idle block and a renewal. The rest is a lease, and
    # what is delayed by jitter.
    "crash": 24.0,
    "poison": 24.0,
    "child_crash": 24.0,
    "rollout_crash": 24.0,
    "drain": 4.0,
    "blocking": 2.0,  # H149: the budget and the interrupts are in its window
    "blocked": 4.0,  # what it held is expired at once
    "stillborn": 70.0,  # as a message that no worker can begin: the delay grows
    "expire": 24.0,
    "lost": 24.0,
    "refused": 24.0,
    "rolled_back": 24.0,
    "twice": 2.0,
    "short": 8.0,  # the message is handed back, with a delay that grows
    "boot": 2.0,
    "flush": 10.0,
    "client_crash": 17.0,
    "client_call": 17.0,
    # What they leave behind may be healed by the run's deadline only: grace, recovery interval and slack.
    "late": 110.0,
    "rows": 110.0,
    "slow": 110.0,
    "slow_server": 110.0,
    "cut": 110.0,
    "outage": 110.0,
    "freeze": 110.0,
    "restored": 24.0,  # two leases: what is leased in the old data is waited for
    "rollback": 24.0,
    "read_only": 24.0,
    "rollout": 110.0,
}
"""Seconds after the end of a fault for which it excuses what is late."""

SWEPT_SECONDS = 10.0
"""By then a worker that was asked to sweep after a flush is done with it ..."""

SWEPT_ANEW = 26.0
"""... and another one, if the first has drained meanwhile: a lease, an idle block and a renewal more."""

ANEW = frozenset({"flush", "rollback", "restored"})
"""After these somebody sweeps."""

REPLAYS = 12
"""A turn that loses its fence replays anew, and after so many, at most, nobody can take it."""

HELD_SECONDS = 40.0
"""For so long whose row was held may be late: a call's time, and a hand-back."""

DECISIONS = frozenset(
    {
        *(T.run_started, T.step_created, T.step_cancelled, T.wait_created, T.wait_cancelled, T.hook_created),
        *(T.hook_conflict, T.hook_disposed, T.marker, T.run_completed, T.run_failed, T.run_cancelled),
    }
)
INVISIBLE = frozenset({T.step_started, T.step_retrying})


AHEAD_SECONDS = 0.1
"""How far the time that a writer proposes may be ahead of the store's: its clock runs fast by two in a thousand, and
was read some seconds ago.
"""

THREAD_SECONDS = 0.4
"""What a body in a thread takes at most, see ``processes.ports_of``."""


def check_timing(record: Record) -> Generator[str]:
    """Violations, in words."""
    for index, (run, log) in record.runs.items():
        for event in log:
            landed = record.landed.get((run.run_id, event.seq))
            if landed is not None and (event.at - EPOCH) / 1e6 > landed + AHEAD_SECONDS:
                ahead = (event.at - EPOCH) / 1e6 - landed
                yield f"time: {event.type.name} {event.entity} of run {index} is dated {ahead:.3f} s ahead"
    if record.plan.concurrency < 8 or record.plan.near_horizon < 600:
        return  # steps wait for slots, and far timers for the reconciler
    for index, (_, log) in record.runs.items():
        seconds = _bodies(record, index)
        for event, since in _waited(log, seconds):
            late = (event.at - since) / 1e6
            allowed = PROMPT_SECONDS + 40 * record.plan.latency + REPLAYS * record.replayed
            if late <= allowed:
                continue
            start, end = (since - EPOCH) / 1e6, (event.at - EPOCH) / 1e6
            if not _excused(record, record.programs[index][0], start, end, allowed):
                yield (
                    f"late: {event.type.name} {event.entity} at seq {event.seq} of run {index} came {late:.1f} s after "
                    f"it could"
                )


def _excused(record: Record, program: int, start: float, end: float, allowed: float) -> bool:
    """Whether all of the lateness of a program's run lies in the shadow of faults."""
    at = start
    drains = [begin for begin, _, kind in record.windows if kind == "drain"]
    shadows: list[tuple[float, float]] = []
    for begin, until, kind in record.windows:
        if kind.startswith("held "):
            if kind == f"held {program}":
                shadows.append((begin, until + HELD_SECONDS))
            continue
        anew = kind in ANEW and any(begin <= drain <= begin + SWEPT_SECONDS for drain in drains)
        shadows.append((begin, until + (SWEPT_ANEW if anew else EXCUSES.get(kind, 24.0))))
    for begin, until in sorted(shadows):
        if begin <= at + allowed:
            at = max(at, until)
    return end <= at + allowed


def _bound(created: Event) -> int | None:
    """Microseconds within which a step must have ended, or begun."""
    policy = unpack(created.payload, StepCreated).policy
    seconds = policy.schedule_to_close or policy.schedule_to_start
    return None if seconds is None else int(seconds * 1e6)


def _bodies(record: Record, index: int) -> dict[str, float]:
    """How long the bodies of a run's steps take, by entity. Those that kill their process have no time."""
    nodes = {node.id: node for node in nodes_of(record.trees[index])}
    taken: dict[str, float] = {}
    for body in record.bodies:
        if body.run == index and nodes[body.node].fails >= 0:
            seconds = nodes[body.node].seconds
            flavour = nodes[body.node].flavour
            taken[body.entity] = min(seconds, BRIEF_SECONDS) if flavour == "brief" else seconds + THREAD_SECONDS
    return taken


def _waited(log: Sequence[Event], seconds: dict[str, float]) -> Generator[tuple[Event, int]]:
    """Each event that the engine owed, and since when."""
    visible = max(log[0].at, log[0].due or 0)
    since: dict[str, int] = {}
    ends: dict[str, int] = {}
    for event in log:
        due = since.get(event.entity, 0)
        match event.type:
            case T.step_created:
                since[event.entity] = event.at
                if (bound := _bound(event)) is not None:
                    ends[event.entity] = event.at + bound
            case T.step_failed if b"schedule_to_" in event.payload:
                yield event, min(due, ends[event.entity]) if event.attempt else ends[event.entity]
            case T.step_started:
                if event.attempt == 1 or event.entity in seconds:
                    yield event, due
                since[event.entity] = event.at + int(seconds.get(event.entity, 0.0) * 1e6)
            case T.step_completed | T.step_failed | T.step_retrying if event.entity in seconds:
                yield event, due
                since[event.entity] = event.due or 0
            case T.wait_created:
                since[event.entity] = event.due or 0
            case T.wait_completed:
                yield event, max(due, visible)
            case _:
                pass
        if event.type is T.run_failed and b"REPLAY_TIMEOUT" in event.payload:
            # What woke the code that blocks is not in the log: it would have landed with what the code asked for.
            yield event, max([visible, *(one for one in since.values() if one <= event.at)])
        elif event.type in DECISIONS:
            yield event, visible
        if event.type is T.cancel_requested and event.at < (log[0].due or 0):
            visible = event.at  # it will not be waited for
        if event.type not in INVISIBLE:
            visible = max(visible, event.at)
