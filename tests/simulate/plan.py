"""A schedule as data: what runs, what is sent, what goes wrong and when. Everything else is drawn from ``seed``.

A plan is made from a seed by ``generate.py``, made smaller by ``shrink.py``, and can be kept as JSON.
"""

from __future__ import annotations

import msgspec


class Node(msgspec.Struct, omit_defaults=True):
    """A piece of a generated workflow; see ``programs.py`` for the kinds."""

    kind: str
    id: int
    parts: list[Node] = []
    seconds: float = 0.0
    count: int = 0
    fails: int = 0
    token: str = ""
    flavour: str = ""


class Program(msgspec.Struct, omit_defaults=True):
    """One workflow. ``at``: seconds until it is started. ``delay``: seconds by which its start is put off then."""

    root: Node
    at: float = 0.0
    queue: str = "default"
    delay: float = 0.0


class Sender(msgspec.Struct, omit_defaults=True):
    """Somebody who sends ``count`` payloads to a token, one after the other, ``gap`` seconds apart. ``run``: whose end
    makes them give up. ``twice``: each is sent a second time under its delivery id.
    """

    token: str
    run: int
    count: int
    gap: float
    at: float = 0.0
    twice: bool = False


class Reader(msgspec.Struct, omit_defaults=True):
    """Somebody who reads a stream of a run from ``at`` on, until it ends."""

    run: int
    name: str
    at: float = 0.0


class Stop(msgspec.Struct, omit_defaults=True):
    """Somebody ends a run from outside: ``cancel`` or ``terminate``."""

    kind: str
    run: int
    at: float
    grace: float | None = None


class Fault(msgspec.Struct, omit_defaults=True):
    """What goes wrong: ``kind``, when the process ``who`` has made its ``beat``-th call that counts, and ``hops`` of
    its callbacks later. ``seconds``: how long it lasts. ``op``: of faults on one call, which one (empty: any).
    Of the kinds that ``backlogs.py`` names, ``seconds`` is when it happens.
    ``expired``: of a crash, the supervisor tells the queue. ``again``: seconds until another process takes its place.
    ``commits``: of a store that forgets, how many; then ``expired``: workers notice.
    """

    kind: str
    who: int
    beat: int
    hops: int = 0
    seconds: float = 0.0
    op: str = ""
    expired: bool = False
    again: float = 0.0
    commits: int = 0


class Plan(msgspec.Struct, omit_defaults=True):
    """See the module. ``queue_ahead``: seconds by which the queue's clock is ahead of the store's. ``skews``: of each
    worker, its clock's epoch and rate. ``old``: workers that begin with the code before the change.
    ``skewed``: of each worker, what its code is beside the others': all of it (empty), "partial" or "foreign".
    ``replay_seconds``: what delivering an event to code takes.
    """

    seed: int
    programs: list[Program]
    senders: list[Sender] = []
    stops: list[Stop] = []
    faults: list[Fault] = []
    workers: int = 2
    concurrency: int = 8
    sticky: float = 0.5
    latency: float = 0.002
    conflict_limit: int = 5
    cache_instances_max: int = 100
    near_horizon: float = 600.0
    queue_ahead: float = 0.0
    skews: list[tuple[float, float]] = []
    old: int = 0
    skewed: list[str] = []
    readers: list[Reader] = []
    replay_seconds: float = 0.0

    def blocks(self) -> bool:
        """Whether some of its code blocks."""
        return any(_blocks(program.root) for program in self.programs)

    def forgets(self) -> bool:
        """Whether its store loses commits."""
        return any(fault.kind == "forget" for fault in self.faults)

    def calm(self) -> bool:
        """Whether nothing goes wrong in it."""
        return not self.faults and not self.old and not self.blocks()


def _blocks(node: Node) -> bool:
    return node.kind == "block" or any(map(_blocks, node.parts))


def dumps(plan: Plan) -> bytes:
    """As JSON."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=1)


def loads(data: bytes) -> Plan:
    """From JSON."""
    return msgspec.json.decode(data, type=Plan)
