"""What a batch must be before it is worth a lock: pure checks of programmer errors, the same for every store.

An operating matter (a conflict, a refused fact) is never decided here, because it depends on the log. What is decided
here depends on the batch alone, so that Postgres never has to be asked and a poisoned batch never travels with healthy
ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fencepost_store import attributes
from fencepost_store.events import KINDS, UNFENCED_ENDINGS, EventType, NewEvent, Role
from fencepost_store.protocol import Batch, NewRun, Parked

ATTEMPT_MAX = 32_000
"""Attempts are ordinals, and the guards ask for the next one too: all of that stays below TERMINAL_ORDINAL."""

TEXT_BYTES_MAX = 1_024
"""Of an entity id, a token or a delivery id: they stand in indexes, whose entries Postgres limits to 2,704 bytes."""

PAYLOAD_BYTES_MAX = 64 * 1_048_576
"""A last resort far above the configured payload limit, which callers check first: what is larger could not be loaded
again with its neighbours."""

_ATTEMPTS: dict[EventType, tuple[int, int]] = {
    # The least and the most; of everything else: 0.
    EventType.step_started: (1, ATTEMPT_MAX),
    EventType.step_retrying: (1, ATTEMPT_MAX),
    EventType.step_completed: (1, ATTEMPT_MAX),
    EventType.step_failed: (0, ATTEMPT_MAX),  # 0: a step that was never started has failed
}
_STORE_ONLY = frozenset({EventType.run_created, EventType.hook_conflict, EventType.hook_inherited})
# Asked for each event of each append: a name of the module is found faster than a member of an Enum.
_WAIT, _RETRY, _HOOK = EventType.wait_created, EventType.step_retrying, EventType.hook_created
_ATTRIBUTES = EventType.attributes_set

_FRESH: dict[EventType, frozenset[EventType]] = {
    # What may come next in the same fenced batch about an entity that this batch creates. The log cannot know such an
    # entity, so this table is the whole guard and Postgres is not asked.
    EventType.step_created: frozenset(
        {EventType.step_started, EventType.step_completed, EventType.step_failed, EventType.step_cancelled}
    ),
    EventType.step_started: frozenset({EventType.step_completed, EventType.step_failed, EventType.step_cancelled}),
    EventType.wait_created: frozenset({EventType.wait_completed, EventType.wait_cancelled}),
    EventType.hook_created: frozenset({EventType.hook_disposed}),
    EventType.child_created: frozenset({EventType.child_cancel_requested, EventType.child_abandoned}),
    EventType.child_cancel_requested: frozenset({EventType.child_abandoned}),
}


class Unstorable(ValueError):
    """The batch can never land, whatever the log says: the caller must change it. Names the run and the field."""


def admit_all(batches: Sequence[Batch]) -> None:
    """Admit every batch of one call. Raises ValueError if two are for one run, Unstorable as ``admit`` does."""
    if len({batch.run_id for batch in batches}) != len(batches):
        raise ValueError(
            "one append call may hold at most one batch per run: merge them or send them one after the other"
        )
    for batch in batches:
        admit(batch)


def admit(batch: Batch) -> None:
    """Raise Unstorable if the batch is a programmer error: unfenced decisions, missing fields, events after the run's
    end, oversized text."""
    if not batch.events:
        raise Unstorable(f"run {batch.run_id}: a batch without events (use touch to set a deadline)")
    if batch.successor is not None:
        _admit_successor(batch, batch.successor)
    elif batch.hooks:
        raise Unstorable(f"run {batch.run_id}: hooks to hand over, and no successor that inherits them")
    latest: dict[str, EventType] = {}
    for index, event in enumerate(batch.events):
        problem = _problem(batch, index, event) or _order_problem(batch, event, latest)
        if problem is not None:
            raise Unstorable(f"run {batch.run_id}, event {index} ({event.type.name} {event.entity!r}): {problem}")


def _admit_successor(batch: Batch, successor: NewRun) -> None:
    admit_run(successor)
    if batch.fence is None or batch.events[-1].type is not EventType.run_continued:
        raise Unstorable(f"run {batch.run_id}: a successor belongs to a fenced batch that ends in run_continued")
    if successor.key is not None or successor.run_id == batch.run_id:
        raise Unstorable(f"run {batch.run_id}: a successor has an id of its own, and no start key")
    for hook in batch.hooks:
        problem = _short_text_problem("token", hook.token)
        if problem is not None:
            raise Unstorable(f"run {batch.run_id}: {problem}")


def admit_run(run: NewRun) -> None:
    """Raise Unstorable if the run could never be stored: an empty or oversized name, a NUL, a payload beyond all
    limits."""
    for field, text in (("workflow", run.workflow), ("queue", run.queue), ("key", run.key), ("parent", run.parent)):
        problem = None if text is None else _short_text_problem(field, text)
        if problem is not None:
            raise Unstorable(f"run {run.run_id}: {problem}")
    problem = attributes.problem_in(run.attributes)
    if problem is not None:
        raise Unstorable(f"run {run.run_id}: {problem}")
    if run.start_at is not None and run.start_in is not None:
        raise Unstorable(f"run {run.run_id}: start_at and start_in are two ways to say one thing: give one of them")
    if not run.workflow or not run.queue:
        name = "queue" if run.workflow else "workflow"
        raise Unstorable(f"{name} = '': a {name}'s name has at least one character")
    if len(run.payload) > PAYLOAD_BYTES_MAX:
        raise Unstorable(
            f"run {run.run_id}: the payload has {len(run.payload)} bytes, at most {PAYLOAD_BYTES_MAX} can be stored"
        )


def printable(parked: Parked) -> Parked:
    """The reason with every NUL replaced by its symbol: it may quote anything, and Postgres stores no NUL."""
    words = {
        name: value.replace("\0", "\u2400")
        for name, value in msgspec.structs.asdict(parked).items()
        if isinstance(value, str)
    }
    return Parked(seq=parked.seq, before=tuple(map(printable, parked.before)), **words)


def fresh(batch: Batch) -> list[bool]:
    """For each event, whether it speaks of an entity that this fenced batch has created before it."""
    created: set[str] = set()
    answer: list[bool] = []
    for event in batch.events:
        answer.append(event.entity in created)
        if batch.fence is not None and KINDS[event.type].role is Role.creation:
            created.add(event.entity)
    return answer


def _problem(batch: Batch, index: int, event: NewEvent) -> str | None:
    """What is wrong with one event by itself."""
    event_type = event.type
    kind = KINDS[event_type]
    if event_type in _STORE_ONLY:
        return "only the store writes this event"
    if batch.fence is None:
        if kind.decision and event_type not in UNFENCED_ENDINGS:
            return "a decision needs the fence that it was derived from"
    elif kind.ends_run and index != len(batch.events) - 1:
        return "nothing may follow the run's end"
    least, most = _ATTEMPTS.get(event_type, (0, 0))
    if not least <= event.attempt <= most:
        return f"attempt {event.attempt} (steps' facts: 1 to {ATTEMPT_MAX}, step_failed also 0, everything else: 0)"
    if (event_type is _WAIT) != (event.due is not None):
        return "due belongs to wait_created, and to nothing else"
    if (event_type is _RETRY) != (event.due_in is not None):
        return "due_in belongs to step_retrying, and to nothing else"
    if (event_type is _HOOK) != (event.token is not None) and event_type not in _CHILD_ENDS:
        return "token belongs to hook_created and to the ends of children, and to nothing else"
    if not event.entity and event_type not in _RUN_LEVEL:
        return "an entity id is missing"
    if len(event.payload) > PAYLOAD_BYTES_MAX:
        return f"the payload has {len(event.payload)} bytes, at most {PAYLOAD_BYTES_MAX} can be stored"
    if event_type is _ATTRIBUTES:
        try:
            problem = attributes.problem_in(attributes.changes_in(event.payload))
        except ValueError as error:
            problem = str(error)
        if problem is not None:
            return problem
    return _text_problem(event)


_CHILD_ENDS = frozenset({EventType.child_completed, EventType.child_failed})
"""Facts whose ``token`` is the id of the run that child_created names, by its ``dedupe``."""

_RUN_LEVEL = frozenset(
    {
        EventType.run_started,
        EventType.run_completed,
        EventType.run_failed,
        EventType.run_cancelled,
        EventType.run_terminated,
        EventType.run_continued,
        EventType.cancel_requested,
    }
)


def _text_problem(event: NewEvent) -> str | None:
    """What is wrong with the short texts: Postgres stores no NUL, and index entries are limited."""
    if event.entity and event.type in _RUN_LEVEL:
        return "an event of the run itself has no entity id"
    entity, token, dedupe = event.entity, event.token, event.dedupe
    problem = _short_text_problem("entity", entity) if entity else None
    if problem is None and token is not None:
        problem = _short_text_problem("token", token)
    if problem is None and dedupe is not None:
        problem = _short_text_problem("dedupe", dedupe)
    return problem


def _short_text_problem(field: str, text: str) -> str | None:
    """Why Postgres could not store the text in an indexed column."""
    if "\0" in text:
        return f"{field} contains a NUL character, which Postgres cannot store"
    if len(text) * 4 > TEXT_BYTES_MAX and len(text.encode("utf-8", "surrogatepass")) > TEXT_BYTES_MAX:
        return f"{field} has more than {TEXT_BYTES_MAX} bytes"
    return None


def _order_problem(batch: Batch, event: NewEvent, latest: dict[str, EventType]) -> str | None:
    """What is wrong with the event as a follower of the same batch's creation of its entity."""
    if batch.fence is None:
        return None
    previous = latest.get(event.entity)
    if previous is None:
        if KINDS[event.type].role is Role.creation:
            latest[event.entity] = event.type
        return None
    if event.type not in _FRESH.get(previous, frozenset()):
        return f"cannot follow {previous.name} of the same entity in one batch"
    if event.attempt > 1:
        return f"attempt {event.attempt} of a step that this batch creates"
    if previous is EventType.step_started and event.type is EventType.step_failed and event.attempt == 0:
        return "attempt 0 of a step that this batch starts"
    latest[event.entity] = event.type
    return None
