"""Which changes of the code a run has taken part in: what ``patched`` answers.

Theory. A run answers True where the log may still say so: the marker is in the log, or nothing that the code asked
for after this point is. It answers False where the log went past this point without the marker: some decision ahead
was caused by the code and is not among what the code has asked for up to now. A marker lands in the batch of the turn
that asked for it, and batches are atomic, so a log that has the next decision has the marker too, or never will. The
first answer is kept for the run.

wait_completed is no such decision: the turn takes it, not the code, and it may stand before the marker in its batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from fencepost.replay.asks import Outstanding
from fencepost_store.events import KINDS, Event, EventType

PREFIX = "patched:"
"""What a marker's entity begins with. Other entities end in ``#`` and a number, which a patch's id cannot have."""

_ASKED = frozenset(kind for kind, row in KINDS.items() if row.decision) - {EventType.wait_completed}


class Patches:
    """The answers given so far, and the part of the log that the code has not seen yet: ``events`` beyond ``index``."""

    __slots__ = ("_answers", "_retired", "events", "index")

    def __init__(self) -> None:
        self.events: Sequence[Event] = ()
        self.index: int = 0
        self._answers: dict[str, bool] = {}
        self._retired: set[str] = set()

    def known(self, entity: str) -> bool | None:
        """The answer that was given before, if any."""
        return self._answers.get(entity)

    def retire(self, entity: str) -> None:
        """Its marker is taken from the log wherever it comes, and asked for no more."""
        self._retired.add(entity)

    def retired(self, entity: str) -> bool:
        """Whether the code has retired it."""
        return entity in self._retired

    def answer(self, entity: str, outstanding: Outstanding) -> bool:
        """The first answer. True means: ask for the marker."""
        self._answers[entity] = found = self._look(entity, outstanding)
        return found

    def _look(self, entity: str, outstanding: Outstanding) -> bool:
        asked = {(ask.type, ask.entity) for ask in outstanding}
        for event in self.events[self.index + 1 :]:
            if event.type is EventType.marker and event.entity == entity:
                return True
            if event.type in _ASKED and (_asked_as(event.type), event.entity) not in asked:
                return False
        return True


def _asked_as(kind: EventType) -> EventType:
    return EventType.hook_created if kind is EventType.hook_conflict else kind
