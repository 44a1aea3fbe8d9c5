"""The kinds of faults. Each returns when it is over, with the moment from which recovery counts.

| kind | recovery counts from |
|---|---|
| kill, kill_supervised, freeze, flush, drain, producer | the fault itself |
| valkey, postgres, outage | when the server answers again |
| stall, reset, half, hole, refuse | when the network is whole again; new connections are possible |
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import msgspec
from redis.asyncio import Redis
from tests.chaos.network import Network
from tests.chaos.producers import Producers
from tests.ordeal.fleet import Fleet, WorkerProcess
from tests.ordeal.ground import Ground, now

from fencepost.config import Config


class Fault(msgspec.Struct):
    """One that happened, ``since`` when it began. ``at``: microseconds, from when recovery counts. ``rest``: seconds to
    wait before the next one, so that what is due to this one is over (0: until what a lost reply had leased to nobody
    has run out).
    """

    kind: str
    at: int
    open_runs: int = 0
    what: str = ""
    rest: float = 0.0
    since: int = 0


class Scene(msgspec.Struct):
    """What faults act on. ``outage_seconds``: how long both servers are away in the compressed form of ten minutes."""

    ground: Ground
    network: Network
    fleet: Fleet
    producers: Producers
    random: random.Random
    config: Config
    outage_seconds: float

    async def boot(self, place: str) -> None:
        """A worker at a place that is empty."""
        postgres, valkey = self.network.urls(place)
        config = msgspec.structs.replace(self.config, database_url=postgres, redis_url=valkey)
        await self.fleet.boot(supervised=place == SUPERVISED, config=config, name=place)

    def one(self, *, supervised: bool = False) -> WorkerProcess:
        """A worker at random, with a supervisor or without."""
        return self.random.choice([worker for worker in self.fleet.workers if worker.supervised is supervised])


PLACES = ("one", "two", "three")
SUPERVISED = "three"
"""The place whose worker has a supervisor, which tells the queue of its death."""
PRODUCERS = 3
CUT_SECONDS = (0.5, 12.0)
"""How long a stall or a refusal lasts: from a hiccup to more than a lease."""


async def kill(scene: Scene) -> Fault:
    """kill -9 of a worker that nobody watches; another one is booted in its place."""
    worker = scene.one()
    worker.kill()
    fault = Fault("kill", now(), what=worker.name)
    await scene.fleet.bury(worker)
    await asyncio.sleep(scene.random.uniform(0.0, 3.0))
    await scene.boot(worker.name)
    return fault


async def kill_supervised(scene: Scene) -> Fault:
    """kill -9 of a worker under a supervisor, which ends its leases and starts another one."""
    worker = scene.one(supervised=True)
    worker.kill()
    return Fault("kill_supervised", now(), what=worker.name, rest=3.0)


async def freeze(scene: Scene) -> Fault:
    """SIGSTOP for longer than the lease."""
    worker = scene.one()
    worker.freeze()
    fault = Fault("freeze", now(), what=worker.name, rest=3.0)
    try:
        await asyncio.sleep(scene.config.lease_seconds + scene.random.uniform(0.5, 5.0))
    finally:
        worker.thaw()
    return fault


async def flush(scene: Scene) -> Fault:
    """FLUSHALL."""
    async with Redis.from_url(scene.ground.redis_url) as client:
        await client.flushall()
    return Fault("flush", now(), rest=6.0)


async def valkey(scene: Scene) -> Fault:
    """kill -9 of Valkey, and a start with what it had written."""
    await asyncio.to_thread(scene.ground.kill_valkey)
    await asyncio.sleep(scene.random.uniform(0.0, 2.0))
    await asyncio.to_thread(scene.ground.start_valkey)
    return Fault("valkey", now())


async def postgres(scene: Scene) -> Fault:
    """Immediate shutdown of Postgres, and a start with recovery."""
    await asyncio.to_thread(scene.ground.kill_postgres)
    await asyncio.sleep(scene.random.uniform(0.0, 2.0))
    await asyncio.to_thread(scene.ground.start_postgres)
    return Fault("postgres", now())


async def outage(scene: Scene) -> Fault:
    """Both servers away for longer than leases and every pause between two tries."""
    await asyncio.to_thread(scene.ground.kill_postgres)
    await asyncio.to_thread(scene.ground.kill_valkey)
    await asyncio.sleep(scene.outage_seconds)
    await asyncio.to_thread(scene.ground.start_valkey)
    await asyncio.sleep(scene.random.uniform(0.0, 3.0))
    await asyncio.to_thread(scene.ground.start_postgres)
    return Fault("outage", now())


async def drain(scene: Scene) -> Fault:
    """SIGTERM, a clean end, and a boot."""
    worker = scene.one(supervised=scene.random.random() < 0.3)
    fault = Fault("drain", now(), what=worker.name, rest=3.0)
    code = await worker.drain()
    await scene.fleet.bury(worker)
    if code != 0:
        scene.fleet.died.append(f"{worker.name} was drained and ended with exit code {code}")
    await scene.boot(worker.name)
    return fault


async def producer(scene: Scene) -> Fault:
    """kill -9 of a producer; what it had under way is done again by another one, with the same keys and ids."""
    fault = Fault("producer", now(), rest=3.0)
    await scene.producers.kill_one(scene.random.randrange(PRODUCERS))
    return fault


def cut(way: str) -> Callable[[Scene], Awaitable[Fault]]:
    """A cut of the network, of one place or of all, to one server or to both."""

    async def act(scene: Scene) -> Fault:
        everyone = [*PLACES, *(f"producer{n}" for n in range(PRODUCERS))]
        places = everyone if scene.random.random() < 0.3 else [scene.random.choice(everyone)]
        servers = scene.random.choice((["postgres"], ["valkey"], ["postgres", "valkey"]))
        lasts = way in ("stall", "refuse")
        seconds = scene.random.uniform(*CUT_SECONDS) if lasts else 0.0

        def order(what: str) -> None:
            for place in places:
                for server in servers:
                    scene.network.order(place, server, what)

        try:
            order(way)
            await asyncio.sleep(seconds)
        finally:
            if lasts:
                order("pass")
        what = f"{'all' if len(places) > 1 else places[0]} to {' and '.join(servers)}"
        what += f" for {seconds:.1f} s" if lasts else ""
        # What fell into a hole is missed when a call's time is over, at the latest.
        rest = scene.config.call_timeout_seconds + 3.0 if way == "hole" else 0.0
        return Fault(way, now(), what=what, rest=rest)

    return act


KINDS: dict[str, Callable[[Scene], Awaitable[Fault]]] = {
    "kill": kill,
    "kill_supervised": kill_supervised,
    "freeze": freeze,
    "flush": flush,
    "valkey": valkey,
    "postgres": postgres,
    "outage": outage,
    "drain": drain,
    "producer": producer,
    "stall": cut("stall"),
    "reset": cut("reset"),
    "half": cut("half"),
    "hole": cut("hole"),
    "refuse": cut("refuse"),
}
