"""Figures that are no ratio to the floor: an idle worker, a cold replay, timers, signals."""

from __future__ import annotations

import asyncio
import time
import uuid

import msgspec

from benchmarks import flows
from benchmarks.fleet import Fleet
from benchmarks.servers import Probe, cpu_of_tree, resident_bytes
from fencepost import Client
from fencepost.authoring import registry
from fencepost.connections import open_store
from fencepost.replay.instance import Instance
from fencepost_store.events import EventType

IDLE_SECONDS = 10.0
QUIET_SECONDS = 3.0
"""What a worker is given to come to rest before it is watched."""

NAPS, SIGNALS = 20, 40
LONG_STEPS = 3_000


class Single(msgspec.Struct, frozen=True):
    """One figure. ``goal``: as in the targets, for people."""

    name: str
    value: float
    unit: str
    goal: str


async def singles(client: Client, fleet: Fleet, probe: Probe) -> list[Single]:
    """All of them, one after the other: some half a minute."""
    return [
        *await idle(fleet, probe),
        *await naps(client),
        *await signals(client),
        *await cold_replay(client),
    ]


async def idle(fleet: Fleet, probe: Probe) -> list[Single]:
    """What each worker costs while nothing is to be done."""
    await asyncio.sleep(QUIET_SECONDS)
    counts, before = await fleet.counts(), await probe.read(fleet.pids)
    cpu = cpu_of_tree(fleet.pids)
    await asyncio.sleep(IDLE_SECONDS)
    used = cpu_of_tree(fleet.pids).get("worker", 0.0) - cpu.get("worker", 0.0)
    after = await probe.read(fleet.pids) - before
    statements = sum(
        now["statements"] - then["statements"] for then, now in zip(counts, await fleet.counts(), strict=True)
    )
    workers = len(fleet.pids)
    resident = max(resident_bytes(pid) for pid in fleet.pids)
    return [
        Single("idle worker: resident", resident / 1e6, "MB", "<= 60"),
        Single("idle worker: CPU", 100 * used / IDLE_SECONDS / workers, "%", "<= 0.4"),
        Single("idle worker: statements", statements / IDLE_SECONDS / workers, "/s", "<= 0.5"),
        Single("idle worker: Redis calls", after.redis_calls / IDLE_SECONDS / workers, "/s", ""),
    ]


async def naps(client: Client) -> list[Single]:
    """sleep(1): how late the log says the wait was completed, by the database's clock alone."""
    late: list[float] = []
    for _ in range(2):
        runs = [await client.start(flows.nap, 1.0) for _ in range(NAPS // 2)]
        for run in runs:
            await run.result(60)
            events = [event async for event in run.events()]
            due = next(event.due for event in events if event.type is EventType.wait_created)
            done = next(event.at for event in events if event.type is EventType.wait_completed)
            late.append((done - (due or 0)) / 1e3)
    return _spread("sleep(1) lateness", late, "<= 4", "<= 10")


async def signals(client: Client) -> list[Single]:
    """From the sender's call to the instant at which what the workflow did next stands in the log."""
    took: list[float] = []
    for number in range(SIGNALS):
        token = f"bench:{uuid.uuid4().hex}"
        run = await client.start(flows.listener, token)
        while "hook_created" not in [event.type.name async for event in run.events()]:  # noqa: ASYNC110 (elsewhere)
            await asyncio.sleep(0.005)
        sent = time.time()
        await client.resume(token, number)
        assert await run.result(60) == number
        last = [event.at async for event in run.events()][-1]
        took.append(last / 1e3 - sent * 1e3)
    return _spread("signal to resumed", took, "<= 3", "<= 10")


async def cold_replay(client: Client) -> list[Single]:
    """A log that no worker has in memory: load, decode, replay."""
    token = f"bench:{uuid.uuid4().hex}"
    run = await client.start(flows.long_log, LONG_STEPS, token)
    while (await run.status()).events < 3 * LONG_STEPS + 3:  # noqa: ASYNC110 (the log is in another process)
        await asyncio.sleep(0.2)
    store = await open_store(client.config)
    try:
        program = registry.default.find_workflow("long_log")
        assert program is not None
        best = 0.0
        for _ in range(5):
            started = time.perf_counter()
            loaded = await store.load(run.id)
            assert loaded is not None
            instance = Instance(run.id, program)
            instance.deliver(loaded.events)
            best = max(best, len(loaded.events) / (time.perf_counter() - started))
            instance.evict()
    finally:
        await store.close()
    await client.resume(token, 1)
    await run.result(60)
    return [Single("cold replay, best of 5", best, "events/s", ">= 50000")]


def _spread(name: str, values: list[float], p50: str, p99: str) -> list[Single]:
    values.sort()
    return [
        Single(f"{name}, p50 of {len(values)}", values[len(values) // 2], "ms", p50),
        Single(f"{name}, greatest", values[-1], "ms", p99),
    ]
