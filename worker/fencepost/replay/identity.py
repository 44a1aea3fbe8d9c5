"""Readable entity ids that a missing branch does not renumber: task path, name, counter within that pair.

The path travels in a context variable, so that callbacks (call_soon, call_at) count under the task that scheduled
them. A task's component is its coroutine's name with a counter of its own, for example ``ship_parcel#2/charge#1``;
steps and tasks of one name do not share a counter.

Ids are bounded. A path longer than ``PATH_CHARS_MAX`` is replaced by ``~`` and 128 bits of its hash, so its depth
does not matter and two long paths stay apart; a name is cut the same way. ``#``, ``/``, ``~`` and ``%`` inside names
are quoted, so that no name can spell another task's path.
"""

from __future__ import annotations

import contextvars
from hashlib import blake2b
from typing import Any

import msgspec

from fencepost import records

ID_CHARS_MAX = 200
PATH_CHARS_MAX = 90
NAME_CHARS_MAX = 90  # path + name + "#" + the digits of a counter stay below ID_CHARS_MAX

_QUOTED = str.maketrans({"%": "%25", "#": "%23", "/": "%2F", "~": "%7E"})


class TaskPath:
    """Where ids are counted: one per task, shared by the callbacks that the task schedules."""

    __slots__ = ("_entities", "_tasks", "chance", "draws", "prefix")

    def __init__(self, prefix: str) -> None:
        self.prefix: str = prefix
        self._entities: dict[str, tuple[str, list[int]]] = {}
        self._tasks: dict[str, int] | None = None
        self.chance: Any = None  # ambient_chance.py: the task's generator, once it has drawn
        self.draws: int = 0

    def next_id(self, name: str) -> str:
        """The next entity id for ``name`` under this path."""
        entry = self._entities.get(name)
        if entry is None:
            # A list of one int is the cheapest counter that a dict look-up can hand out for update.
            entry = self._entities[name] = (f"{self.prefix}{_shortened(name)}#", [0])
        stem, count = entry
        count[0] += 1
        return stem + str(count[0])

    def child(self, name: str) -> TaskPath:
        """The path of the next task made of a coroutine called ``name``."""
        tasks = self._tasks
        if tasks is None:
            tasks = self._tasks = {}
        count = tasks[name] = tasks.get(name, 0) + 1
        prefix = f"{self.prefix}{_shortened(name)}#{count}/"
        if len(prefix) > PATH_CHARS_MAX:
            prefix = f"~{_digest(prefix)}/"
        return TaskPath(prefix)


PATH: contextvars.ContextVar[TaskPath] = contextvars.ContextVar("fencepost_task_path")


def seed_of(run_id: str, entity: str) -> bytes:
    """32 bytes that depend on both and nothing else."""
    return blake2b(entity.encode(), digest_size=32, key=run_id.encode()[:64], person=b"fencepost-seed").digest()


def secret_of(secret: bytes, run_id: str, entity: str) -> bytes:
    """32 bytes that nobody can tell without the run's secret: a keyed hash of the ids."""
    text = f"{run_id}/{entity}".encode()
    return blake2b(text, digest_size=32, key=secret[:64], person=b"fencepost-token").digest()


def derived_run_id(at: int, secret: bytes, run_id: str, entity: str) -> str:
    """The id of a run that another one asks for at workflow time ``at`` (microseconds): a UUIDv7, so that runs list by
    time, whose chance is a keyed hash. So every replay asks for the same run, and who creates it a second time finds
    it there; and nobody without the asking run's secret can name it beforehand.
    """
    text = f"{run_id}/{entity}".encode()
    chance = int.from_bytes(blake2b(text, digest_size=10, key=secret[:64], person=b"fencepost-child").digest(), "big")
    bits = (
        (at // 1000 & (1 << 48) - 1) << 80 | 7 << 76 | (chance >> 62 & 0xFFF) << 64 | 2 << 62 | chance & (1 << 62) - 1
    )
    text32 = f"{bits:032x}"
    return "-".join((text32[:8], text32[8:12], text32[12:16], text32[16:20], text32[20:]))


def stable_hash(text: str) -> int:
    """A hash of text that is the same in every process, unlike Python's own."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 4  # what int's hash leaves alone


def secret_in(created: bytes) -> bytes:
    """The secret in a run_created payload; empty if it has none."""
    try:
        return bytes.fromhex(records.unpack(created, _Secret).secret)
    except (msgspec.MsgspecError, ValueError):
        return b""


class _Secret(msgspec.Struct, frozen=True):
    """The one field of records.RunCreated that is of interest here: the rest may be long, and is not decoded."""

    secret: str = ""


def _shortened(name: str) -> str:
    if not name.isidentifier():
        name = name.translate(_QUOTED)
    if len(name) <= NAME_CHARS_MAX:
        return name
    return f"{name[: NAME_CHARS_MAX - 33]}~{_digest(name)}"


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()
