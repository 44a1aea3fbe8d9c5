"""What must be true of chains of runs, of streams and their readers, and of heartbeats. Of attributes, put-off starts
and bounds on steps see ``plain.py``, ``histories.py`` and ``bounds.py``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Generator, Sequence
from typing import Any

from tests.simulate.bodies import Body
from tests.simulate.plain import TELLING
from tests.simulate.plan import Node
from tests.simulate.programs import nodes_of, told
from tests.simulate.world import Record

from fencepost import chunks, payload
from fencepost.attributes import values_of
from fencepost.records import RunContinued, RunCreated, StepCreated, unpack
from fencepost_store.events import Event, EventType
from fencepost_store.streams import Chunk

T = EventType
NO_TROUBLE = frozenset({"crash", "poison", "child_crash", "freeze", "boot", "client_crash"})
"""Faults that take nothing from what is sent: a process that lives on reaches the store."""

BEATEN_SECONDS = 2.0
"""By then a heartbeat's details are in the store: one write per second, and its way there."""


def check_additions(record: Record) -> Generator[str]:
    """Violations, in words."""
    yield from _chains(record)
    yield from _streams(record)
    yield from _reads(record)
    yield from _beats(record)
    yield from _joints(record)


def _chains(record: Record) -> Generator[str]:
    by_id = {run.run_id: (index, log) for index, (run, log) in record.runs.items()}
    previous = Counter[str]()
    for index, (run, log) in record.runs.items():
        origin = unpack(log[0].payload, RunCreated).origin
        if origin is not None and origin.previous:
            previous[origin.previous] += 1
            before = by_id[origin.previous][1][-1]
            if before.type is not T.run_continued or unpack(before.payload, RunContinued).run != run.run_id:
                yield f"chain: run {index} goes on for one that did not end so"
        if log[-1].type is not T.run_continued:
            continue
        went_on = unpack(log[-1].payload, RunContinued)
        (program, generation), wanted = record.programs[index], values_of(record.attributes[index])
        if payload.decode(went_on.args) != [[program, generation + 1], {}]:
            yield f"chain: run {index} goes on with {payload.decode(went_on.args)}"
        if went_on.run not in by_id:
            yield f"chain: nobody goes on for run {index}"
            continue
        created = unpack(by_id[went_on.run][1][0].payload, RunCreated)
        if created.input != went_on.args:
            yield f"chain: who goes on for run {index} has other arguments"
        if values_of(went_on.attributes) != wanted or values_of(created.attributes) != wanted:
            yield f"chain: who goes on for run {index} begins with {created.attributes}, and not with {wanted}"
    if any(count > 1 for count in previous.values()):
        yield f"chain: {previous} went on"


def _streams(record: Record) -> Generator[str]:
    nodes = {node.id: node for tree in record.trees.values() for node in nodes_of(tree)}
    bodies = {(body.run, body.entity, body.attempt): body for body in record.bodies}
    for (index, name), stream in record.streams.items():
        by_writer: dict[str, list[Chunk]] = defaultdict(list)
        for chunk in stream.chunks:
            by_writer[chunk.writer].append(chunk)
        for writer, mine in by_writer.items():
            for what in _of_a_writer(record.runs[index][1], mine, nodes, bodies, index):
                yield f"stream: {what}: {name} of run {index}, written by {writer}"
    for index, (_, log) in record.runs.items():
        for entity, node, visit in _writers(log, nodes):
            name = node.token or f"s{node.id}.{visit}"
            stream = record.streams.get((index, name))
            written = [chunk for chunk in stream.chunks if chunk.writer == entity] if stream is not None else []
            for what in _whole(log, entity, written, node, visit):
                yield f"stream: {what}: {name} of run {index}, written by {entity}"
            if stream is None or (stream.closed is bool(node.token)):
                state = "closed" if node.token else "open"
                yield f"stream: {name} of run {index} is {state} when {entity} is completed"


def _writers(log: Sequence[Event], nodes: dict[int, Node]) -> Generator[tuple[str, Node, int]]:
    """Steps that write and are completed."""
    completed = {event.entity for event in log if event.type is T.step_completed}
    for event in log:
        if event.type is T.step_created and event.entity in completed:
            created = unpack(event.payload, StepCreated)
            if created.name in ("append", "resume"):
                _, node, visit = payload.decode(created.args)[0]
                yield event.entity, nodes[node], visit


def _of_a_writer(
    log: Sequence[Event],
    mine: Sequence[Chunk],
    nodes: dict[int, Node],
    bodies: dict[tuple[int, str, int], Body],
    index: int,
) -> Generator[str]:
    """Chunks of one step in one stream."""
    attempts = [chunk.attempt for chunk in mine]
    if attempts != sorted(attempts):
        yield f"an attempt wrote after a later one: {attempts}"
    values = [chunks.decode(chunk.payload, Any, "chunk") for chunk in mine]
    created = next(event for event in log if event.entity == mine[0].writer)
    step = unpack(created.payload, StepCreated)
    if step.name == TELLING:
        if len(values) > 1:
            yield f"a chunk of the workflow stands in it {len(values)} times"
        return
    _, number, visit = payload.decode(step.args)[0]
    groups = (
        [values]
        if step.name == "resume"
        else [
            [value for value, chunk in zip(values, mine, strict=True) if chunk.attempt == attempt]
            for attempt in sorted(set(attempts))
        ]
    )
    for group in groups:
        if group != [told(nodes[number], visit, place) for place in range(len(group))]:
            yield f"it holds {group}"
    for attempt in set(attempts):
        body = bodies.get((index, mine[0].writer, attempt))
        if body is None:
            yield f"attempt {attempt} wrote, and no body ran"
        elif step.name == "append" and attempts.count(attempt) > body.wrote:
            yield f"attempt {attempt} wrote {body.wrote} chunks, and {attempts.count(attempt)} are there"


def _whole(log: Sequence[Event], entity: str, written: Sequence[Chunk], node: Node, visit: int) -> Generator[str]:
    """The step is completed: all that its last attempt wrote is there, unless one before it had closed the stream."""
    (end,) = (event for event in log if event.entity == entity and event.type is T.step_completed)
    last = written if node.flavour == "resume" else [chunk for chunk in written if chunk.attempt == end.attempt]
    if len(last) == node.count:
        return
    by_attempt = Counter(chunk.attempt for chunk in written)
    earlier = not node.token and not last and any(count == node.count for count in by_attempt.values())
    if not earlier:
        yield f"{len(last)} of {node.count} chunks are there when it is completed"


def _reads(record: Record) -> Generator[str]:
    for read in record.reads:
        stream = record.streams.get((read.run, read.name))
        there = [chunks.decode(chunk.payload, Any, "chunk") for chunk in stream.chunks] if stream is not None else []
        if read.values != there[: len(read.values)]:
            yield f"reader: of {read.name} in run {read.run} it has read {read.values}, and {there} was written"
        elif read.done and len(read.values) != len(there):
            yield f"reader: of {read.name} in run {read.run} it was told that the first {len(read.values)} are all"


def _beats(record: Record) -> Generator[str]:
    by_step: dict[tuple[int, str], list[Body]] = defaultdict(list)
    for body in record.bodies:
        by_step[body.run, body.entity].append(body)
    for (index, entity), bodies in by_step.items():
        log = record.runs[index][1]
        retried = {event.attempt for event in log if event.entity == entity and event.type is T.step_retrying}
        seen: list[tuple[int, list[int]]] = []
        for at, body in enumerate(bodies):
            if body.late:
                continue
            given = {(one.attempt, place) for one in bodies[:at] for place in range(len(one.beats))}
            if body.found is None:
                found: list[int] = []
            else:
                found = body.found
                if tuple(found) not in given:
                    yield f"beat: attempt {body.attempt} of {entity} in run {index} found {found}, which none has given"
            # A body of an older attempt that begins late, on a worker that was frozen, knows what its start knew.
            newest = max((one for attempt, one in seen if attempt < body.attempt), default=[])
            if found < newest:
                yield f"beat: attempt {body.attempt} of {entity} in run {index} found {found} after {newest}"
            seen.append((body.attempt, found))
            if at and bodies[at - 1].attempt < body.attempt and not set(record.hits) - NO_TROUBLE:
                least = _kept(bodies[at - 1], retried, record.windows)
                if found < least:
                    yield f"beat: attempt {body.attempt} of {entity} in run {index} found {found}, {least} was kept"
    if record.plan.calm() and not record.hits and not record.stuck:  # a body may end its process all the same
        for index, entity in record.details:
            last = [event.type for event in record.runs[index][1] if event.entity == entity][-1]
            # Of a step that was given up while it waited for its retry they stay until the run is pruned.
            if last in (T.step_completed, T.step_failed):
                yield f"beat: the details of {entity} in run {index}, which has ended, are kept"


def _joints(record: Record) -> Generator[str]:
    """Of a completed step there is the row of the body that gave its result; of any other there is none."""
    bodies = {body.number: body for body in record.bodies}
    wanted: dict[tuple[int, str], list[int]] = defaultdict(list)
    for index, (_, log) in record.runs.items():
        joint = {e.entity for e in log if e.type is T.step_created and unpack(e.payload, StepCreated).name == "joint"}
        for event in log:
            if event.entity in joint and event.type is T.step_completed:
                wanted[index, event.entity].append(payload.decode(event.payload)[2])
    there: dict[tuple[int, str], list[int]] = defaultdict(list)
    for row in record.table:
        there[row.run, row.entity].append(row.body)
        if bodies[row.body].attempt != row.attempt:
            yield f"joint: {row} is not of the attempt that wrote it"
    for place in sorted({*wanted, *there}):
        if wanted[place] != there[place]:
            yield f"joint: of {place[1]} in run {place[0]} there are rows of {there[place]}, and not of {wanted[place]}"


def _kept(body: Body, retried: set[int], windows: Sequence[tuple[float, float, str]]) -> list[int]:
    """What an attempt has left at least: the last details if its error stands in the log, else those of a while before
    it was heard of last, not counting what its process may have been frozen for.
    """
    if body.attempt in retried:
        return [body.attempt, len(body.beats) - 1] if body.beats else []
    last = body.beats[-1] if body.beats else 0.0

    def frozen(at: float) -> float:
        return sum(max(0.0, min(end, last) - max(begin, at)) for begin, end, kind in windows if kind == "freeze")

    sure = [place for place, at in enumerate(body.beats) if at + BEATEN_SECONDS + frozen(at) < last]
    return [body.attempt, sure[-1]] if sure else []
