"""Plays a plan: the engine's own code in several processes over the reference models, and what is to be known of it
afterwards.
"""

# The world looks into the reference model's tables, where a real one would be asked.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import gc
import itertools
from collections import Counter
from collections.abc import Callable, Generator
from typing import Any

import msgspec
from tests.simulate.actors import Accepted, Actors, Read
from tests.simulate.backlogs import is_backlog
from tests.simulate.bodies import BRIEF_SECONDS, Body, beat, cancel_itself, ending, write
from tests.simulate.durable import Stage, code
from tests.simulate.faults import Faults, Slot
from tests.simulate.joints import Booked, book
from tests.simulate.patching import replaced
from tests.simulate.plan import Node, Plan
from tests.simulate.processes import Servers, SimWorker
from tests.simulate.programs import nodes_of
from tests.simulate.rest import at_rest
from tests.simulate.roles import slow_replays
from tests.simulate.scheduler import PROC, Overrun, Proc, SimLoop
from tests.simulate.wires import Wire

from fencepost import payload
from fencepost.config import Config
from fencepost.records import RunCreated, unpack
from fencepost_queue.memory import MemoryServer
from fencepost_queue.message import State
from fencepost_store.events import TERMINAL_ORDINAL, Event
from fencepost_store.memory import MemoryStore
from fencepost_store.protocol import Run
from fencepost_store.streams import Chunk

EPOCH = 1_700_000_000_000_000 - 1_000_000_000
LIMIT_SECONDS = 3_000.0
"""When nothing has landed in any log for so long, what is open will never end: the longest sleep, a recovery interval
and its slack, several times over.
"""

QUIET_SECONDS = 14.0
"""How long the world goes on after the last run's end: a lease and a reconcile, so that what is left over shows."""

WAITED_OUT = 16
"""Of so many seeds, the quiet time of one is waited out though all is at rest."""

CHILDREN = 1_000
"""From here on runs are children."""

HEALED_SECONDS = 100.0
"""How much longer it goes on while a run that has ended keeps a deadline: the reconciler is to clear it."""


class Written(msgspec.Struct):
    """A stream as it stands in the end."""

    chunks: list[Chunk]
    closed: bool


class Record(msgspec.Struct):
    """What a schedule came to. ``windows``: (from, until, kind) of what went wrong, virtual seconds.
    ``landed``: when the store took an event in, by run id and seq, whatever time it bears. ``sent``: when it was
    asked to. ``programs``: of each run, which of the plan's it plays, and how many have gone before it.
    ``attributes``, ``streams``: as the store has them. ``details``: steps whose heartbeats it still keeps.
    ``reads``: what the plan's readers have read.
    ``table``: what steps' transactions have written.
    ``suspects``: messages that were run alone, one per time. ``blocked``: when the code of a run has blocked a process.
    """

    plan: Plan
    began: float
    ended: float
    runs: dict[int, tuple[Run, tuple[Event, ...]]]
    trees: dict[int, Node]
    accepted: list[Accepted]
    bodies: list[Body]
    windows: list[tuple[float, float, str]]
    hits: Counter[str]
    notes: Counter[str]
    points: Counter[str]
    turns: Counter[str]
    blocked: dict[str, list[float]]
    branches: Counter[str]
    landed: dict[tuple[str, int], float]
    sent: dict[tuple[str, int], float]
    left_over: list[str]
    errors: list[str]
    stuck: list[int]
    callbacks: int
    programs: dict[int, tuple[int, int]]
    attributes: dict[int, dict[str, str]]
    streams: dict[tuple[int, str], Written]
    details: list[tuple[int, str]]
    reads: list[Read]
    table: list[Booked]
    suspects: list[str]
    overrun: str = ""
    replayed: float = 0.0


class World:
    """One plan being played."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loop = SimLoop(plan.seed, sticky=plan.sticky)
        loop = self.loop
        self.notes: Counter[str] = Counter()
        self.points: Counter[str] = Counter()
        self.turns: Counter[str] = Counter()
        self.branches: Counter[str] = Counter()
        self.landed: dict[tuple[str, int], float] = {}
        self.sent: dict[tuple[str, int], float] = {}
        self.bodies: list[Body] = []
        self.errors: list[str] = []
        self.replayed = 0.0
        store = MemoryStore(lambda: EPOCH + int(loop.now * 1_000_000))
        store.stamps = itertools.count(1).__next__  # one seed, one schedule
        queue = MemoryServer(lambda: int((loop.now + plan.queue_ahead) * 1_000))
        self.servers = Servers(loop, store, queue, self._point)
        self.config = _config(plan)
        self.faults = Faults(self)
        self.servers.short = lambda: self.faults.hit("short")
        self.servers.stillborn = self.faults.stillborn
        self.servers.blocked = self.faults.blocked if plan.blocks() else None
        self.actors = Actors(self)
        self._nodes = [{node.id: node for node in nodes_of(program.root)} for program in plan.programs]
        self._numbers: dict[str, int] = {}
        self._played: dict[str, tuple[int, int]] = {}
        self._quiet_at: float | None = None
        self._owed_at = 0.0
        self.tell: Callable[[str, dict[str, Any]], None] | None = None

    def play(self) -> Record:
        """To the end."""
        loop, plan = self.loop, self.plan
        collecting = gc.isenabled()
        gc.disable()
        overrun = ""
        with replaced(self), slow_replays(self):
            Stage.scene = self
            try:
                for index in range(plan.workers):
                    self.faults.slots.append(Slot(index))
                    self.boot(index, new=index >= plan.old)
                self.actors.start()
                self.faults.place()
                began = loop.now
                if is_backlog(plan.seed):
                    self.faults.hits["backlog"] += 1
                try:
                    self._to_the_end()
                except Overrun as spun:
                    overrun = str(spun)
                record = self._record(began, overrun)
            finally:
                for shell in self.servers.shells:
                    shell.runs.drop_all()
                loop.close_all()
                if collecting:
                    gc.enable()
        return record

    def _to_the_end(self) -> None:
        before = -1
        while not self.loop.run(self._over, self.loop.now + LIMIT_SECONDS):
            ledgers = self.servers.store._tables.ledgers.values()
            landed = sum(len(one.events) for one in ledgers)
            if landed == before:
                return
            before = landed

    async def open_store(self, config: Config) -> Any:
        """A connection of the thread beside a process's loop."""
        return self.servers.threads[PROC.get()].store

    def boot(self, index: int, *, new: bool) -> None:
        """A worker process in a slot."""
        slot = self.faults.slots[index]
        epoch, rate = self.plan.skews[index % len(self.plan.skews)] if self.plan.skews else (0.0, 1.0)
        slot.generation += 1
        proc = Proc(f"w{index}.{slot.generation}", epoch + 1_000.0 * slot.generation, rate)
        wire = Wire(self.loop, proc, self.plan.latency, lambda: self.faults.beat(index, proc))
        wire.hit = self.faults.hit
        wire.loaded = self._loaded
        wire.branches, wire.landed, wire.sent = self.branches, self.landed, self.sent
        kind = self.plan.skewed[index] if index < len(self.plan.skewed) else ""
        version = code(new=new or bool(kind), kind=kind)
        config = self.config if version.new else msgspec.structs.replace(self.config, build="old")
        worker = SimWorker(
            self.servers, proc, wire, config, version, self.plan.seed * 1_000 + slot.generation * 10 + index
        )
        slot.worker = worker
        self.faults.workers.append(worker)
        self.loop.start(proc, worker.start(), "boot")

    def run_id(self, index: int) -> str | None:
        """The id of a run, once it is started."""
        for run_id, ledger in self.servers.store._tables.ledgers.items():
            if ledger.run.key == f"run{index}":
                return run_id
        return None

    def rows(self) -> dict[int, tuple[Run, list[Event]]]:
        """All runs that there are, by number: those of the plan as they stand there, children from CHILDREN on."""
        ledgers = self.servers.store._tables.ledgers
        for run_id, ledger in ledgers.items():
            if run_id not in self._numbers:
                key = ledger.run.key
                self._numbers[run_id] = int(key[3:]) if key is not None else CHILDREN + len(self._numbers)
        return {self._numbers[run_id]: (ledger.run, ledger.events) for run_id, ledger in ledgers.items()}

    def _over(self) -> bool:
        ledgers = self.servers.store._tables.ledgers
        if len(ledgers) < len(self.plan.programs) or not all(one.run.status.ended for one in ledgers.values()):
            self._quiet_at = None
            return False
        if self._quiet_at is None:
            self._quiet_at = self.loop.now + QUIET_SECONDS
        if self.plan.seed % WAITED_OUT and at_rest(self):
            return True
        quiet = max(self._quiet_at, self.faults.busy_until + QUIET_SECONDS)
        if any(one.run.wake_at is not None for one in ledgers.values()):
            quiet += HEALED_SECONDS
            self._owed_at = self.loop.now
        elif any(
            m.state is not State.delayed for lane in self.servers.queue.lanes.values() for m in lane.messages.values()
        ):
            quiet = max(quiet, self._owed_at) + 2 * QUIET_SECONDS  # somebody may be about to settle it
        return self.loop.now >= quiet

    def _point(self, name: str) -> None:
        self.points[name] += 1

    def _loaded(self, run_id: str) -> None:
        self.turns[run_id] += 1

    # Scene.

    def tree(self, run: int, node: int) -> Node:
        """The tree of a run; of a child, the part of that node."""
        return self.plan.programs[run].root if node == 0 else self._nodes[run][node].parts[0]

    async def body(self, run_id: str, node: int, visit: int, entity: str, attempt: int) -> Any:
        """What a step's body does: takes its time, fails as often as the plan says, and tells who it was."""
        body = self._begin(run_id, node, visit, entity, attempt)
        what = self._node(node)
        try:
            if what.flavour == "work" and what.fails < 0:
                self.faults.die(PROC.get())
                await self.loop.create_future()
            if what.flavour in ("append", "resume"):
                await write(body, what)
            elif what.flavour == "beat":
                await beat(body, what, self.loop.time)
            elif what.flavour == "joint":
                await book(body, what)
            else:
                await asyncio.sleep(what.seconds)
        except asyncio.CancelledError:
            body.stopped = True
            body.erred = what.flavour == "brief" and self.loop.now - body.at >= BRIEF_SECONDS - 0.01
            raise
        fails = body.attempt <= what.fails
        if fails and what.id % 2 and ending(what, body.attempt) is asyncio.CancelledError:
            body.ended, body.erred = self.loop.now, True
            await cancel_itself()
        return self._end(body, what)

    def quick(self, run_id: str, node: int, visit: int, entity: str, attempt: int) -> Any:
        """The same in a thread."""
        return self._end(self._begin(run_id, node, visit, entity, attempt), self._node(node))

    def _node(self, node: int) -> Node:
        return next(nodes[node] for nodes in self._nodes if node in nodes)

    def _begin(self, run_id: str, node: int, visit: int, entity: str, attempt: int) -> Body:
        self.rows()
        run = self._numbers.get(run_id, -1)
        ledger = self.servers.store._tables.ledgers.get(run_id)  # None: it is forgotten
        logged = ledger is None or (entity, attempt) in ledger.places
        late = ledger is not None and (entity, TERMINAL_ORDINAL) in ledger.places
        name, number = PROC.get().name, len(self.bodies)
        body = Body(run, node, visit, entity, attempt, name, self.loop.now, number, logged, late)
        self.bodies.append(body)
        return body

    def _end(self, body: Body, what: Node) -> Any:
        body.ended = self.loop.now
        if body.attempt <= what.fails:
            body.erred = True
            raise ending(what, body.attempt)(f"attempt {body.attempt} fails")
        return [body.node, body.visit, body.number]

    # Afterwards.

    def _record(self, began: float, overrun: str) -> Record:
        rows, tables = self.rows(), self.servers.store._tables
        stuck = [i for i in range(len(self.plan.programs)) if i not in rows]
        stuck += [i for i, (run, _) in rows.items() if not run.status.ended]
        for context in self.loop.errors:
            self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")
        return Record(
            plan=self.plan,
            began=began,
            ended=self.loop.now,
            runs={index: (run, tuple(events)) for index, (run, events) in rows.items()},
            trees={index: self._tree_of(events[0]) for index, (_, events) in rows.items()},
            accepted=self.actors.accepted,
            bodies=self.bodies,
            windows=self.faults.windows,
            hits=self.faults.hits,
            notes=self.notes,
            points=self.points,
            turns=self.turns,
            blocked=dict(self.faults.blocked_runs),
            branches=self.branches,
            landed=self.landed,
            sent=self.sent,
            left_over=[] if stuck or overrun else list(self._left_over()),
            errors=list(self.errors),  # what is said while the rest is ended counts no more
            stuck=stuck,
            callbacks=self.loop.callbacks,
            programs={self._numbers[run_id]: self.program_of(run_id) for run_id in tables.ledgers},
            attributes={self._numbers[run_id]: dict(one.attributes) for run_id, one in tables.ledgers.items()},
            streams={
                (self._numbers[run_id], name): Written(one.chunks, one.closed_by is not None)
                for (run_id, name), one in self.servers.store._streams.items()
            },
            details=[(self._numbers[run_id], entity) for run_id, entity in self.servers.store._details],
            reads=self.actors.reads,
            table=self.servers.table,
            suspects=self.servers.suspects,
            overrun=overrun,
            replayed=self.replayed,
        )

    def _tree_of(self, created: Event) -> Node:
        (run, *rest), _ = payload.decode(unpack(created.payload, RunCreated).input)
        return self.tree(run, rest[0] if len(rest) == 2 else 0)

    def program_of(self, run_id: str) -> tuple[int, int]:
        """Which of the plan's programs a run, or the run above it, plays; and how many runs have gone before it."""
        if run_id not in self._played:
            created = self.servers.store._tables.ledgers[run_id].events[0]
            (run, *rest), _ = payload.decode(unpack(created.payload, RunCreated).input)
            self._played[run_id] = run, rest[0] if len(rest) == 1 else 0
        return self._played[run_id]

    def over(self, index: int) -> bool:
        """Whether a program's run has ended, and those that go on for it."""
        ledgers = self.servers.store._tables.ledgers
        mine = [
            one.run
            for run_id, one in ledgers.items()
            if one.run.workflow == "main" and self.program_of(run_id)[0] == index
        ]
        return bool(mine) and all(run.status.ended for run in mine)

    def _left_over(self) -> Generator[str]:
        """What stands about when nothing is to be done any more."""
        for lane in self.servers.queue.lanes.values():
            for key, message in lane.messages.items():
                if key.startswith("t:") and message.state is State.delayed:
                    continue  # of a wait that was cancelled: one more turn, which finds the run ended
                yield f"message {key} {message.state.value}"
        for _, (run, _) in self.rows().items():
            if run.wake_at is not None:
                yield f"deadline of {run.run_id}"
        for slot in self.faults.slots:
            worker = slot.worker
            if worker is None or not worker.proc.alive or worker.draining or not hasattr(worker, "claims"):
                continue
            if worker.shell.slots.taken:
                yield f"{worker.shell.slots.taken} slots of {worker.proc.name}"
            for delivery in worker.shell.keeper.all():
                yield f"lease of {worker.proc.name} on {delivery.key}"


def _config(plan: Plan) -> Config:
    return Config(
        queues=("default", "other"),
        concurrency=plan.concurrency,
        conflict_limit=plan.conflict_limit,
        cache_instances_max=plan.cache_instances_max,
        near_horizon_seconds=plan.near_horizon,
        drain_seconds=3.0,
        build="new",
    )
