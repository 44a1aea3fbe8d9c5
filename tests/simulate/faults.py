"""What goes wrong, and when: the plan's faults placed on the calls of the processes."""

# The world looks into the reference model's tables, where a real server would be asked.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from tests.simulate.backlogs import TIMED
from tests.simulate.blocking import BLOCKED_SECONDS
from tests.simulate.forgetting import Forgetting
from tests.simulate.plan import Fault
from tests.simulate.roles import hold, restore, turn_read_only
from tests.simulate.scheduler import Proc
from tests.simulate.wires import SERVER, Wire, WireFault

from fencepost_queue.memory import LaneSnapshot

if TYPE_CHECKING:
    from tests.simulate.processes import SimWorker
    from tests.simulate.world import World

ON_ONE_CALL = frozenset({"lost", "refused", "late", "slow_call", "twice", "rolled_back"})
ROLLED_OUT_BY = 60.0
"""Seconds after which no worker has the old code any more."""

CLIENTS = 100
"""From here on ``Fault.who`` counts clients."""


class Slot:
    """A place for a worker process, one after the other."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.generation = 0
        self.beats = 0
        self.worker: SimWorker | None = None


class Faults:
    """See the module. ``windows`` and ``hits`` tell what has happened, ``blocked_runs`` when the
    code of a run has blocked a process; ``busy_until``: nothing is over before."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.slots: list[Slot] = []
        self.workers: list[SimWorker] = []
        self.windows: list[tuple[float, float, str]] = []
        self.hits: Counter[str] = Counter()
        self.blocked_runs: dict[str, list[float]] = defaultdict(list)
        self.busy_until = 0.0
        self._stillborn = 0
        self._placed: dict[int, dict[int, list[Fault]]] = defaultdict(lambda: defaultdict(list))
        self._beats: Counter[int] = Counter()
        self._beats_of_all = 0
        self._rolls_back = self._goes_far_back = False
        self.snapshots: list[tuple[float, dict[str, LaneSnapshot]]] = []
        self._wires: dict[int, Wire] = {}
        self._forgetting = Forgetting(world) if world.plan.forgets() else None

    def place(self) -> None:
        """Take the plan's faults."""
        for fault in self.world.plan.faults:
            if fault.kind in TIMED:
                self.world.loop.call_later(fault.seconds, self._at_its_time, fault, context=SERVER)
                continue
            self._placed[fault.who][fault.beat].append(fault)
            self._goes_far_back |= fault.kind == "restored"
            self._rolls_back |= fault.kind in ("rollback", "restored")
        if self.world.plan.old:
            self.world.loop.call_later(ROLLED_OUT_BY, self._roll_out, context=SERVER)
            self.window("rollout", ROLLED_OUT_BY)

    def window(self, kind: str, seconds: float) -> None:
        """From now on, for so long, things may be slow."""
        now = self.world.loop.now
        self.windows.append((now, now + seconds, kind))

    def hit(self, kind: str, seconds: float = 0.0) -> None:
        """A fault has happened, on a call that is under way for so long yet."""
        self.hits[kind] += 1
        self.window(kind, 0.0)
        if seconds:
            self.busy_until = max(self.busy_until, self.world.loop.now + seconds)

    def beat(self, who: int, proc: Proc) -> None:
        """A process makes a call that counts."""
        self._beats[who] += 1
        self._beats_of_all += 1
        if self._rolls_back and self._beats_of_all % 4 == 0:
            self.snapshots.append((self.world.loop.now, self.world.servers.queue.snapshot()))
            if not self._goes_far_back:
                del self.snapshots[:-50]
        if self._forgetting is not None:
            self._forgetting.note()
        for fault in self._placed[who].pop(self._beats[who], ()):
            if proc.countdown:
                self._placed[who][self._beats[who] + 1].append(fault)
                continue
            if fault.kind in ON_ONE_CALL:
                self._on_call(who, fault)
                continue
            proc.countdown = fault.hops + 1
            proc.on_count = lambda fault=fault: self._fire(fault, who, proc)

    def all_wires(self) -> list[Wire]:
        """Of all processes that there are."""
        return [*(slot.worker.wire for slot in self.slots if slot.worker is not None), *self._wires.values()]

    def watch(self, who: int, wire: Wire) -> None:
        """A client's wire, for faults on its calls."""
        self._wires[who] = wire

    def wire(self, who: int) -> Wire | None:
        """The wire of whoever is there now."""
        if who in self._wires:
            return self._wires[who]
        worker = self.slots[who].worker
        return None if worker is None else worker.wire

    def die(self, proc: Proc) -> None:
        """A body ends its process."""
        for worker in self.workers:
            if proc in worker.children:
                self.hit("child_crash")
                self.world.loop.kill(proc)
            elif worker.proc is proc:
                slot = next((slot for slot in self.slots if slot.worker is worker), None)
                self._crash(slot, worker, Fault("crash", 0, 0, expired=True, again=0.5), "poison")

    def stillborn(self) -> bool:
        """Whether a suspect's process that starts now dies before it has come to user code."""
        if not self._stillborn:
            return False
        self._stillborn -= 1
        self.hit("stillborn")
        return True

    def blocked(self, run_id: str) -> None:
        """The code of a run blocks: it and its process have their time to end."""
        self.blocked_runs[run_id].append(self.world.loop.now)
        self.window("blocking", BLOCKED_SECONDS)

    def exit(self, proc: Proc, code: int) -> None:
        """A process ends itself, by the thread beside its loop."""
        main = self.world.servers.threads[proc].main
        for worker in self.workers:
            if worker.proc is main:
                slot = next((slot for slot in self.slots if slot.worker is worker), None)
                self._crash(slot, worker, Fault("crash", 0, 0, expired=True, again=0.5), "blocked")
            elif main in worker.children:
                self.hit("blocked")
                self.world.loop.kill(main)
                self.world.loop.kill(proc)

    def _on_call(self, who: int, fault: Fault) -> None:
        wire = self.wire(who)
        if wire is not None:
            kind = "slow" if fault.kind == "slow_call" else fault.kind
            wire.fault = WireFault(kind, fault.op, fault.seconds)

    def _fire(self, fault: Fault, who: int, proc: Proc) -> None:
        loop, queue = self.world.loop, self.world.servers.queue
        match fault.kind:
            case "flush":
                self.hit("flush")
                self.busy_until = max(self.busy_until, loop.now)
                queue.flush()
            case "rollback":
                self._roll_back(fault)
            case "forget":
                if self._forgetting is not None and self._forgetting.forget(fault.commits):
                    self.lasting("forget", 0.0)
                    for slot in self.slots:
                        if slot.worker is not None and fault.expired:
                            slot.worker.wire.epoch += 1
            case "restored":
                restore(self, fault)
            case "read_only":
                turn_read_only(self, fault)
            case "held":
                hold(self, fault)
            case "outage" | "slow_server":
                self._all_wires(fault)
            case "rows":
                self.lasting("rows", fault.seconds)
                for run_id in self.world.servers.store._tables.ledgers:
                    loop.create_task(self._hold(run_id, fault.seconds), context=SERVER.copy())
            case "cut":
                wire = self.wire(who)
                if wire is not None:
                    wire.cut[fault.op] = loop.now + fault.seconds
                    self.lasting("cut", fault.seconds)
            case "crash" if who >= CLIENTS:
                started = who - CLIENTS >= len(self.world.plan.programs) or self.world.run_id(who - CLIENTS) is not None
                if started:  # or there would be no run
                    self.hit("client_crash")
                    loop.kill(proc)
            case _:
                slot = self.slots[who]
                worker = slot.worker
                if worker is not None and worker.proc is proc and proc.alive:
                    self._on_process(fault, slot, worker)

    def _at_its_time(self, fault: Fault) -> None:
        if fault.kind == "stillborn":
            self._stillborn = fault.hops
            return
        there = [slot for slot in self.slots if slot.worker is not None and hasattr(slot.worker, "claims")]
        slot = max(there, key=lambda slot: len(slot.worker.shell.keeper) if slot.worker else 0)
        assert slot.worker is not None
        self._crash(slot, slot.worker, fault, "crash")

    def _on_process(self, fault: Fault, slot: Slot, worker: SimWorker) -> None:
        loop = self.world.loop
        match fault.kind:
            case "crash":
                self._crash(slot, worker, fault, "crash")
            case "freeze":
                if worker.proc.frozen or not self._others(slot):
                    return
                self.lasting("freeze", fault.seconds)
                for proc in (worker.proc, *([worker.thread] if worker.thread else [])):
                    loop.freeze(proc)
                    loop.call_later(fault.seconds, loop.thaw, proc, context=SERVER)
            case "expire":
                self.hit("expire")
                self._expire(worker.proc.name)
            case "drain":
                if not worker.draining:
                    self.hit("drain")
                    self._leave(slot, worker, fault.again)
            case "boot":
                if len(self.slots) < 5:
                    self.hit("boot")
                    self.slots.append(Slot(len(self.slots)))
                    self.world.boot(len(self.slots) - 1, new=True)
            case _:
                raise AssertionError(fault.kind)

    def _others(self, slot: Slot) -> bool:
        """Whether some other worker is at work: somebody must be there to look."""
        return any(
            one.worker is not None and one.worker.proc.alive and not one.worker.proc.frozen and not one.worker.draining
            for one in self.slots
            if one is not slot
        )

    def _crash(self, slot: Slot | None, worker: SimWorker, fault: Fault, kind: str) -> None:
        """``slot``: None if another has taken the worker's place already."""
        loop = self.world.loop
        self.hit(kind)
        for proc in (worker.proc, *worker.children):
            loop.kill(proc)
        if fault.expired:
            loop.call_later(0.05, self._expire, worker.proc.name, context=SERVER)
        if slot is not None:
            slot.worker = None
            again = fault.again if self._others(slot) else min(fault.again, 0.5)
            self.window(kind, again)
            self.busy_until = max(self.busy_until, loop.now + again)
            loop.call_later(again + 0.01, self._boot_again, slot.index, worker.code.new, context=SERVER)

    def _boot_again(self, index: int, new: bool) -> None:
        worker = self.slots[index].worker
        if worker is None or not worker.proc.alive or worker.draining:
            self.world.boot(index, new=new)

    def _leave(self, slot: Slot, worker: SimWorker, again: float) -> None:
        loop = self.world.loop
        self.window("drain", again + 4.0)
        loop.start(worker.proc, worker.leave(), "drain")
        self.busy_until = max(self.busy_until, loop.now + again + 4.0)
        loop.call_later(again + 0.01, self._boot_again, slot.index, True, context=SERVER)

    def _roll_out(self) -> None:
        for slot in self.slots:
            worker = slot.worker
            if worker is not None and not worker.code.new:
                self.hits["rollout"] += 1
                self._crash(slot, worker, Fault("crash", 0, 0, expired=True, again=0.1), "rollout_crash")
                self._boot_again(slot.index, True)

    def _expire(self, owner: str) -> None:
        queue = self.world.servers.queue
        now = queue.clock_ms()
        for lane in queue.lanes.values():
            lane.expire(now, owner)
        queue.deliver_rings()

    def _roll_back(self, fault: Fault) -> None:
        wanted = self.world.loop.now - fault.seconds
        older = [state for at, state in self.snapshots if at <= wanted]
        if older:
            self.hit("rollback")
            self.busy_until = max(self.busy_until, self.world.loop.now)
            self.world.servers.queue.restore(older[-1])

    def _all_wires(self, fault: Fault) -> None:
        until = self.world.loop.now + fault.seconds
        for wire in self.all_wires():
            if fault.kind == "outage":
                wire.cut[fault.op] = until
            else:
                wire.slow[fault.op] = (until, 0.5)
        self.lasting(fault.kind, fault.seconds)

    async def _hold(self, run_id: str, seconds: float) -> None:
        """A transaction of somebody else's, as that of a step that writes, keeps the run's row."""
        async with self.world.servers.store._locks.setdefault(run_id, asyncio.Lock()):
            await asyncio.sleep(seconds)

    def lasting(self, kind: str, seconds: float) -> None:
        """Something goes wrong from now on, for so long."""
        self.hits[kind] += 1
        self.window(kind, seconds)
        self.busy_until = max(self.busy_until, self.world.loop.now + seconds)
