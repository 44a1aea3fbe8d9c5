"""The ways to die, as data, and one driver for all: who is killed where, what must come out, how long it may take."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import msgspec
from tests.kills.fleet import standby, worker

from fencepost.client import Client
from fencepost.config import Config
from fencepost_store.events import EventType

LEASE_SECONDS = Config().lease_seconds
BOUND_SECONDS = 2 * LEASE_SECONDS


class Scenario(msgspec.Struct, frozen=True):
    """``fault``: where the first worker ends itself by SIGKILL. "": in the body of the step."""

    name: str
    workflow: str
    argument: int
    result: int
    fault: str


SCENARIOS = (
    Scenario("tick", "sums", 5, 10, "append.after:1:kill"),
    Scenario("tick_with_pending_wait", "sums_under_a_timeout", 5, 10, "append.after:1:kill"),
    Scenario("hot_path", "sums", 5, 10, "append.after:3:kill"),
    Scenario("hot_path_with_pending_wait", "sums_under_a_timeout", 5, 10, "append.after:3:kill"),
    Scenario("mid_step", "killed_mid_step", 7, 7, ""),
)


class Recovered(msgspec.Struct, frozen=True):
    """``seconds``: from the death to the run's end. ``bodies_twice``: entities that were started more than once."""

    scenario: str
    seconds: float
    bodies_twice: int


async def drive(config: Config, scenario: Scenario) -> Recovered:
    """Kill the worker of one run as the scenario says, while another one lives; the run must end with its result."""
    async with (
        standby(config) as other,
        worker(config, scenario.fault) as victim,
        Client(config) as client,
    ):
        run = await client.start(scenario.workflow, scenario.argument)
        died = await asyncio.wait_for(victim.death(), 60)
        other.send(signal.SIGCONT)
        result: Any = await run.result(BOUND_SECONDS + 30)
        seconds = time.monotonic() - died
        assert result == scenario.result, f"{scenario.name}: {result}"
        starts: dict[str, int] = {}
        async for event in run.events():
            if event.type is EventType.step_started:
                starts[event.entity] = starts.get(event.entity, 0) + 1
        return Recovered(scenario.name, seconds, sum(count > 1 for count in starts.values()))


async def drive_all(configs: list[tuple[Config, Scenario]], at_once: int) -> list[Recovered]:
    """Several scenarios side by side, each in its own namespace: they wait for leases most of the time."""
    room = asyncio.Semaphore(at_once)

    async def one(config: Config, scenario: Scenario) -> Recovered:
        async with room:
            return await drive(config, scenario)

    return list(await asyncio.gather(*(one(*pair) for pair in configs)))
