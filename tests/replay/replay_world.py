"""A small world around the replay loop: an in-memory log, and a seeded scheduler that decides what lands next.

``World.run`` plays one run from start to end the way workers do: facts land between turns, one or several at a time;
a turn loads what it has not seen, fires what is due, and appends what is pending. Now and then a result takes the hot
path (anticipated, landed with what it led to), or the live instance is thrown away and made again from the log.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from replay_errors import ChildError, Conflict, StepError

from fencepost import records
from fencepost.replay.instance import Instance
from fencepost.replay.interface import Asking, ChildLink, HookChannel, current
from fencepost_store.events import Event, EventType, NewEvent

START = 1_700_000_000_123_456  # microseconds
STEP_TYPES = (EventType.step_completed, EventType.step_failed)
CHILD_TYPES = (EventType.child_completed, EventType.child_failed)


class W:
    """What a workflow of these tests is given. A stand-in for the public face, on the same seam."""

    def __init__(self, asking: Asking) -> None:
        self.asking = asking

    def step(self, name: str, value: object = None) -> Coroutine[Any, Any, Any]:
        """A step call: the id is taken at once, the rest happens when it is awaited."""
        return self._step(self.asking.new_id(name), name, value)

    async def _step(self, entity: str, name: str, value: object) -> Any:
        return outcome(await self.asking.step(entity, step_payload(name, value)))

    def future(self, name: str) -> Any:
        """The bare future of a step."""
        return self.asking.step(self.asking.new_id(name), step_payload(name))

    def child(self, name: str, parent_close: str = "cancel") -> Coroutine[Any, Any, Any]:
        """A child that is called."""
        return self._child(self.asking.new_id(name), name, parent_close)

    async def _child(self, entity: str, name: str, parent_close: str) -> Any:
        call = self.asking.child(entity, self._child_record(entity, name, parent_close), handle=False).called()
        event = await call
        if event.type is EventType.child_failed:
            if call.gave_up:
                raise asyncio.CancelledError
            raise ChildError(event.entity)
        return msgspec.msgpack.decode(event.payload)

    def start(self, name: str, parent_close: str = "cancel") -> ChildLink:
        """A child with a handle."""
        entity = self.asking.new_id(name)
        return self.asking.child(entity, self._child_record(entity, name, parent_close), handle=True)

    def _child_record(self, entity: str, name: str, parent_close: str) -> records.ChildCreated:
        return records.ChildCreated(name, b"\x90", self.asking.derived_run_id(entity), parent_close=parent_close)

    def hook(self, token: str, name: str = "hook") -> Hook:
        """A hook."""
        payload = records.pack(records.HookCreated(name))
        return Hook(self.asking.hook(self.asking.new_id(name), token, payload))

    def now(self) -> int:
        """Workflow time, microseconds."""
        return self.asking.time()


class Hook:
    """``async with``, ``await``, ``async for``."""

    def __init__(self, channel: HookChannel) -> None:
        self.channel = channel

    async def next(self) -> Any:
        """The next payload."""
        event = await self.channel.next()
        if event.type is EventType.hook_conflict:
            raise Conflict(event.dedupe)
        return msgspec.msgpack.decode(event.payload)

    async def __aenter__(self) -> Hook:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.channel.close()

    def __aiter__(self) -> Hook:
        return self

    async def __anext__(self) -> Any:
        return await self.next()


def step_payload(name: str, value: object = None) -> bytes:
    """A step_created payload."""
    return records.pack(records.StepCreated(name, msgspec.msgpack.encode(value)))


def outcome(event: Event) -> Any:
    """A step's value, or its error."""
    if event.type is EventType.step_failed:
        raise StepError(event.entity)
    return msgspec.msgpack.decode(event.payload)


Flow = Callable[[W], Awaitable[object]]


@dataclass(slots=True)
class Script:
    """A Program made of an async function, without defaults."""

    flow: Flow
    name: str = "flow"
    timeout, queue = None, None

    def completed(self, data: bytes) -> bytes:
        return data

    async def run(self, created: bytes) -> bytes:
        """Runs the function; its value is the run's output."""
        asking = current()
        assert asking is not None
        return msgspec.msgpack.encode(await self.flow(W(asking)))

    def failure(self, error: BaseException) -> bytes:
        """The error with its causes, in words."""
        return records.pack(records.RunFailed(failure_of(error)))


def failure_of(error: BaseException) -> records.Failure:
    """As the real one, without tracebacks."""
    parts = [repr(part) for part in error.exceptions] if isinstance(error, BaseExceptionGroup) else []  # pyright: ignore
    cause = failure_of(error.__cause__) if error.__cause__ is not None else None
    return records.Failure(type(error).__name__, f"{error} {parts}", cause=cause)


@dataclass(slots=True)
class Log:
    """An in-memory log with the database's clock."""

    events: list[Event] = field(default_factory=list[Event])
    now: int = START
    taken: frozenset[str] = frozenset()  # tokens that another run holds

    def land(self, *news: NewEvent) -> list[Event]:
        """Append; hook_conflict lands where a token is taken."""
        self.now += 1000
        landed: list[Event] = []
        for new in news:
            kind, dedupe = new.type, new.dedupe
            if kind is EventType.hook_created and new.token in self.taken:
                kind, dedupe = EventType.hook_conflict, "run-of-another"
            at = self.now if new.at is None else new.at
            event = Event(
                len(self.events) + 1, kind, new.entity, new.attempt, at, new.due, new.token, dedupe, new.payload
            )
            self.events.append(event)
            landed.append(event)
        return landed


@dataclass(frozen=True, slots=True)
class Turn:
    """What a live turn decided: ``pending`` after the events up to ``seen`` and the waits due by ``now``."""

    seen: int
    now: int
    pending: tuple[NewEvent, ...]


def created() -> NewEvent:
    """run_created."""
    return NewEvent(EventType.run_created, payload=b"")


def completed(entity: str, value: object = None, at: int | None = None) -> NewEvent:
    """step_completed."""
    return NewEvent(EventType.step_completed, entity, 1, at=at, payload=msgspec.msgpack.encode(value))


def failed(entity: str, at: int | None = None) -> NewEvent:
    """step_failed."""
    return NewEvent(EventType.step_failed, entity, 1, at=at, payload=b"")


def received(entity: str, value: object = None) -> NewEvent:
    """hook_received."""
    return NewEvent(EventType.hook_received, entity, payload=msgspec.msgpack.encode(value))


class World:
    """One run of ``flow`` in which ``seed`` decides what lands when. ``crashes``: now and then it is replayed."""

    def __init__(
        self,
        flow: Flow,
        seed: int,
        *,
        payloads: int = 10,
        cancel_at: int | None = None,
        taken: frozenset[str] = frozenset(),
        crashes: bool = True,
    ) -> None:
        self.flow, self.crashes = flow, crashes
        self.random = random.Random(seed)
        self.log = Log(taken=taken)
        self.turns: list[Turn] = []
        self.cancel_at, self.payloads = cancel_at, payloads
        self.sent = 0
        self.live = self.cold()

    def cold(self) -> Instance:
        """A new instance of the run."""
        return Instance("run-1", Script(self.flow))

    def run(self, turns_max: int = 2000) -> list[Event]:
        """Play it to its end. Returns the log."""
        self.log.land(created())
        for _ in range(turns_max):
            self._turn()
            if self.live.work.ended is not None:
                self.live.evict()
                return self.log.events
            if self.random.random() < 0.15 and self.crashes:
                self.live.evict()
                self.live = self.cold()
                continue
            for _ in range(self.random.choice((1, 1, 1, 2, 3))):
                if not self._fact():
                    break
        raise AssertionError(f"no end after {turns_max} turns: {self.log.events[-5:]}")

    def _turn(self) -> None:
        log = self.log
        while True:
            self.live.deliver(log.events[self.live.work.seen :])
            seen = self.live.work.seen
            self.live.fire_due(log.now)
            pending = self.live.pending()
            self.turns.append(Turn(seen, log.now, pending))
            if not pending:
                return
            facts = [NewEvent(EventType.run_started)] if not self.live.work.started else []
            log.land(*facts, *pending)

    def _fact(self) -> bool:
        """Let something happen. False if it was the end of what can happen before the next turn."""
        work, log = self.live.work, self.log
        choices: list[Callable[[], bool]] = []
        news = {event.entity for event in log.events[work.seen :] if event.type in STEP_TYPES}
        for entity in work.steps:
            if entity not in news:
                choices.append(lambda entity=entity: self._end_step(entity))
        told = {event.entity for event in log.events[work.seen :] if event.type in CHILD_TYPES}
        for entity in work.children:
            if entity not in told:
                choices.append(lambda entity=entity: self._end_child(entity))
        if self.sent < self.payloads:
            for entity in work.hooks:
                choices.append(lambda entity=entity: self._send(entity))
        if work.waits and not news:
            choices.append(self._wait)
        if self.cancel_at is not None and len(log.events) >= self.cancel_at:
            choices = [self._cancel]
        if not choices:
            if len(log.events) > work.seen:
                return False
            raise AssertionError(f"stuck: nothing can happen after {log.events[-5:]}")
        return self.random.choice(choices)()

    def _end_step(self, entity: str) -> bool:
        log, live = self.log, self.live
        name = entity.rpartition("/")[2].partition("#")[0]
        fails = name.startswith("bad") or (name.startswith("flaky") and self.random.random() < 0.5)
        log.now += self.random.randrange(1, 2_000_000)
        fact = failed(entity, log.now) if fails else completed(entity, entity, log.now)
        if self.random.random() < 0.3:
            log.land(NewEvent(EventType.step_started, entity, 1))
        if len(log.events) == live.work.seen and self.random.random() < 0.5:
            live.anticipate(fact)  # the hot path: nothing else landed, so the result and what it leads to land together
            live.deliver(log.land(*live.pending()))
            return False
        log.land(fact)
        return True

    def _end_child(self, entity: str) -> bool:
        """It ends; one that was asked to cancel is cancelled, or ends as it would have all the same."""
        self.log.now += self.random.randrange(1, 2_000_000)
        name = entity.rpartition("/")[2].partition("#")[0]
        asked = self.live.work.children[entity].cancel is not None
        fails = name.startswith("bad") or (asked and self.random.random() < 0.7)
        payload = b"" if fails else msgspec.msgpack.encode(entity)
        self.log.land(NewEvent(EventType.child_failed if fails else EventType.child_completed, entity, payload=payload))
        return True

    def _send(self, entity: str) -> bool:
        self.sent += 1
        self.log.now += self.random.randrange(1, 1_000_000)
        self.log.land(received(entity, self.sent))
        return True

    def _wait(self) -> bool:
        self.log.now = max(self.log.now, min(self.live.work.waits.values()))
        return False

    def _cancel(self) -> bool:
        self.cancel_at = None
        self.log.land(NewEvent(EventType.cancel_requested))
        return False


def decisions(instance: Instance) -> bytes:
    """What the code asks for now, as bytes to compare."""
    return msgspec.msgpack.encode(instance.pending())


def replayed(flow: Flow, events: list[Event], *, one_by_one: bool) -> list[bytes]:
    """The decisions after every prefix of a log: of one instance that is fed singly, or of a fresh one per prefix."""
    found: list[bytes] = []
    if one_by_one:
        with opened(flow) as single:
            for event in events:
                single.deliver([event])
                found.append(decisions(single))
        return found
    for length in range(1, len(events) + 1):
        with opened(flow) as fresh:
            fresh.deliver(events[:length])
            found.append(decisions(fresh))
    return found


@contextmanager
def opened(flow: Flow) -> Generator[Instance]:
    """A new instance, evicted in the end."""
    instance = Instance("run-1", Script(flow))
    try:
        yield instance
    finally:
        instance.evict()


BENCHES: list[Bench] = []
"""Made since the last test: conftest evicts them."""


class Bench:
    """A live instance and its log, driven by hand. ``land`` appends and delivers; ``turn`` lands what is pending."""

    def __init__(self, flow: Flow, **log: Any) -> None:
        self.log = Log(**log)
        self.flow = flow
        self.live = Instance("run-1", Script(flow))
        BENCHES.append(self)
        self.land(created())

    def land(self, *news: NewEvent) -> None:
        """These landed, and the instance is told."""
        self.live.deliver(self.log.land(*news))

    def turn(self) -> list[str]:
        """Land what is pending. Returns it in words."""
        asked = self.asked()
        self.land(*self.live.pending())
        return asked

    def asked(self) -> list[str]:
        """What is pending, in words."""
        return [f"{event.type.name} {event.entity}".strip() for event in self.live.pending()]

    def output(self) -> Any:
        """The value that the run is about to end with."""
        last = self.live.pending()[-1]
        assert last.type is EventType.run_completed
        return msgspec.msgpack.decode(last.payload)

    def error(self) -> records.Failure:
        """The failure that the run is about to end with."""
        last = self.live.pending()[-1]
        assert last.type is EventType.run_failed
        return records.unpack(last.payload, records.RunFailed).error
