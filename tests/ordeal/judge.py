"""A process that judges logs: ``python -m tests.ordeal.judge`` with a Question on standard input.

For each run: the oracle of the engine's tests (dense, legal, one end); a replay from nothing, event by event, that must
agree with the log at each of them; from-scratch replays of prefixes in one piece, which must ask for the very same; the
ordeal's own checker of the result; and the bodies that ran, against the starts in the log.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec
from tests.engine import oracle
from tests.ordeal import bodies
from tests.ordeal.recovery import recovery, story
from tests.ordeal.verdict import Delay, Judgement, Problem, Question, Repeat

from fencepost.authoring import registry
from fencepost.connections import open_store
from fencepost.records import StepStarted, unpack
from fencepost.replay.instance import Instance
from fencepost.replay.interface import Program, ReplayDivergence
from fencepost.replay.limits import ReplayLimit
from fencepost_store.events import KINDS, Event, EventType, Role
from fencepost_store.protocol import CorruptLog, Loaded, Run

WHOLE_EVENTS = 40
"""Logs up to this length are replayed from nothing at every prefix; of longer ones, which would cost the square, ..."""
SAMPLES = 12
"""... so many prefixes are, spread evenly. Event by event every log is replayed at every prefix."""

NEVER = 1e9
"""Seconds, where a run did not move any more: JSON has no infinity."""

SLOW_SECONDS = 7.0
"""Of a run that moved later than that, its log around that time is told."""

Checker = Callable[[Run, Sequence[Event]], str | None]
Ran = Counter[tuple[str, str, int]]


async def judged(question: Question) -> Judgement:
    """Load each run and judge it."""
    module, _, name = question.checker.partition(":")
    checker: Checker = getattr(importlib.import_module(module), name)
    importlib.import_module(question.flows)
    found = Judgement()
    ran, found.offset = bodies.read(Path(question.bodies), question.offset)
    by_run: dict[str, Ran] = {}
    for (run, entity, attempt), times in ran.items():
        by_run.setdefault(run, Counter())[run, entity, attempt] = times
    store = await open_store(question.config)
    try:
        for run_id in question.runs:
            try:
                loaded = await store.load(run_id)
            except CorruptLog as corrupt:
                found.problems.append(Problem(run_id, "", "log", str(corrupt)))
                continue
            assert loaded is not None, f"run {run_id} is not in the database"
            _judge(loaded, checker, by_run.get(run_id, Counter()), question, found)
    finally:
        await store.close()
    return found


def _judge(loaded: Loaded, checker: Checker, ran: Ran, question: Question, found: Judgement) -> None:
    run, log = loaded.run, loaded.events
    found.runs += 1
    found.events += len(log)
    found.bodies += sum(ran.values())
    found.steps += sum(event.type in (EventType.step_completed, EventType.step_failed) for event in log)
    for repeat in repeats(run.run_id, log):
        twice = ran[repeat.run, repeat.entity, repeat.attempt] > 0
        found.repeats.append(msgspec.structs.replace(repeat, twice=twice))
    received = [event.dedupe or "" for event in log if event.type is EventType.hook_received]
    if received:
        found.received[run.run_id] = received

    def problem(kind: str, what: str) -> None:
        found.problems.append(Problem(run.run_id, run.workflow, kind, what))

    try:
        oracle.check(log, ended=not question.open_allowed)
    except AssertionError as broken:
        problem("log", str(broken))
        return
    try:
        program = registry.default.workflows[run.workflow]
        owes = replayed(run, program, log)
        found.prefixes += len(owes)
    except (ReplayDivergence, ReplayLimit, AssertionError) as broken:
        problem("replay", str(broken))
        return
    wrong = checker(run, log)
    if wrong is not None:
        problem("result", wrong)
    for index, (moment, horizon) in enumerate(question.moments):
        took = recovery(log, owes, moment, horizon)
        if took is not None:
            idle, seconds = took
            told = story(log, moment) if seconds > SLOW_SECONDS else []
            found.delays.append(Delay(index, run.run_id, run.workflow, min(seconds, NEVER), idle, told))
    for what in strange_bodies(run.run_id, log, ran):
        problem("body", what)


def replayed(run: Run, program: Program, log: Sequence[Event]) -> list[bool]:
    """After each event, whether the code asks for more. Raises ReplayDivergence, or AssertionError where a replay in
    one piece asks for other than the one event by event.
    """
    asked: list[bytes] = []
    owes: list[bool] = []
    instance = Instance(run.run_id, program, queue=run.queue)
    try:
        for event in log:
            instance.deliver((event,))
            asked.append(_decisions(instance))
            owes.append(bool(instance.pending()))
    finally:
        instance.evict()
    for count in _samples(len(log)):
        cold = Instance(run.run_id, program, queue=run.queue)
        try:
            cold.deliver(log[:count])
            assert _decisions(cold) == asked[count - 1], (
                f"the first {count} events in one piece lead to other decisions"
            )
        finally:
            cold.evict()
    return owes


def _samples(length: int) -> Iterator[int]:
    if length <= WHOLE_EVENTS:
        yield from range(1, length + 1)
    else:
        yield from sorted({1 + (length - 1) * n // (SAMPLES - 1) for n in range(SAMPLES)})


def _decisions(instance: Instance) -> bytes:
    return blake2b(msgspec.msgpack.encode(instance.pending()), digest_size=16).digest()


def repeats(run_id: str, log: Sequence[Event]) -> list[Repeat]:
    """Starts that no recorded failure of the attempt before explains."""
    found: list[Repeat] = []
    started: dict[str, Event] = {}
    for event in log:
        if event.type is EventType.step_started:
            before = started.get(event.entity)
            if before is not None:
                worker = unpack(before.payload, StepStarted).worker
                found.append(Repeat(run_id, event.entity, worker, before.attempt, before.at, event.at))
            started[event.entity] = event
        elif event.type is EventType.step_retrying or KINDS[event.type].role is Role.terminal:
            started.pop(event.entity, None)
    return found


def strange_bodies(run_id: str, log: Sequence[Event], ran: Ran) -> Iterator[str]:
    """Bodies that ran twice under one start, or under none; ends without a body."""
    starts = {(run_id, event.entity, event.attempt) for event in log if event.type is EventType.step_started}
    for key, times in ran.items():
        if key not in starts:
            yield f"the body of {key[1]} ran as attempt {key[2]}, and no such start is in the log"
        elif times > 1:
            yield f"the body of {key[1]} ran {times} times as attempt {key[2]}"
    for event in log:
        if event.type is EventType.step_completed and not ran[run_id, event.entity, event.attempt]:
            yield f"{event.entity} has a result of attempt {event.attempt}, whose body never ran"


def main() -> None:
    """The process."""
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(judged(question))))


if __name__ == "__main__":
    main()
