"""The second opinion on logs: it knows every event, agrees with the store's model, and finds what is planted."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgspec
import pytest

from fencepost.audit.legality import TABLE, State, family_of, illegal
from fencepost.audit.reading import read
from fencepost_store.attributes import packed
from fencepost_store.events import KINDS, Event, EventType, NewEvent, Role
from fencepost_store.ledger import CREATED_BY
from fencepost_store.memory import MemoryStore
from fencepost_store.protocol import Batch, FactOutcome, NewRun, Outcome, RunStatus

E = EventType
CREATIONS = ("step", "wait", "hook", "child")


def event(seq: int, event_type: EventType, entity: str = "", attempt: int = 0, dedupe: str | None = None) -> Event:
    """One line of a log."""
    return Event(seq, event_type, entity, attempt, seq, None, None, dedupe, b"")


def log(*lines: tuple[EventType, str, int] | tuple[EventType, str] | tuple[EventType]) -> list[Event]:
    """A log of these lines."""
    return [event(seq, *line) for seq, line in enumerate(lines, 1)]  # type: ignore[arg-type]


WHOLE = log(
    (E.run_created,),
    (E.run_started,),
    (E.step_created, "s#1"),
    (E.wait_created, "w#1"),
    (E.step_started, "s#1", 1),
    (E.step_retrying, "s#1", 1),
    (E.step_started, "s#1", 2),
    (E.step_started, "s#1", 3),
    (E.hook_created, "h#1"),
    (E.hook_received, "h#1"),
    (E.step_completed, "s#1", 2),
    (E.wait_completed, "w#1"),
    (E.child_created, "c#1"),
    (E.cancel_requested,),
    (E.child_cancel_requested, "c#1"),
    (E.child_failed, "c#1"),
    (E.hook_disposed, "h#1"),
    (E.hook_conflict, "h#2"),
    (E.marker, "patched:a"),
    (E.attributes_set, "attributes#1"),
    (E.step_created, "s#2"),
    (E.step_cancelled, "s#2"),
    (E.step_created, "s#3"),
    (E.step_started, "s#3", 1),
    (E.step_failed, "s#3", 1),
    (E.wait_created, "w#2"),
    (E.wait_cancelled, "w#2"),
    (E.child_created, "c#2"),
    (E.child_completed, "c#2"),
    (E.child_created, "c#3"),
    (E.child_abandoned, "c#3"),
    (E.run_completed,),
)


def test_every_event_of_the_protocol_has_a_row() -> None:
    """And its role there fits: a creation begins, a terminal event ends."""
    assert set(TABLE) == set(EventType)
    for event_type, moves in TABLE.items():
        role = KINDS[event_type].role
        assert (State.absent in moves) == (role is Role.creation), event_type
        if role is Role.terminal:
            assert set(moves.values()) == {State.ended}, event_type


def test_a_whole_life_is_legal_and_so_is_each_prefix() -> None:
    """With every event but the other ends of a run."""
    unused = set(EventType) - {line.type for line in WHOLE}
    assert unused == {E.run_failed, E.run_cancelled, E.run_terminated, E.run_continued, E.hook_inherited}
    for length in range(len(WHOLE) + 1):
        assert list(illegal(WHOLE[:length])) == []


@pytest.mark.parametrize("lost", range(len(WHOLE) - 1))
def test_an_event_that_is_missing_is_noticed(lost: int) -> None:
    """By the gap that it leaves."""
    found = list(illegal(WHOLE[:lost] + WHOLE[lost + 1 :]))
    assert found[0].seq == lost + 2
    assert found[0].expected == f"seq {lost + 1}"


@pytest.mark.parametrize("seq", [line.seq for line in WHOLE if KINDS[line.type].role is not Role.many])
def test_an_event_that_comes_twice_is_noticed(seq: int) -> None:
    """Each event but signals and requests to cancel may come once as it is."""
    again = [msgspec.structs.replace(line, seq=line.seq + (line.seq > seq)) for line in WHOLE]
    again.insert(seq, msgspec.structs.replace(WHOLE[seq - 1], seq=seq + 1))
    assert [problem.seq for problem in illegal(again)][:1] == [seq + 1]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([(E.run_started,)], "run_created first"),
        ([(E.run_created,), (E.step_created, "")], "the empty name"),
        ([(E.run_created,), (E.run_started, "x")], "the empty name"),
        ([(E.run_created,), (E.step_started, "s", 1)], "only while open or running or backoff"),
        ([(E.run_created,), (E.step_created, "s"), (E.wait_completed, "s")], "events of a step only"),
        ([(E.run_created,), (E.step_created, "s"), (E.step_started, "s", 2)], "attempt 1"),
        ([(E.run_created,), (E.step_completed, "s", 1)], "only while open or running or backoff"),
        ([(E.run_created,), (E.step_created, "s"), (E.step_completed, "s", 0)], "an attempt, which is 1 or more"),
        ([(E.run_created,), (E.run_completed,)], "only while running"),
        ([(E.run_created,), (E.run_terminated,), (E.cancel_requested,)], "nothing after the run's end at seq 2"),
        (
            [(E.run_created,), (E.step_created, "s"), (E.step_started, "s", 1), (E.step_started, "s", 2),
             (E.step_retrying, "s", 1)],
            "attempt 2, the newest",
        ),
        (
            [(E.run_created,), (E.hook_created, "h"), (E.hook_disposed, "h"), (E.hook_received, "h")],
            "only while open",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(lines: list[tuple[EventType, str, int]], said: str) -> None:
    """By the last line, in words that name what might have stood there."""
    problems = [str(problem) for problem in illegal(log(*lines))]
    assert len(problems) == 1, problems
    assert said in problems[0]
    assert f"seq {len(lines)}" in problems[0]


def test_a_delivery_id_lands_once() -> None:
    """Whether it is a signal's or a request's."""
    begun = log((E.run_created,), (E.hook_created, "h"))
    twice = [*begun, event(3, E.hook_received, "h", dedupe="d"), event(4, E.cancel_requested, dedupe="d")]
    assert "landed at seq 3" in str(next(iter(illegal(twice))))
    assert list(illegal([*twice[:3], event(4, E.cancel_requested, dedupe="e")])) == []


def test_what_is_inherited_comes_first_and_ends_where_its_token_is_opened() -> None:
    """Payloads may come for it until then; it is disposed of by nobody."""

    def line(seq: int, kind: EventType, entity: str = "", token: str | None = None) -> Event:
        return msgspec.structs.replace(event(seq, kind, entity), token=token)

    begun = [
        line(1, E.run_created),
        line(2, E.hook_inherited, "inherited:1", "t"),
        line(3, E.hook_received, "inherited:1"),
    ]
    opened = [line(4, E.run_started), line(5, E.hook_created, "h#1", "t")]
    assert list(illegal([*begun, *opened, line(6, E.hook_received, "h#1")])) == []
    assert read([*begun, line(4, E.run_started)]).tokens == {"inherited:1": "t"}
    assert read([*begun, *opened]).tokens == {"h#1": "t"}
    late = list(illegal([*begun, *opened, line(6, E.hook_received, "inherited:1")]))
    assert "only while open" in str(late[0])
    disposed = list(illegal([*begun, line(4, E.run_started), line(5, E.hook_disposed, "inherited:1")]))
    assert "inherited" in str(disposed[0])
    behind = list(
        illegal([line(1, E.run_created), line(2, E.run_started), line(3, E.hook_inherited, "inherited:1", "t")])
    )
    assert "before the run's first turn" in str(behind[0])


def candidate(chance: random.Random, seen: list[Event]) -> NewEvent:
    """Something that somebody might want in this log, sensible or not. A step's end has a start, as the engine sees
    to."""
    kinds = [kind for kind in EventType if kind not in (E.run_created, E.hook_conflict, E.hook_inherited)]
    event_type = chance.choices(kinds, [1 if KINDS[kind].ends_run else 30 for kind in kinds])[0]
    family = family_of(event_type)
    entity = "" if family == "run" else f"{family}#{chance.randrange(2)}"
    attempt = 0
    if event_type in (E.step_started, E.step_retrying, E.step_completed, E.step_failed):
        starts = [line.attempt for line in seen if line.type is E.step_started and line.entity == entity]
        low = 0 if event_type is E.step_started else 1
        attempt = chance.randint(max(1, len(starts) - 1 + low), len(starts) + 1)
        if event_type is E.step_completed:
            attempt = chance.choice(starts or [1])
    dedupe = f"d{chance.randrange(4)}" if KINDS[event_type].role is Role.many else None
    token = entity if event_type is E.hook_created else None
    due = 0 if event_type is E.wait_created else None
    due_in = 0 if event_type is E.step_retrying else None
    data = packed({}) if event_type is E.attributes_set else b""
    return NewEvent(event_type, entity, attempt, due=due, due_in=due_in, token=token, dedupe=dedupe, payload=data)


async def test_it_agrees_with_the_specification() -> None:
    """Random events against random logs: what the model of the store lands is legal, what it refuses is not."""
    seed = 4
    chance = random.Random(seed)
    landed: Counter[EventType] = Counter()
    refused: Counter[EventType] = Counter()
    for number in range(150):
        store = MemoryStore(lambda: 1)
        run_id = f"00000000-0000-0000-0000-{number:012d}"
        await store.start(NewRun(run_id, "w", "q", b"\x01", 1))
        for _ in range(80):
            loaded = await store.load(run_id)
            assert loaded is not None
            seen = list(loaded.events)
            new = candidate(chance, seen)
            if new.type in (E.step_completed, E.run_completed, E.run_continued) and not any(
                line.type in (E.step_started, E.run_started) and line.entity == new.entity for line in seen
            ):
                continue  # the engine sends none such, and the store does not ask
            kind = KINDS[new.type]
            fence = loaded.run.fence if kind.decision and new.type is not E.run_failed else None
            (verdict,) = await store.append([Batch(run_id, fence, (new,))])
            line = event(loaded.run.last_seq + 1, new.type, new.entity, new.attempt, new.dedupe)
            legal = not list(illegal([*seen, line]))
            already = any(fact.outcome is FactOutcome.already for fact in verdict.facts)
            if already:
                continue
            assert legal == (verdict.outcome is Outcome.ok), f"seed {seed}, run {number}: {new} on {seen}"
            (landed if legal else refused)[new.type] += 1
    assert set(landed) == set(EventType) - {E.run_created, E.hook_conflict, E.hook_inherited}
    assert set(CREATED_BY) <= set(refused)


def test_reading_says_what_the_row_must_say() -> None:
    """Tail, fence, status; and what is owed, in the order of the families."""
    reading = read(WHOLE)
    assert (reading.last_seq, reading.fence, reading.ended) == (len(WHOLE), len(WHOLE), RunStatus.completed)
    assert reading.owes() is None
    assert read(WHOLE[:1]).owes() == "its first turn"
    assert read(WHOLE[:8]).owes() == "step s#1"
    assert read(WHOLE[:8]).fence == 4
    assert read(WHOLE[:11]).owes() == "wait w#1"
    assert read(WHOLE[:13]).owes() == "child c#1"
    assert read(WHOLE[:12]).waits_for_nothing() is False
    assert read(WHOLE[:17]).waits_for_nothing() is True


@pytest.mark.parametrize("starts", [(), (1,)])
def test_a_step_is_completed_without_its_start_where_a_fail_over_has_lost_that(starts: tuple[int, ...]) -> None:
    """The creation is there, so the result is that step's: work that is done is done."""
    started = [(E.step_started, "s", attempt) for attempt in starts]
    lines: list[Any] = [(E.run_created,), (E.step_created, "s"), *started, (E.step_completed, "s", len(starts) + 1)]
    assert [*illegal(log(*lines))] == []
