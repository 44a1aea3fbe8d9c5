"""The uninterrupted execution: the same tree on ordinary asyncio, told what the log says happened, one fact at a time.

Nothing of the engine and nothing of its replay is used, so it judges both. At each decision of the log the code must
have asked for it by then, and at the end both must have come to the same.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from tests.simulate.plain_parts import Call, Hook, Illegal, Loop
from tests.simulate.plan import Node
from tests.simulate.programs import play, said
from tests.simulate.scheduler import SimHandle
from tests.simulate.signals import check_handed_over

from fencepost import chunks, payload
from fencepost.attributes import value_of
from fencepost.authoring.child import outcome
from fencepost.failure import exception_of
from fencepost.records import CancelRequested, ChildCreated, ChildEnded, HookDisposed, StepCreated, StepEnded, unpack
from fencepost_store.attributes import changes_in
from fencepost_store.events import KINDS, Event, EventType

Key = tuple[int, ...]
"""A call of a step: its node, and which visit of it; of a chunk that the workflow writes, also the how manieth."""

TELLING = "fencepost.stream_write"
"""The step by which workflow code writes to a stream."""

TOLERANCE = 2
"""Microseconds between a due time in the log and what floating point makes of it here."""


class Again(BaseException):
    """The code goes on as another run."""


class Plain:
    """One execution. ``follow`` gives it a log; then ``root`` is what came of it."""

    def __init__(self, tree: Node, generation: int = 0, attributes: dict[str, Any] | None = None) -> None:
        self.loop = Loop()
        self.tree = tree
        self.generation = generation
        self.attributes_now = dict(attributes or {})
        self.attributes_landed = dict(attributes or {})
        self.unborn = False
        self.blocked = False
        self._said: deque[dict[str, Any]] = deque()
        self.root: asyncio.Task[Any] | None = None
        self.consumed: Counter[str] = Counter()
        self._log: Sequence[Event] = ()
        self._sent: dict[int, int] = {}
        self._at = 0
        self._now = 0
        self._visits: Counter[int] = Counter()
        self._steps: dict[Key, asyncio.Future[Any]] = {}
        self._keys: dict[str, Key] = {}
        self._children: dict[Key, Call] = {}
        self._calls: dict[str, Call] = {}
        self._waits: dict[str, SimHandle] = {}
        self._dues: dict[str, int] = {}
        self.shortened = 0  # by how much, microseconds, a wait is, from when its turn sent it
        self._hooks: list[Hook] = []
        self._by_entity: dict[str, Hook] = {}
        self._news: deque[tuple[Hook, Event]] = deque()
        self._answers: dict[int, bool] = {}
        self._inherited: dict[str, tuple[str, list[tuple[int, Any]]]] = {}

    # Primitives.

    async def step(self, node: Node) -> Any:
        self._visits[node.id] += 1
        future = self._steps[node.id, self._visits[node.id]] = self.loop.create_future()
        return await future

    async def child(self, node: Node) -> Any:
        self._visits[node.id] += 1
        call = self._children[node.id, self._visits[node.id]] = Call(loop=self.loop)
        event = await call
        if call.gave_up and event.type is EventType.child_failed:
            ended = unpack(event.payload, ChildEnded)
            if ended.status == "cancelled":
                raise asyncio.CancelledError(*([ended.reason] if ended.reason else []))
        return outcome(event, "", "sub", payload.decode)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def hook(self, token: str) -> Hook:
        made = Hook(self.loop, token)
        self._hooks.append(made)
        return made

    def patched(self, node: Node) -> bool:
        if node.id not in self._answers:
            self._answers[node.id] = self._took_part(f"patched:p{node.id}")
        return self._answers[node.id]

    def attributes(self, node: Node) -> None:
        self._visits[node.id] += 1
        changes = said(node, self._visits[node.id])
        news = {name: value for name, value in changes.items() if self.attributes_now.get(name) != value}
        if news:
            self._said.append(news)
            self.attributes_now = _after(self.attributes_now, news)

    async def tell(self, node: Node) -> None:
        self._visits[node.id] += 1
        visit = self._visits[node.id]
        for index in range(node.count):
            future = self._steps[node.id, visit, index] = self.loop.create_future()
            await future

    async def block(self) -> None:
        self.blocked = True
        await self.loop.create_future()

    def again(self, node: Node) -> None:
        if self.generation < node.count:
            raise Again

    def _took_part(self, marker: str) -> bool:
        rest = self._log[self._at :]
        if any(event.entity == marker for event in self._log):
            return True
        # A batch is whole or not there: whatever was decided from here on would have the marker beside it.
        return not any(KINDS[event.type].decision for event in rest)

    # Driving.

    def follow(self, log: Sequence[Event], sent: dict[int, int] | None = None) -> None:
        """Give it every event. ``sent``: when a worker sent it, by seq. Raises Illegal, naming the event."""
        self._log = log
        self._sent = sent or {}
        self.unborn = never_begun(log)
        for event in log:
            self._at = event.seq
            try:
                self._tell(event.at)
                self._take(event)
            except Illegal as illegal:
                what = f"seq {event.seq} {event.type.name} {event.entity}".rstrip()
                raise Illegal(f"{what}: {illegal}") from None

        self._tell(None)

    def _tell(self, at: int | None) -> None:
        """A conflict is heard when all that was asked beside that hook has landed: that is one batch, at one time."""
        while self._news and self._news[0][1].at != at:
            hook, event = self._news.popleft()
            if event.type is EventType.hook_created:
                if hook.untaken and hook.waited_for() and not self.ended:
                    self._advance(event.at)
                    hook.pump()
                    self.loop.rest()
            elif not hook.closed and not self.ended:
                self._advance(event.at)
                hook.refuse(event.dedupe or "")
                self.loop.rest()

    def outstanding(self) -> list[str]:
        """What the code has asked for and the log does not have, in words."""
        landed = set(self._keys.values())
        words = [f"step {key}" for key, future in self._steps.items() if key not in landed and not future.done()]
        waits = set(map(id, self._waits.values()))
        words += [f"wait until {t.when()}" for t in self.loop.timers if not t.cancelled() and id(t) not in waits]
        words += [f"attributes {news}" for news in self._said]
        words += [f"hook {hook.token}" for hook in self._hooks if not hook.landed and not hook.closed]
        return words + [f"child {key}" for key, call in self._children.items() if not call.landed and not call.done()]

    def _take(self, event: Event) -> None:
        match event.type:
            case EventType.run_created if self.unborn:
                pass
            case EventType.run_created:
                self._advance(max(event.at, event.due or 0))
                context = contextvars.Context()
                self.root = self.loop.create_task(play(self.tree, self), context=context)
                self.loop.rest()
            case EventType.step_created:
                self._step_created(event)
            case EventType.step_completed | EventType.step_failed:
                self._step_ended(event)
            case EventType.step_cancelled:
                if not self._steps[self._keys[event.entity]].done():
                    raise Illegal("the step is still awaited")
            case EventType.wait_created:
                self._wait_created(event)
            case EventType.wait_completed:
                self._wait_completed(event)
            case EventType.wait_cancelled:
                if not self._waits[event.entity].cancelled():
                    raise Illegal("the wait is still wanted")
            case EventType.hook_created | EventType.hook_conflict:
                self._hook_created(event)
            case EventType.hook_received:
                self._hook_received(event)
            case EventType.hook_disposed:
                self._hook_disposed(event)
            case EventType.hook_inherited:
                self._inherited[event.entity] = event.token or "", []
            case EventType.run_continued:
                check_handed_over(event, self._inherited, self._by_entity, self._hooks)
            case EventType.cancel_requested:
                self._cancel(event)
            case EventType.attributes_set:
                self._attributes_set(event)
            case EventType.child_created:
                self._child_created(event)
            case EventType.child_cancel_requested:
                if not self._calls[event.entity].gave_up:
                    raise Illegal("the child is still wanted")
            case EventType.child_completed | EventType.child_failed:
                call = self._calls[event.entity]
                if not call.done() and not self.ended:
                    self._advance(event.at)
                    call.set_result(event)
                    self.loop.rest()
            case _:
                pass

    def _advance(self, at: int, seconds: float = 0.0) -> None:
        self._now = max(self._now, at)
        self.loop.now = max(self._now / 1e6, self.loop.now if self.loop.now > 1e6 else 0.0, seconds)

    @property
    def ended(self) -> bool:
        """Whether the code has come to its end, or stands still for ever."""
        return self.blocked or (self.root is not None and self.root.done())

    def _attributes_set(self, event: Event) -> None:
        news = {name: text and value_of(text) for name, text in changes_in(event.payload).items()}
        if not self._said or self._said.popleft() != news:
            raise Illegal(f"{news} were not said")
        self.attributes_landed = _after(self.attributes_landed, news)

    def _step_created(self, event: Event) -> None:
        key = _key(event)
        future = self._steps.get(key)
        if future is None or future.done():
            raise Illegal(f"the step {key} was not asked for")
        if key in self._keys.values():
            raise Illegal(f"the step {key} was created before")
        self._keys[event.entity] = key

    def _child_created(self, event: Event) -> None:
        call = self._called(event)
        if call is None or call.done() or call.landed:
            raise Illegal("the child was not asked for")
        call.landed = True
        self._calls[event.entity] = call

    def _called(self, event: Event) -> Call | None:
        (_, node, visit), _ = payload.decode(unpack(event.payload, ChildCreated).args)
        return self._children.get((node, visit))

    def _step_ended(self, event: Event) -> None:
        future = self._steps[self._keys[event.entity]]
        if future.done() or self.ended:
            return
        self._advance(event.at)
        if event.type is EventType.step_completed:
            future.set_result(payload.decode(event.payload))
        else:
            future.set_exception(exception_of(unpack(event.payload, StepEnded).error))
        self.loop.rest()

    def _wait_created(self, event: Event) -> None:
        # A duration counts from the turn that asked: its clock is between the event that woke the code and the append.
        known = set(map(id, self._waits.values()))
        due = event.due or 0
        for timer in self.loop.timers:
            moved = due - round(timer.when() * 1e6)
            lag = event.at - round(timer.armed_at * 1e6)
            if -TOLERANCE <= moved <= max(0, lag) + TOLERANCE and id(timer) not in known and not timer.cancelled():
                self._waits[event.entity] = timer
                self._dues[event.entity] = due
                sent = self._sent.get(event.seq)
                if sent is not None:
                    self.shortened = max(self.shortened, sent - round(timer.armed_at * 1e6) - moved)
                return
        raise Illegal(f"no wait until {event.due} was asked for, but {self.outstanding()}")

    def _wait_completed(self, event: Event) -> None:
        timer = self._waits[event.entity]
        if timer.cancelled() or self.ended:
            raise Illegal("nobody waits for it any more")
        due = self._dues[event.entity]
        if event.at < due - TOLERANCE:
            raise Illegal(f"{due - event.at} us before it was due")
        self._advance(max(event.at, due), timer.when())
        self.loop.fire(timer)
        self.loop.rest()

    def _hook_created(self, event: Event) -> None:
        hook = next((h for h in self._hooks if h.token == event.token and not h.landed and not h.closed), None)
        if hook is None:
            raise Illegal(f"the hook {event.token} was not asked for")
        hook.landed = True
        if event.type is EventType.hook_conflict:
            self._news.append((hook, event))
            return
        self._by_entity[event.entity] = hook
        for entity, (token, payloads) in self._inherited.items():
            if token == event.token:
                for one in payloads:
                    hook.leave(*one)
                self._news.append((hook, event))
                del self._inherited[entity]
                break

    def _hook_received(self, event: Event) -> None:
        value = payload.decode(event.payload)
        if event.entity in self._inherited:
            self._inherited[event.entity][1].append((event.seq, value))
            return
        hook = self._by_entity[event.entity]
        if hook.closed or self.ended:
            hook.leave(event.seq, value)
            return
        self._advance(event.at)
        hook.receive(event.seq, value)
        self.loop.rest()

    def _hook_disposed(self, event: Event) -> None:
        hook = self._by_entity[event.entity]
        hook.disposed_at = event.at
        if not hook.closed and not (self.ended and hook.untaken):
            raise Illegal("the hook is still open")
        end = self._log[-1]
        goes_over = end.type is EventType.run_continued and end.at == event.at
        told = unpack(event.payload, HookDisposed).untaken if event.payload else ()
        if told != (() if goes_over else hook.untaken):
            raise Illegal(f"it says that {told} were not taken, and {hook.untaken} were not")

    def _cancel(self, event: Event) -> None:
        if self.root is None or self.ended:
            return
        self._advance(event.at)
        self.root.cancel(unpack(event.payload, CancelRequested).reason or None)
        self.loop.rest()


def _key(event: Event) -> Key:
    created = unpack(event.payload, StepCreated)
    args, _ = payload.decode(created.args)
    if created.name == TELLING:
        _, (chunk,), _ = args
        node, visit, index = chunks.decode(chunk, Any, "chunk")
        return node, visit, index
    _, node, visit = args
    return node, visit


def _after(attributes: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**attributes, **news}.items() if value is not None}


def never_begun(log: Sequence[Event]) -> bool:
    """Whether the run was asked to cancel before a start that was put off: its code is not called."""
    due = log[0].due
    for event in log:
        if event.type is EventType.run_started:
            return False
        if due is not None and event.type is EventType.cancel_requested and event.at < due:
            return True
    return False
