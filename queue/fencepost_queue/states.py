"""What each operation does to a message, as a table. The diagram in the docs is drawn from it, and the differential
test checks every step of both implementations against it, and that every row was met.

Who is authoritative: over what is true of a run, Postgres alone. Over a message, the lane's hash of messages. Over
nothing, the sorted sets: they say in which order to look, and what contradicts the hash is discarded or put right."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec


class Standing(enum.Enum):
    """Where a key stands; dirty is leased and dirty."""

    absent = "absent"
    delayed = "delayed"
    ready = "ready"
    leased = "leased"
    dirty = "dirty"


class Operation(enum.Enum):
    """What can happen to a key. grant: it was named in a settle's follow-ups with ``lease``."""

    enqueue = "enqueue"
    claim = "claim"
    renew = "renew"
    settle = "settle"
    grant = "grant"
    release = "release"
    refuse = "refuse"
    expire = "expire"
    withdraw = "withdraw"
    flush = "flush"


class Transition(msgspec.Struct, frozen=True):
    """One row. ``answer``: what the caller is told, empty if nothing about this key."""

    operation: Operation
    before: Standing
    when: str
    after: Standing
    answer: str = ""


def _rows(operation: Operation, *rows: tuple[Standing, str, Standing, str]) -> list[Transition]:
    return [Transition(operation, before, when, after, answer) for before, when, after, answer in rows]


_absent, _delayed, _ready, _leased, _dirty = Standing

TRANSITIONS: tuple[Transition, ...] = (
    *_rows(
        Operation.enqueue,
        (_absent, "no delay", _ready, "ready"),
        (_absent, "a delay", _delayed, "delayed"),
        (_delayed, "no delay", _ready, "earlier"),
        (_delayed, "a sooner time", _delayed, "earlier"),
        (_delayed, "no sooner time", _delayed, "absorbed"),
        (_ready, "", _ready, "absorbed"),
        (_leased, "a tick", _dirty, "dirty"),
        (_leased, "a step", _leased, "absorbed"),
        (_dirty, "", _dirty, "dirty"),
    ),
    *_rows(
        Operation.claim,
        (_ready, "there is room", _leased, "delivered"),
        (_ready, "there is no room", _ready, ""),
        (_delayed, "not due", _delayed, ""),
        (_delayed, "due", _ready, ""),
        (_delayed, "due, and there is room", _leased, "delivered"),
        (_leased, "the lease goes on", _leased, ""),
        (_leased, "the lease has ended", _ready, ""),
        (_leased, "the lease has ended, and there is room", _leased, "delivered, crashes + 1, recover"),
        (_dirty, "the lease goes on", _dirty, ""),
        (_dirty, "the lease has ended", _ready, ""),
        (_dirty, "the lease has ended, and there is room", _leased, "delivered, crashes + 1, recover"),
    ),
    *_rows(
        Operation.renew,
        (_leased, "by its owner", _leased, "held, or withdrawn"),
        (_dirty, "by its owner", _dirty, "held, or withdrawn"),
        (_absent, "the generation has changed", _leased, "held"),
        (_ready, "a step, the generation has changed", _leased, "held"),
        (_ready, "a tick, the generation has changed", _dirty, "held"),
        (_absent, "else", _absent, "lost"),
        (_ready, "else", _ready, "lost"),
        (_delayed, "", _delayed, "lost"),
        (_leased, "by another", _leased, "lost"),
        (_dirty, "by another", _dirty, "lost"),
    ),
    *_rows(
        Operation.settle,
        (_leased, "by its owner", _absent, "settled"),
        (_dirty, "by its owner", _leased, "again"),
        (_dirty, "by its owner, for the fourth time", _ready, "requeued"),
        (_absent, "", _absent, "lost"),
        (_delayed, "", _delayed, "lost"),
        (_ready, "", _ready, "lost"),
        (_leased, "by another", _leased, "lost"),
        (_dirty, "by another", _dirty, "lost"),
    ),
    *_rows(
        Operation.grant,
        (_absent, "by the owner of what is settled", _leased, "granted"),
        (_absent, "by another", _ready, ""),
        (_delayed, "", _ready, ""),
        (_ready, "", _ready, ""),
        (_leased, "a tick", _dirty, ""),
        (_leased, "a step", _leased, ""),
        (_dirty, "", _dirty, ""),
    ),
    *_rows(
        Operation.release,
        (_leased, "by its owner, no delay", _ready, "True"),
        (_leased, "by its owner, a delay", _delayed, "True"),
        (_dirty, "by its owner", _ready, "True"),
        (_absent, "", _absent, "False"),
        (_delayed, "", _delayed, "False"),
        (_ready, "", _ready, "False"),
        (_leased, "by another", _leased, "False"),
        (_dirty, "by another", _dirty, "False"),
    ),
    *_rows(
        Operation.refuse,
        (_leased, "by its owner", _ready, "True"),
        (_leased, "by its owner, and many have", _delayed, "True"),
        (_dirty, "by its owner", _ready, "True"),
        (_absent, "", _absent, "False"),
        (_delayed, "", _delayed, "False"),
        (_ready, "", _ready, "False"),
        (_leased, "by another", _leased, "False"),
        (_dirty, "by another", _dirty, "False"),
    ),
    *_rows(
        Operation.expire,
        (_leased, "the lease ends now", _leased, ""),
        (_dirty, "the lease ends now", _dirty, ""),
        (_delayed, "", _delayed, ""),
        (_ready, "", _ready, ""),
    ),
    *_rows(
        Operation.withdraw,
        (_absent, "", _absent, ""),
        (_delayed, "", _absent, ""),
        (_ready, "", _absent, ""),
        (_leased, "its owner is told at the next renewal", _leased, ""),
        (_dirty, "its owner is told at the next renewal", _dirty, ""),
    ),
    *_rows(
        Operation.flush,
        (_delayed, "", _absent, ""),
        (_ready, "", _absent, ""),
        (_leased, "", _absent, ""),
        (_dirty, "", _absent, ""),
    ),
)


def mermaid(transitions: Iterable[Transition] = TRANSITIONS) -> str:
    """The table as a Mermaid state diagram, rows that change nothing left out."""
    lines = ["stateDiagram-v2", "    [*] --> absent"]
    labels: dict[tuple[Standing, Standing], list[str]] = {}
    for row in transitions:
        if row.before is not row.after:
            label = row.operation.value + (f" ({row.when})" if row.when else "")
            labels.setdefault((row.before, row.after), []).append(label)
    for (before, after), why in labels.items():
        lines.append(f"    {before.value} --> {after.value}: {'<br>'.join(why)}")
    return "\n".join(lines) + "\n"
