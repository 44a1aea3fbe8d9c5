"""What must be true after any schedule, whatever went wrong. Written apart from the engine: it reads logs, what senders
were told, which bodies ran, and executes each workflow once more on plain asyncio.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Generator, Sequence
from typing import Any

from tests.simulate.additions import check_additions
from tests.simulate.bodies import ending
from tests.simulate.bounds import BOUNDED, check_bounded
from tests.simulate.forgetting import check_forgotten
from tests.simulate.histories import check_history
from tests.simulate.patching import unregistered
from tests.simulate.plain import Again, Plain
from tests.simulate.plain_parts import Illegal
from tests.simulate.plan import Node
from tests.simulate.prefixes import check_prefixes
from tests.simulate.programs import nodes_of
from tests.simulate.signals import check_signals
from tests.simulate.timing import PROMPT_SECONDS, check_timing
from tests.simulate.turns import check_turns
from tests.simulate.world import EPOCH, Record

from fencepost import payload
from fencepost.attributes import values_of
from fencepost.records import CancelRequested, RunCreated, RunFailed, StepCreated, StepEnded, unpack
from fencepost_store.events import Event, EventType
from fencepost_store.protocol import Run, RunStatus

DISRUPTIVE = frozenset(
    {
        *("crash", "poison", "child_crash", "rollout_crash", "blocked", "freeze", "drain", "expire", "flush"),
        *("rollback", "lost", "refused", "late", "slow", "rolled_back", "cut", "outage", "slow_server", "rows"),
        *("restored", "read_only", "held"),
    }
)
"""What may make a body run again: its process, its lease or the connection to its log was lost."""

SLOW = frozenset({"freeze", "slow", "late", "rows", "slow_server", "held"})
"""What may lie between a turn's look at the clock and its append. A process that dies there appends nothing."""

SHORTENED_MAX = 2_000_000
"""Microseconds that a turn may take, when nothing of that is wrong: a wait counts from its beginning."""

TURNS_BASE, TURNS_PER_EVENT, TURNS_PER_SECOND = 40, 4, 0.5
"""Loads of one run's log beyond which somebody spins."""

RETRIES = {
    "work": 3,
    "once": 0,
    "brief": 1,
    "thread": 2,
    "elsewhere": 3,
    "close": 3,
    "begin": 3,
    "beat": 3,
    "append": 3,
    "resume": 3,
    "joint": 3,
}
"""Of the steps of ``durable.py``."""

STATUS = {
    RunStatus.completed: EventType.run_completed,
    RunStatus.failed: EventType.run_failed,
    RunStatus.cancelled: EventType.run_cancelled,
    RunStatus.terminated: EventType.run_terminated,
    RunStatus.continued: EventType.run_continued,
}


def judge(record: Record) -> list[str]:
    """All violations, each ``kind: what``. Empty: the schedule was survived."""
    with unregistered():
        return [*_judged(record)]


def _judged(record: Record) -> Generator[str]:
    if record.overrun:
        yield f"spin: {record.overrun}"
    for error in record.errors:
        yield f"error: {error}"
    for left in record.left_over:
        yield f"left over: {left}"
    for index in record.stuck:
        if record.hits["forget"] and record.hits["client_crash"] and index not in record.runs:
            continue  # its start is forgotten, and who would start it again has died
        status = record.runs[index][0].status.name if index in record.runs else "never started"
        yield f"stuck: run {index} is {status} at {record.ended - record.began:.0f} s"
    for index, (run, log) in record.runs.items():
        for what in _judge_run(record, index, run, log):
            yield f"{what}, in run {index}"
    yield from check_signals(record)
    yield from _skew(record)
    if record.hits["forget"]:  # what bodies did, and readers have read, may be forgotten; so is what was in time
        yield from check_forgotten(record)
        return
    yield from _bodies(record)
    yield from _bounds(record)
    yield from _blocking(record)
    yield from _spinning(record)
    yield from check_additions(record)
    yield from check_turns(record)
    if not record.overrun:
        yield from check_timing(record)


def _judge_run(record: Record, index: int, run: Run, log: Sequence[Event]) -> Generator[str]:
    tree = record.trees[index]
    yield from check_history(run, log, lost=record.hits["forget"] > 0)
    created = unpack(log[0].payload, RunCreated)
    plain = Plain(tree, record.programs[index][1], values_of(created.attributes))
    try:
        plain.follow(log, _sent(record, run))
        if values_of(record.attributes[index]) != plain.attributes_landed:
            yield f"attributes: {record.attributes[index]} are kept, the log says {plain.attributes_landed}"
        yield from _outcome(record, record.programs[index][0], run, log, plain)
        if plain.shortened > SHORTENED_MAX and not any(record.hits.get(kind) for kind in SLOW):
            yield f"time: a wait is {plain.shortened / 1e6:.3f} s shorter than what was asked for"
    except Illegal as illegal:
        yield f"decision: {illegal}"
    except KeyError as missing:
        yield f"decision: an entity {missing} that was never created"
    finally:
        plain.loop.close_all()
    yield from check_prefixes(tree, run, log)


def _sent(record: Record, run: Run) -> dict[int, int]:
    return {seq: EPOCH + int(at * 1e6) for (run_id, seq), at in record.sent.items() if run_id == run.run_id}


def _outcome(record: Record, program: int, run: Run, log: Sequence[Event], plain: Plain) -> Generator[str]:
    end = log[-1]
    if not run.status.ended:
        return
    if STATUS[run.status] is not end.type:
        yield f"outcome: the row says {run.status.name}, the log ends with {end.type.name}"
        return
    if plain.unborn:
        if end.type not in (EventType.run_cancelled, EventType.run_terminated):
            yield f"outcome: {end.type.name} of a run that was cancelled before its start"
        return
    asked = [event for event in log if event.type is EventType.cancel_requested]
    root = plain.root
    assert root is not None
    unsaid = plain.attributes_now != plain.attributes_landed and run.run_id not in record.blocked
    if end.type is not EventType.run_terminated and unsaid:
        yield f"attributes: {end.type.name}, and the code has said {plain.attributes_now}"
    match end.type:
        case EventType.run_terminated:
            by_hand = any(stop.kind == "terminate" and stop.run == program for stop in record.plan.stops)
            if not by_hand and not any(_over(event, end) for event in asked):
                yield "outcome: terminated, and nobody asked for it"
        case EventType.run_failed if (code := unpack(end.payload, RunFailed).error.code) != "USER_ERROR":
            blocked = code == "REPLAY_TIMEOUT" and run.run_id in record.blocked
            if not blocked and not (code in ("STEP_CRASHED", "STEP_TIMEOUT") and root.done()):
                yield f"outcome: failed with {code}: {unpack(end.payload, RunFailed).error.message}"
        case _ if not root.done():
            yield f"outcome: {end.type.name}, and the code waits for {plain.outstanding()}"
        case EventType.run_cancelled:
            if not root.cancelled() or not asked:
                yield "outcome: cancelled, and the code was not"
        case EventType.run_failed:
            if root.cancelled() or not isinstance(root.exception(), Exception | BaseExceptionGroup):
                yield f"outcome: failed with {unpack(end.payload, RunFailed).error.message}, and the code did not"
        case EventType.run_continued:
            if root.cancelled() or not isinstance(root.exception(), Again):
                yield "outcome: it goes on as another run, and the code did not"
        case _:
            yield from _same_result(root, payload.decode(end.payload))


def _over(asked: Event, end: Event) -> bool:
    grace = unpack(asked.payload, CancelRequested).grace
    return grace is not None and end.at >= asked.at + grace


def _same_result(root: Any, result: Any) -> Generator[str]:
    if root.cancelled() or root.exception() is not None:
        yield f"outcome: completed with {result}, and the code did not"
    elif root.result() != result:
        yield f"outcome: {result} in the log, {root.result()} when uninterrupted"


def _bodies(record: Record) -> Generator[str]:
    disruptions = sum(count for kind, count in record.hits.items() if kind in DISRUPTIVE)
    by_entity: dict[tuple[int, str], list[Any]] = defaultdict(list)
    for body in record.bodies:
        by_entity[body.run, body.entity].append(body)
        if not body.logged:
            yield f"body: {body.entity} attempt {body.attempt} of run {body.run} began before its start was in the log"
    nodes = {index: {node.id: node for node in nodes_of(tree)} for index, tree in record.trees.items()}
    for (index, entity), bodies in by_entity.items():
        attempts = Counter(body.attempt for body in bodies)
        twice = [attempt for attempt, count in attempts.items() if count > 1]
        if twice:
            yield f"body: attempts {twice} of {entity} in run {index} ran more than once"
        log = [event for event in record.runs[index][1] if event.entity == entity]
        retried = sum(event.type is EventType.step_retrying for event in log)
        ended = [event for event in log if event.type in (EventType.step_completed, EventType.step_failed)]
        # An error that comes behind the start of another attempt is refused, and tried again all the same. Of a step
        # that writes to a stream, a start that comes late (H14) ends the body that is at work.
        last = {event.attempt for event in ended}
        tried_again = max(retried, sum(body.erred and body.attempt not in last for body in bodies))
        beyond = len(bodies) - tried_again - 1 - sum(body.fenced for body in bodies)
        if beyond > disruptions and nodes[index][bodies[0].node].fails >= 0:
            yield f"body: {entity} in run {index} ran {len(bodies)} times, {retried} retries, {disruptions} disruptions"
        node = nodes[index][bodies[0].node]
        yield from _told_as_it_was(index, node, log)
        for event in ended:
            bounded = event.type is EventType.step_failed and node.flavour in BOUNDED
            if bounded:
                continue  # below, with those that no body was run of
            yield from _from_a_body(index, event, bodies, node)
            if event.type is EventType.step_failed and node.fails >= 0 and retried != RETRIES[node.flavour]:
                yield f"body: {entity} in run {index} failed after {retried} retries, not {RETRIES[node.flavour]}"


def _told_as_it_was(index: int, node: Node, log: Sequence[Event]) -> Generator[str]:
    """However a body ends, the log has the class of what it raised, for each attempt."""
    if node.flavour not in ("work", "once", "thread", "elsewhere"):
        return
    for event in log:
        if event.type in (EventType.step_retrying, EventType.step_failed) and event.attempt <= node.fails:
            error = unpack(event.payload, StepEnded).error
            raised = ending(node, event.attempt).__name__
            if error.code in ("USER_ERROR", "STEP_TIMEOUT") and error.type.rpartition(".")[2] != raised:
                yield f"body: attempt {event.attempt} of {event.entity} in run {index} raised {raised}: {error.type}"


def _bounds(record: Record) -> Generator[str]:
    nodes = {node.id: node for tree in record.trees.values() for node in nodes_of(tree)}
    for index, (_, log) in record.runs.items():
        by_entity: dict[str, list[Event]] = defaultdict(list)
        for event in log:
            by_entity[event.entity].append(event)
        for entity, events in by_entity.items():
            if events[-1].type is EventType.step_failed and unpack(events[0].payload, StepCreated).name in BOUNDED:
                _, node, _ = payload.decode(unpack(events[0].payload, StepCreated).args)[0]
                for what in check_bounded(events, nodes[node]):
                    yield f"{what}: {entity} in run {index}"


def _from_a_body(index: int, event: Event, bodies: list[Any], node: Node) -> Generator[str]:
    if event.type is EventType.step_completed:
        result = payload.decode(event.payload)
        if not any(body.number == result[2] and body.ended is not None for body in bodies):
            yield f"body: {event.entity} in run {index} has the result {result}, which no body gave"
    elif b"STEP_CRASHED" in event.payload and node.fails >= 0:
        yield f"body: {event.entity} in run {index} is blamed for a crash that was not its own"
    elif (
        event.type is EventType.step_failed
        and 0 <= node.fails < event.attempt
        and node.flavour not in ("brief", "joint")
    ):
        yield f"body: {event.entity} in run {index} failed, and its body did not"


def _skew(record: Record) -> Generator[str]:
    """What a worker's code cannot do is no fact about a step or a run."""
    for index, (_, log) in record.runs.items():
        for event in log:
            for name in (b"StepNotRegistered", b"ArgumentError", b"PayloadError"):
                if name in event.payload and event.type in (EventType.step_failed, EventType.run_failed):
                    yield f"skew: {event.type.name} {event.entity} of run {index} is a {name.decode()}"


def _blocking(record: Record) -> Generator[str]:
    """Once its run has failed, code that blocks is begun by nobody (H149). Until then another worker may begin it as
    well, under another message of the same run.
    """
    if any(record.hits.get(kind) for kind in SLOW):
        return
    for index, (run, log) in record.runs.items():
        ended = record.landed.get((run.run_id, log[-1].seq), record.ended)
        if any(at > ended + PROMPT_SECONDS for at in record.blocked.get(run.run_id, ())):
            yield f"blocking: the code of run {index} blocks a process after the run's end"


def _spinning(record: Record) -> Generator[str]:
    for index, (run, log) in record.runs.items():
        seconds = (run.updated_at - run.created_at) / 1e6
        bound = TURNS_BASE + TURNS_PER_EVENT * len(log) + TURNS_PER_SECOND * seconds
        if record.turns[run.run_id] > bound:
            yield f"spin: the log of run {index} was loaded {record.turns[run.run_id]} times for {len(log)} events"
