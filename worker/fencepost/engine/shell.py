"""What every part of the engine shares: the worker's settings, ports, connections and tables. One per worker process,
passed as the first argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from fencepost.authoring.fingerprint import joined_fingerprint
from fencepost.authoring.registry import Registry
from fencepost.config import UNNAMED_BUILD
from fencepost.engine.clock import DatabaseClock
from fencepost.engine.deadline import DeadlineRules
from fencepost.engine.gates import Gates
from fencepost.engine.joining import Join
from fencepost.engine.leases import LeaseKeeper
from fencepost.engine.live import LiveRun, LiveRuns
from fencepost.engine.ports import Ports
from fencepost.engine.slots import Slots
from fencepost.engine.streams import StreamLimits
from fencepost.log import RunLog
from fencepost.records import StepCreated
from fencepost.replay.budget import TurnGuard
from fencepost_queue.protocol import Delivery, Queue
from fencepost_store.protocol import Store


class Settings(msgspec.Struct, frozen=True):
    """The settings that the engine's logic reads; ``config.Config`` is where they come from. Units are last in each
    name.
    """

    queues: tuple[str, ...] = ("default",)
    concurrency: int = 64
    lease_seconds: float = 10.0
    renewal_seconds: float = 3.0
    idle_block_seconds: float = 2.0
    reconcile_period_seconds: float = 5.0
    near_horizon_seconds: float = 600.0
    conflict_limit: int = 5
    lock_budget_seconds: float = 0.25
    suspect_crashes: int = 2
    poison_proofs: int = 2
    replay_budget_seconds: float = 10.0
    drain_seconds: float = 25.0
    cache_instances_max: int = 2_000
    build: str = UNNAMED_BUILD
    divergence: str = "park"
    delay_floor_ms: int = 50
    event_warn_ratio: float = 0.8
    heartbeat_write_seconds: float = 1.0
    reconcile_batch: int = 500
    stuck_turns_max: int = 10
    check_replay: bool = False
    trace: bool = False

    @property
    def own_builds(self) -> frozenset[str]:
        """The builds of starters by name that have meant this very code, so that arguments that do not fit it are their
        mistake. Everybody who has not named a build is of the default one: that says something in development only.
        """
        return (
            frozenset({self.build, UNNAMED_BUILD}) if self.check_replay else frozenset({self.build}) - {UNNAMED_BUILD}
        )


def _cannot_start(delivery: Delivery, live: LiveRun, entity: str, created: StepCreated, stamp: int) -> None:
    raise AssertionError(f"{delivery.key} was leased to a process that runs no granted bodies")


@dataclass(slots=True, eq=False)
class Shell:
    """See the module. ``start_granted``: starts the body of a step whose message was leased to us. ``alone``: this
    process runs one suspect and nothing else: no step is run inline. ``begins``: told there when what is the user's may
    begin to run: the code, or a codec. ``join``: begins a transaction for a step's body
    (None: the store has none). ``bugs``: how often in a row a message has met a bug of ours here, by key.
    ``lacks``: how many messages were refused for want of a workflow or step, by its name.
    ``failures``: how a step last failed here, if it is tried again (``failing.py``). ``raised``: what attempts have
    failed with whose end is on its way into the log, by run and step. ``gates``: whether the servers are there."""

    settings: Settings
    ports: Ports
    store: Store
    log: RunLog
    queue: Queue
    registry: Registry
    clock: DatabaseClock
    keeper: LeaseKeeper
    runs: LiveRuns
    slots: Slots
    rules: DeadlineRules
    guard: TurnGuard
    stream_limits: StreamLimits = field(default_factory=StreamLimits)
    alone: bool = False
    begins: Callable[[], None] | None = None
    join: Join | None = None
    bugs: dict[str, int] = field(default_factory=dict[str, int])
    lacks: dict[str, int] = field(default_factory=dict[str, int])
    failures: dict[str, str] = field(default_factory=dict[str, str])
    raised: dict[str, BaseException] = field(default_factory=dict[str, BaseException])
    start_granted: Callable[[Delivery, LiveRun, str, StepCreated, int], None] = _cannot_start
    gates: Gates = field(init=False)

    def __post_init__(self) -> None:
        """Nothing is known of the servers yet, so both gates are open."""
        self.gates = Gates(self.ports, self.store, self.queue)

    @property
    def code(self) -> str:
        """Which code this is: its build, its names and signatures. What it refuses it is not given again."""
        return joined_fingerprint([(self.settings.build, self.registry.fingerprint.encode())])

    @property
    def worker(self) -> str:
        """The id under which this process stands in logs and leases."""
        return self.queue.owner

    def jitter_ms(self, base_ms: int) -> int:
        """Full jitter (H86): anything between the floor and ``base_ms``."""
        return max(self.settings.delay_floor_ms, int(base_ms * self.ports.uniform()))
