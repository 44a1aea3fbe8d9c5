"""One worker process: connects, becomes ready, consumes, drains. The composition root of the engine (docs/protocol.md
section 6).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fencepost import payload_codecs
from fencepost.authoring.registry import Registry
from fencepost.config import Config
from fencepost.connections import open_queue, open_store
from fencepost.engine.alone import Alone
from fencepost.engine.claims import Claims
from fencepost.engine.clock import DatabaseClock
from fencepost.engine.deadline import SECOND, DeadlineRules
from fencepost.engine.io_watch import watch_io
from fencepost.engine.joining import Join
from fencepost.engine.keeper_thread import KeeperThread
from fencepost.engine.leases import LeaseKeeper
from fencepost.engine.live import LiveRuns
from fencepost.engine.ports import Ports, real_ports
from fencepost.engine.reconciler import Reconciler
from fencepost.engine.shell import Settings, Shell
from fencepost.engine.slots import Slots
from fencepost.engine.stopping import listen
from fencepost.engine.streams import StreamLimits
from fencepost.engine.turn_watch import failing, writing
from fencepost.engine.worker_life import WorkerLife
from fencepost.log import Limits, RunLog
from fencepost.payload_keys import codecs_of
from fencepost.replay.budget import TurnGuard
from fencepost.telemetry import note
from fencepost_queue.protocol import Queue
from fencepost_store.coalescer import Coalescer
from fencepost_store.protocol import Store

DEVELOPMENT_BLOCKED_SECONDS = 1.0
"""A loop that stands still for so long is told in development: there its author is looking."""


def settings_of(config: Config) -> Settings:
    """What the engine's logic reads of the configuration."""
    return Settings(
        queues=tuple(config.queues),
        concurrency=config.concurrency,
        lease_seconds=config.lease_seconds,
        renewal_seconds=config.renewal_seconds,
        idle_block_seconds=config.idle_block_seconds,
        reconcile_period_seconds=config.reconcile_period_seconds,
        near_horizon_seconds=config.near_horizon_seconds,
        conflict_limit=config.conflict_limit,
        lock_budget_seconds=config.lock_budget_ms / 1000,
        suspect_crashes=config.suspect_crashes,
        poison_proofs=config.poison_proofs,
        replay_budget_seconds=config.replay_budget_seconds,
        drain_seconds=config.drain_seconds,
        cache_instances_max=config.cache_instances_max,
        build=config.build,
        divergence=config.divergence,
        check_replay=config.check_replay,
        trace=config.trace,
        event_warn_ratio=config.event_warn_ratio,
        heartbeat_write_seconds=config.heartbeat_write_seconds,
        reconcile_batch=config.reconcile_batch,
    )


def rules_of(config: Config) -> DeadlineRules:
    """The deadline rules of the configuration, in microseconds."""
    return DeadlineRules(
        grace=int(config.grace_seconds * SECOND),
        recovery=int(config.recovery_interval_seconds * SECOND),
        recovery_max=int(config.recovery_interval_max_seconds * SECOND),
        near=int(config.near_horizon_seconds * SECOND),
    )


def limits_of(config: Config) -> Limits:
    """The bounds on one run's log."""
    return Limits(
        payload_bytes_max=config.payload_bytes_max,
        events_max=config.events_max,
        open_entities_max=config.open_entities_max,
        hook_backlog_max=config.hook_backlog_max,
        log_bytes_max=config.log_bytes_max,
    )


def stream_limits_of(config: Config) -> StreamLimits:
    """The bounds on streams."""
    return StreamLimits(
        payload_bytes_max=config.payload_bytes_max,
        stream_bytes_max=config.stream_bytes_max,
        buffer_bytes_max=config.stream_buffer_bytes_max,
    )


def build_shell(
    config: Config, registry: Registry, store: Store, queue: Queue, ports: Ports, join: Join | None = None
) -> tuple[Shell, Coalescer]:
    """The engine's shared tables over a store and a queue. ``join``: where steps' own transactions come from."""
    settings = settings_of(config)
    coalescer = Coalescer(
        store,
        bytes_max=config.batch_bytes_max,
        spawn=lambda coroutine: ports.spawn(coroutine, "coalescer"),
    )
    guard = TurnGuard()
    shell = Shell(
        settings=settings,
        ports=ports,
        store=store,
        log=RunLog(store, coalescer.append, limits_of(config)),
        queue=queue,
        registry=registry,
        clock=DatabaseClock(ports.monotonic),
        keeper=LeaseKeeper(ports.monotonic, config.lease_seconds),
        runs=LiveRuns(config.cache_instances_max, guard),
        slots=Slots(config.concurrency),
        rules=rules_of(config),
        guard=guard,
        stream_limits=stream_limits_of(config),
        join=join,
    )
    return shell, coalescer


class Worker:
    """``async with Worker(config, registry)`` is ready and consumes; leaving it drains.

    ``run_alone(delivery)`` hosts a suspect (None: a child process that imports ``modules``). ``connect_queue``: the
    keeper thread's own client; None:
    from the configuration.
    """

    def __init__(
        self,
        config: Config,
        registry: Registry,
        *,
        modules: tuple[str, ...] = (),
        ports: Ports | None = None,
    ) -> None:
        self.config = config
        self.registry = registry
        self.modules = modules
        self._ports = ports or real_ports(lost_threads_max=config.lost_threads_max)
        self._loops: list[asyncio.Task[Any]] = []
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self.shell: Shell
        self.claims: Claims

    async def __aenter__(self) -> Worker:
        try:
            await self._start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.drain()

    async def _start(self) -> None:
        """Run startup code, connect, read the clock, start the keeper, and only then consume (H54)."""
        config, ports = self.config, self._ports
        payload_codecs.install(codecs_of(config))
        # For asyncio.to_thread in bodies; the engine has threads of its own (loops.py).
        asyncio.get_running_loop().set_default_executor(
            ThreadPoolExecutor(config.concurrency + 4, thread_name_prefix="fencepost-body")
        )
        if config.check_replay:
            watch_io()
        life = WorkerLife(self.registry.lifespans)
        self._closers.append(life.stop)  # the last to go
        await life.start()
        store = await open_store(config)
        self._closers.append(store.close)
        for told in store.warnings:
            note("commits_not_kept", reason=told)
        queue = await open_queue(config)
        self._closers.append(queue.close)
        shell, coalescer = build_shell(config, self.registry, store, queue, ports, store.join)
        self._closers.append(coalescer.close)
        self.shell = shell
        shell.clock.read(await store.now())
        keeper = KeeperThread(
            ports,
            shell.keeper,
            shell.guard,
            lambda: open_queue(config, queue.owner),
            renewal_seconds=config.renewal_seconds,
            replay_budget_seconds=config.replay_budget_seconds,
            blocked_seconds=config.lease_seconds,
            told_seconds=min(config.lease_seconds, DEVELOPMENT_BLOCKED_SECONDS)
            if config.env == "development"
            else config.lease_seconds,
            fail=failing(config),
            write=writing(config),
            health_file=config.health_file,
        )
        keeper.start()
        self._closers.append(keeper.stop)
        reconciler = Reconciler(shell)
        self.claims = Claims(shell, Alone(shell, config, self.modules), reconciler.full)
        shell.start_granted = self.claims.start_granted
        for name in config.queues:
            self._loop(self.claims.loop(name), f"claims of {name}")
        self._loop(reconciler.loop(), "reconciler")
        self._loop(listen(shell), "hints")
        note("worker_started", owner=queue.owner, queues=list(config.queues), build=config.build)

    def _loop(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        self._loops.append(self._ports.spawn(coroutine, name))

    async def failed(self) -> None:
        """Return (raising its error) if one of the worker's loops ends by a bug; else wait for ever."""
        done, _ = await asyncio.wait(self._loops, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def drain(self) -> None:
        """Claim nothing more, let bodies end within ``drain_seconds``, hand the rest back at once, close everything."""
        note("worker_draining", handlers=len(self.claims.handlers))
        self.claims.stop()
        self.shell.gates.close()
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        released = await self._finish_handlers()
        self.shell.runs.drop_all()
        await self._close()
        note("worker_stopped", released=released)

    async def _finish_handlers(self) -> int:
        # Every handler may start others (a settle that grants the next step): with the slots closed, follow-ups go to
        # other workers.
        self.shell.slots.close()
        handlers = set(self.claims.handlers)
        if handlers:
            await asyncio.wait(handlers, timeout=self.config.drain_seconds)
        left = set(self.claims.handlers)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        held = self.shell.keeper.all()
        for delivery in held:  # claimed in the instant of the stop and never started (H54)
            with contextlib.suppress(Exception):
                await self.shell.queue.release(delivery)
        return len(left) + len(held)

    async def _close(self) -> None:
        closers, self._closers = self._closers, []
        for close in reversed(closers):
            with contextlib.suppress(OSError):
                await close()
