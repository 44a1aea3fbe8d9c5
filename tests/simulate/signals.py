"""What must be true of signals: what was accepted stands in one log; across a chain of runs it is taken once, in order.

A run that continues as new hands over what nobody has taken. Here that is followed from log to log: the copies in the
log of the run that goes on are those that the run before has listed, and what it has listed is what the uninterrupted
execution (``plain.py``) had not taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tests.simulate.plain_parts import Hook, Illegal

from fencepost import payload
from fencepost.records import RunContinued, unpack
from fencepost_store.events import Event, EventType

if TYPE_CHECKING:
    from tests.simulate.world import Record

T = EventType


def check_handed_over(
    end: Event,
    inherited: Mapping[str, tuple[str, list[tuple[int, Any]]]],
    opened: Mapping[str, Hook],
    asked: Sequence[Hook],
) -> None:
    """Raise Illegal unless run_continued lists what nobody has taken."""
    wanted = {
        entity: (hook.token, hook.untaken) for entity, hook in opened.items() if hook.disposed_at in (None, end.at)
    }
    unborn = {hook.token for hook in asked if not hook.landed}
    for entity, (token, payloads) in inherited.items():
        if payloads or token in unborn:
            wanted[entity] = token, tuple(seq for seq, _ in payloads)
    told = {hook.entity: (hook.token, hook.seqs) for hook in unpack(end.payload, RunContinued).hooks}
    if told != wanted:
        raise Illegal(f"it hands over {told}, and not {wanted}")


def check_signals(record: Record) -> Generator[str]:
    """Violations, in words."""
    by_id = {run.run_id: index for index, (run, _) in record.runs.items()}
    copies: set[tuple[int, int]] = set()
    for index, (_, log) in record.runs.items():
        if log[-1].type is T.run_continued:
            went_on = unpack(log[-1].payload, RunContinued)
            if went_on.run in by_id:
                after = by_id[went_on.run]
                copies |= {(after, event.seq) for event in _copied(record.runs[after][1])}
                yield from _inherits(index, log, went_on, record.runs[after][1])
        elif _copied(log) and not _goes_on(record, log, index):
            yield f"signal: run {index} inherits, and goes on for nobody"
    yield from _accepted(record, copies)


def _goes_on(record: Record, log: Sequence[Event], index: int) -> bool:
    run_id = record.runs[index][0].run_id
    ends = [other[-1] for _, other in record.runs.values() if other[-1].type is T.run_continued]
    return any(unpack(end.payload, RunContinued).run == run_id for end in ends)


def _copied(log: Sequence[Event]) -> list[Event]:
    """What the log began with, beside run_created."""
    return [event for event in log if event.type in (T.hook_inherited, T.hook_received) and event.at == log[0].at]


def _inherits(index: int, log: Sequence[Event], went_on: RunContinued, after: Sequence[Event]) -> Generator[str]:
    copied = _copied(after)
    if [event.seq for event in copied] != list(range(2, len(copied) + 2)):
        yield f"signal: what goes on for run {index} does not begin with what it inherits"
    tokens = [event.token for event in copied if event.type is T.hook_inherited]
    if tokens != [hook.token for hook in went_on.hooks]:
        yield f"signal: run {index} hands over {[hook.token for hook in went_on.hooks]}, and {tokens} are inherited"
    left = {seq: hook.token for hook in went_on.hooks for seq in hook.seqs}
    wanted = [(left[event.seq], event.dedupe, event.payload) for event in log if event.seq in left]
    by_entity = {event.entity: event.token for event in copied if event.type is T.hook_inherited}
    got = [(by_entity.get(e.entity), e.dedupe, e.payload) for e in copied if e.type is T.hook_received]
    if got != wanted:
        yield f"signal: run {index} hands over {wanted}, and {got} are inherited"


def _accepted(record: Record, copies: set[tuple[int, int]]) -> Generator[str]:
    landed: dict[str, list[tuple[int, Event]]] = defaultdict(list)
    for index, (_, log) in record.runs.items():
        for event in log:
            if event.type is T.hook_received and (index, event.seq) not in copies:
                landed[event.dedupe or ""].append((index, event))
    firsts = {delivery: found[0] for delivery, found in landed.items()}
    for told in record.accepted:
        found = landed.pop(told.delivery, [])
        lost = told.state == "accepted" and not found and not record.hits["forget"]
        if len(found) > 1 or lost or (told.state == "refused" and found):
            yield f"signal: {told.delivery} is {told.state} and stands in the logs {len(found)} times"
        elif found and payload.decode(found[0][1].payload) != told.value:
            yield f"signal: {told.delivery} has another payload in the log"
    if landed:
        yield f"signal: nobody has sent {sorted(landed)}"
    if record.hits["forget"]:  # and what was sent again has come to another place
        return
    sure = [told for told in record.accepted if told.state == "accepted" and told.delivery in firsts]
    for first in sure:
        index, event = firsts[first.delivery]
        for second in sure:
            other, later = firsts[second.delivery]
            if other == index and first.done_at < second.began_at and event.seq > later.seq:
                yield f"signal: {first.delivery} was accepted before {second.delivery} was sent, and comes after it"
