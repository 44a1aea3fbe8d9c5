"""The reference model and Postgres side by side: random operations, every answer and the whole state compared."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from worlds import GRACE, SECOND, World, new_run_id

from fencepost_store.admission import Unstorable
from fencepost_store.attributes import packed
from fencepost_store.events import KINDS, Event, NewEvent, Role
from fencepost_store.events import EventType as E
from fencepost_store.protocol import (
    Batch,
)

TOKENS = ("t", "u", "v")
NAMES = ("stage", "n")
TEXTS = ("spaid", "i1", None)
FOLLOW = {
    E.step_created: (
        E.step_started,
        E.step_started,
        E.step_completed,
        E.step_failed,
        E.step_retrying,
        E.step_retrying,
        E.step_cancelled,
    ),
    E.wait_created: (E.wait_completed, E.wait_cancelled),
    E.hook_inherited: (E.hook_received, E.hook_received, E.hook_disposed),
    E.hook_created: (E.hook_received, E.hook_received, E.hook_disposed),
    E.child_created: (E.child_cancel_requested, E.child_completed, E.child_failed, E.child_abandoned),
}
"""What is likely to be right about an entity that was created."""
ORIGINS = {after: origin for origin, followers in FOLLOW.items() for after in followers}
ATTEMPTS = (E.step_created, E.step_started, E.step_retrying)
ENDS = [kind for kind in E if KINDS[kind].ends_run]
TYPES = [kind for kind in E if kind not in (E.run_created, E.hook_conflict, E.hook_inherited) and kind not in ENDS]


class Pair:
    """Both stores, the runs made so far, and what has occurred."""

    def __init__(self, model: World, real: World, seed: int) -> None:
        self.model = model
        self.real = real
        self.random = random.Random(seed)
        self.runs: list[str] = []
        self.left: list[str] = []  # of which no more is asked but to be pruned
        self.seen: Counter[str] = Counter()
        self.made = 0

    async def both(self, method: str, *args: Any) -> Any:
        """Call a method of both stores, compare what comes back, and return it."""
        answers: list[Any] = []
        for world in (self.model, self.real):
            try:
                answers.append(await getattr(world.store, method)(*args))
            except (Unstorable, ValueError) as error:
                answers.append((type(error), str(error)))
        assert answers[0] == answers[1], f"{method}{args}"
        return answers[0]

    async def compare(self) -> None:
        """The whole state."""
        for run_id in self.runs:
            await self.both("load", run_id)
        details = await self.both("details", [*self.runs, new_run_id()])
        self.seen["attributed"] += sum(len(one.attributes) for one in details.values())
        self.seen["put off"] += sum(one.starts_at is not None for one in details.values())
        for token in TOKENS:
            await self.both("find_hook", token)
            for delivery in (None, "a", "b"):
                if await self.both("trace_token", token, delivery) is not None:
                    self.seen["traced"] += 1

    def event(self, log: Sequence[Event]) -> NewEvent:
        """Any event, sensible or not; more often one that follows from the log."""
        kind = self.random.choice(ENDS if self.random.random() < 0.03 else TYPES)
        entity = ""
        if KINDS[kind].role is Role.creation:
            entity = f"{kind.name[0]}#{self.random.randrange(40)}"
        elif kind // 10 in (1, 2, 3, 4):
            entity = f"{kind.name[0]}#{self.random.randrange(4)}"
        ended = {event.entity for event in log if KINDS[event.type].role is Role.terminal}
        created = [event for event in log if event.type in FOLLOW]
        if self.random.random() < 0.8:
            created = [event for event in created if event.entity not in ended]
        attempt = self.random.choice((1, 1, 2, 3))
        if created and self.random.random() < 0.75:
            origin = self.random.choice(created[-6:])
            kind, entity = self.random.choice(FOLLOW[origin.type]), origin.entity
            starts = [event.attempt for event in log if (event.type, event.entity) == (E.step_started, entity)]
            attempt = max([0, *starts]) + (kind is E.step_started)
            self.seen["failed unstarted"] += kind is E.step_failed and attempt == 0
        waiting = [
            e for e in log if e.type is E.step_retrying and (e.due or 0) > self.real.time and e.entity not in ended
        ]
        if waiting and self.random.random() < 0.6:  # or nobody would start one before its time
            kind, entity, attempt = E.step_started, waiting[-1].entity, waiting[-1].attempt + 1
        payload = b"\x01" + self.random.randbytes(self.random.randrange(20))
        if kind is E.attributes_set and self.random.random() < 0.95:
            payload = packed({name: self.random.choice(TEXTS) for name in NAMES if self.random.random() < 0.7})
        return NewEvent(
            kind,
            entity,
            attempt=max(kind is not E.step_failed, attempt) if 11 <= kind <= 14 else 0,
            due=self.real.time + self.random.randrange(60 * SECOND) if kind is E.wait_created else None,
            due_in=self.random.choice((0, 9 * SECOND, 30 * SECOND)) if kind is E.step_retrying else None,
            token=self.random.choice(TOKENS) if kind is E.hook_created else None,
            dedupe=self.random.choice((None, "a", "a", "b", f"d{self.random.randrange(10**6)}")),
            at=self.random.choice((None, None, self.real.time - 5)),
            payload=payload,
            of=self.origin(log, entity) if self.random.random() < 0.6 else None,
        )

    def origin(self, log: Sequence[Event], entity: str) -> int:
        """The stamp of the entity's creation, or now and then another's."""
        stamps = [event.stamp for event in log if event.entity == entity and KINDS[event.type].role is Role.creation]
        right = bool(stamps) and self.random.random() < 0.8
        self.seen["origin" if right else "another origin"] += 1
        return stamps[0] if right else self.random.randrange(1, 1_000)

    async def aimed(self, run_id: str, log: Sequence[Event]) -> NewEvent | None:
        """One event towards what has not occurred yet: chance alone takes thousands of steps to the rarest."""
        missing = [kind for kind in (*ENDS, *ORIGINS) if kind.name not in self.seen]
        missing += [E.step_started] * ("early" not in self.seen)
        if "hook_conflict" not in self.seen and self.random.random() < 0.5:
            for token in TOKENS:
                hook = await self.model.store.find_hook(token)
                if hook is not None and hook.run_id != run_id:
                    return NewEvent(E.hook_created, self.fresh(E.hook_created), token=token, payload=b"\x01")
        if not missing:
            return None
        kind = self.random.choice(missing)
        return NewEvent(kind, payload=b"\x01aimed") if kind in ENDS else self.towards(kind, log)

    def towards(self, kind: E, log: Sequence[Event]) -> NewEvent:
        """The event itself if an entity is open for it, else what must come before: the creation, a start, and before a
        start that is too early a retry.
        """
        ended = {event.entity for event in log if KINDS[event.type].role is Role.terminal}
        origins = [event for event in log if event.type is ORIGINS[kind] and event.entity not in ended]
        if not origins:
            return self.whole(ORIGINS[kind], self.fresh(ORIGINS[kind]))
        entity = origins[-1].entity
        story = [event for event in log if event.entity == entity and event.type in ATTEMPTS]
        if not story:
            return self.whole(kind, entity)
        newest = story[-1]
        if newest.type is E.step_started:
            after = E.step_retrying if kind is E.step_started else kind
            return self.whole(after, entity, newest.attempt)
        return self.whole(E.step_started, entity, newest.attempt + 1)

    def fresh(self, kind: E) -> str:
        """An entity id that is probably free."""
        return f"{kind.name[0]}#{self.random.randrange(40)}"

    def whole(self, kind: E, entity: str, attempt: int = 0) -> NewEvent:
        """The event with what its kind needs."""
        return NewEvent(
            kind,
            entity,
            attempt=attempt if 11 <= kind <= 14 else 0,
            due=self.real.time + self.random.randrange(60 * SECOND) if kind is E.wait_created else None,
            due_in=self.random.choice((9 * SECOND, 30 * SECOND)) if kind is E.step_retrying else None,
            token=self.random.choice(TOKENS) if kind is E.hook_created else None,
            payload=b"\x01aimed",
        )

    async def batch(self, run_id: str) -> Batch:
        """A batch that is more often right than wrong about the run."""
        loaded = await self.model.store.load(run_id)
        fence, last = (1, 1) if loaded is None else (loaded.run.fence, loaded.run.last_seq)
        log = () if loaded is None else loaded.events
        aimed = await self.aimed(run_id, log) if self.random.random() < 0.3 else None
        if aimed is not None:
            decides = KINDS[aimed.type].decision
            return Batch(run_id, fence if decides else None, (aimed,), seen=last, grace=GRACE)
        events = [self.event(log) for _ in range(self.random.choice((1, 1, 1, 1, 2, 4)))]
        if all(not KINDS[event.type].decision or event.type is E.run_failed for event in events):
            choose_fence = self.random.random() < 0.3
        else:
            choose_fence = self.random.random() < 0.97
        if choose_fence and self.random.random() < 0.15:
            fence = max(1, fence - 1)
        return Batch(
            run_id,
            fence if choose_fence else None,
            tuple(events),
            seen=self.random.choice((last, last, last - 1)),
            wake_at=self.random.choice((None, self.real.time + self.random.randrange(100 * SECOND))),
            grace=self.random.choice((GRACE, GRACE // 3)),
            stamp=self.stamp(0 if loaded is None else loaded.run.stamp),
        )

    def stamp(self, right: int) -> int | None:
        """That of the fence; or none, or that of an append which is not in the log."""
        kind = self.random.choices(("right", "none", "other"), (5, 3, 1))[0]
        self.seen[f"stamp {kind}"] += 1
        return {"right": right, "none": None, "other": right + 1}[kind]

    def note(self, verdict: Any) -> None:
        """Count what occurred."""
        if isinstance(verdict, tuple):
            self.seen["unstorable"] += 1
            return
        self.seen[verdict.outcome.value] += 1
        for fact in verdict.facts:
            self.seen[(fact.reason or fact.outcome).value] += 1
        for event in verdict.events:
            self.seen[event.type.name] += 1
