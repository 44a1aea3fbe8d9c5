"""What the code asked for and the log does not have yet, in the order asked.

An ``Ask`` is an entity's creation (its ``owner`` is the future, timer or channel that the code holds) or the
withdrawal of one. States of a creation:

    ASKED --landed--> CREATED --withdrawn--> WITHDRAWN --landed--> DONE
      |                  |                       |
      +--withdrawn-------+---terminal event------+--------------> DONE
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator
from types import CodeType
from typing import Protocol

import msgspec

from fencepost import payload_codecs, records
from fencepost.errors import PayloadError
from fencepost_store.events import Event, EventType, NewEvent


class State(enum.Enum):
    """Where an asked entity stands, see the diagram above."""

    asked = "asked"
    created = "created"
    withdrawn = "withdrawn"
    done = "done"


class Owner(Protocol):
    """What the code holds of an entity."""

    ask: Ask | None


class Ask:
    """One thing asked. ``code`` and ``lasti`` are the instruction that asked; turned into a line only if somebody
    wants to read it."""

    __slots__ = (
        "code",
        "dropped",
        "due",
        "entity",
        "landed",
        "lasti",
        "owner",
        "payload",
        "state",
        "token",
        "type",
        "withdrawal",
    )

    def __init__(
        self, kind: EventType, entity: str, payload: bytes, source: tuple[CodeType | None, int], due: int | None = None
    ) -> None:
        self.type: EventType = kind
        self.entity: str = entity
        self.payload: bytes = payload
        self.due: int | None = due
        self.token: str | None = None
        self.owner: Owner | None = None
        self.state: State = State.asked
        self.dropped: bool = False
        self.landed: bool = False
        self.withdrawal: Ask | None = None
        self.code: CodeType | None = source[0]
        self.lasti: int = source[1]

    def event(self) -> NewEvent:
        """The event that an append must carry for it."""
        return NewEvent(self.type, self.entity, due=self.due, token=self.token, payload=self.payload)

    def finish(self) -> None:
        """It has ended. Breaks the cycle with its owner, so that a run's futures are freed without the cyclic
        collector."""
        self.state = State.done
        owner = self.owner
        if owner is not None:
            owner.ask = None
            self.owner = None


WITHDRAWING = frozenset(
    {EventType.step_cancelled, EventType.wait_cancelled, EventType.hook_disposed, EventType.child_abandoned}
)
"""Decisions by which the code gives something up."""


class Outstanding:
    """The asks in emission order. What is withdrawn before it landed is marked dropped and skipped."""

    __slots__ = ("_asks",)

    def __init__(self) -> None:
        self._asks: deque[Ask] = deque()

    def add(self, ask: Ask) -> None:
        """At the end."""
        self._asks.append(ask)

    def first(self) -> Ask | None:
        """The one that must land next, if any."""
        asks = self._asks
        while asks:
            if not asks[0].dropped:
                return asks[0]
            asks.popleft()
        return None

    def take(self) -> None:
        """The first one has landed."""
        self._asks.popleft().landed = True

    def withdrawal(self, kind: EventType, entity: str) -> Ask | None:
        """Among the withdrawals that must land next, the one of that entity: those that are asked one after the other
        have no order among themselves. It is first afterwards."""
        for ask in self:
            if ask.type not in WITHDRAWING:
                return None
            if ask.type is kind and ask.entity == entity:
                self._asks.remove(ask)
                self._asks.appendleft(ask)
                return ask
        return None

    def last(self) -> Ask | None:
        """The one that was asked last, if any."""
        return next((ask for ask in reversed(self._asks) if not ask.dropped), None)

    def clear(self) -> None:
        """Nothing is asked any more (eviction)."""
        self._asks.clear()

    def __iter__(self) -> Iterator[Ask]:
        return (ask for ask in self._asks if not ask.dropped)


_Named = records.StepCreated | records.WaitCreated | records.HookCreated | records.ChildCreated

_RECORDS: dict[EventType, type[_Named]] = {
    EventType.step_created: records.StepCreated,
    EventType.wait_created: records.WaitCreated,
    EventType.hook_created: records.HookCreated,
    EventType.child_created: records.ChildCreated,
}


def name_in(kind: EventType, payload: bytes) -> str | None:
    """The name field of a creation's record; None if the payload is not such a record (then it says nothing about the
    name)."""
    record = _RECORDS.get(kind)
    if record is None:
        return None
    try:
        return records.unpack(payload, record).name
    except msgspec.MsgspecError:
        return None


_Marked = records.StepCreated | records.ChildCreated | records.HookCreated

_MARKED: dict[EventType, type[_Marked]] = {
    EventType.step_created: records.StepCreated,
    EventType.child_created: records.ChildCreated,
    EventType.hook_created: records.HookCreated,
}
"""Creations whose record says which code asked."""


def fingerprint_in(event: Event) -> bytes | None:
    """Of the code that asked for a recorded creation; None if its record says nothing of it."""
    kind = _MARKED.get(event.type)
    if kind is None or records.FINGERPRINT not in event.payload:
        return None
    try:
        return records.unpack(event.payload, kind).fingerprint
    except msgspec.MsgspecError:
        return None


CALLS: dict[EventType, type[records.StepCreated] | type[records.ChildCreated]] = {
    EventType.step_created: records.StepCreated,
    EventType.child_created: records.ChildCreated,
}
"""Creations whose record has a call's arguments (``args``)."""


def same_call(ask: Ask, event: Event) -> bool:
    """True if the recorded arguments of a step or child, once opened, are those that are asked for, and all else is
    equal too but for the code's fingerprint. Equal values that are encrypted have other bytes each time.
    """
    kind = _MARKED.get(ask.type)
    if kind is None or (event.due, event.token) != (ask.due, ask.token):
        return False
    try:
        return _bare(records.unpack(event.payload, kind)) == _bare(records.unpack(ask.payload, kind))
    except (msgspec.MsgspecError, PayloadError):
        return False


def same_code_other_arguments(ask: Ask, event: Event) -> bool:
    """True if a step or child was called with other arguments by code of the same signature: not by a change of the
    code's options, types or defaults, as far as a fingerprint tells.
    """
    kind = CALLS.get(ask.type)
    if kind is None:
        return False
    try:
        before, now = records.unpack(event.payload, kind), records.unpack(ask.payload, kind)
        codecs = payload_codecs.current()
        return before.fingerprint == now.fingerprint and codecs.opened(before.args) != codecs.opened(now.args)
    except (msgspec.MsgspecError, PayloadError):
        return False


def _bare(record: _Marked) -> tuple[bytes, _Marked]:
    """The opened arguments, and the rest."""
    if isinstance(record, records.HookCreated):
        return b"", msgspec.structs.replace(record, fingerprint=b"")
    opened = payload_codecs.current().opened(record.args)
    return opened, msgspec.structs.replace(record, args=b"", fingerprint=b"")


def same_name(ask: Ask, event: Event) -> bool:
    """True unless both payloads carry a name and the names differ. Equal bytes, the usual case, are not decoded."""
    if event.payload == ask.payload:
        return True
    recorded, asked = name_in(ask.type, event.payload), name_in(ask.type, ask.payload)
    return recorded is None or asked is None or recorded == asked
