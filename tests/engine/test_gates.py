"""H188: what closes a server's gate, and when it opens again. In virtual time."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import random
from typing import Any, cast

import pytest
from engine_virtual import run
from engine_world import World
from tests.log_lines import captured

from fencepost import sleep, workflow
from fencepost.engine.gates import FLAP_SECONDS, FLAPS, PAUSE_SECONDS_MAX, PROBE_SECONDS, Gate
from fencepost.engine.ports import Ports, new_run_id, no_fault
from fencepost_queue.protocol import QueueTrouble
from fencepost_store.memory import MemoryStore
from fencepost_store.protocol import RunStatus, Store, StoreTrouble
from fencepost_store.trouble import ServerUnable, StoreRefused


class Server:
    """``probe`` fails while ``away``."""

    def __init__(self) -> None:
        self.away: Exception | None = None
        self.probes: list[float] = []
        loop = asyncio.get_running_loop()
        self.gate = Gate(
            "Postgres",
            Ports(
                monotonic=loop.time,
                sleep=asyncio.sleep,
                spawn=lambda coroutine, name: loop.create_task(coroutine, name=name),
                run_thread=None,  # type: ignore[arg-type] - no thread is needed
                uniform=random.Random(1).random,
                new_id=new_run_id,
                fault=no_fault,
            ),
            self._probe,
        )

    async def _probe(self) -> None:
        self.probes.append(asyncio.get_running_loop().time())
        if self.away is not None:
            raise self.away


def test_h188_the_trouble_of_one_call_stops_nobody() -> None:
    """A lost connection, a timeout: the server answers the first probe, which comes at once, however often it is."""

    async def main() -> None:
        server = Server()
        for _ in range(100):
            before = asyncio.get_running_loop().time()
            assert server.gate.trouble(StoreTrouble("a connection broke"), handed_back=1)
            assert not server.gate.is_open
            await server.gate.opened()
            assert asyncio.get_running_loop().time() == before

    with captured() as lines:
        run(main)
    assert lines == []


@pytest.mark.parametrize("error", [StoreTrouble("refused"), ServerUnable("no room"), QueueTrouble("refused")])
def test_h188_an_outage_is_two_lines_and_ends_soon_after_the_server_is_back(error: Exception) -> None:
    """Ten minutes long, with a thousand messages in hand."""

    async def main() -> None:
        server = Server()
        server.away = error
        told = [server.gate.trouble(error, handed_back=1) for _ in range(1_000)]
        assert told == [True, *[False] * 999]
        await asyncio.sleep(600)
        assert not server.gate.is_open
        pauses = [later - earlier for earlier, later in zip(server.probes, server.probes[1:], strict=False)]
        assert max(pauses) <= PAUSE_SECONDS_MAX
        assert len(server.probes) < 600  # jitter goes down to a half
        assert len({round(pause, 6) for pause in pauses[-20:]}) > 10, "the probes of a fleet would come together"
        server.away = None
        before = asyncio.get_running_loop().time()
        await server.gate.opened()
        assert asyncio.get_running_loop().time() - before <= PAUSE_SECONDS_MAX

    with captured() as lines:
        run(main)
    assert [line["event"] for line in lines] == ["server_away", "server_back"]
    assert lines[1]["handed_back"] == 1_000
    assert lines[1]["seconds"] >= 600


@pytest.mark.parametrize("error", [ServerUnable("no room"), StoreRefused("no rights"), QueueTrouble("READONLY")])
def test_h188_a_server_that_answers_probes_and_refuses_work_is_asked_less_and_less(error: Exception) -> None:
    """It is tried once per pause, and said to be away once. After a while without trouble
    it is said to be back, and the first probe comes at once again."""

    async def main() -> None:
        server = Server()
        loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        unknown: list[bool] = []
        while loop.time() - began < 300:
            unknown.append(server.gate.trouble(error, handed_back=1))
            await server.gate.opened()
        assert len(unknown) < 300
        assert unknown == [True] * FLAPS + [False] * (len(unknown) - FLAPS)
        assert [line["event"] for line in lines] == ["server_away"]
        await asyncio.sleep(FLAP_SECONDS)
        assert [line["event"] for line in lines] == ["server_away", "server_back"]
        assert lines[1]["handed_back"] == unknown.count(False)
        assert lines[1]["seconds"] >= 300
        before = loop.time()
        assert server.gate.trouble(error, handed_back=1)
        await server.gate.opened()
        assert loop.time() == before

    with captured() as lines:
        run(main)
    assert len(lines) == 2


def test_h188_a_probe_without_an_answer_has_failed() -> None:
    """A frozen server: what was sent to it before has times of its own to wait for, and the probe stands behind."""

    async def main() -> None:
        server = Server()

        async def never() -> None:
            await asyncio.Event().wait()

        server.gate._probe = never
        server.gate.trouble(StoreTrouble("no answer"))
        await asyncio.sleep(PROBE_SECONDS + 0.1)
        assert [line["event"] for line in lines] == ["server_away"]
        assert lines[0]["error"] == "Postgres did not answer within 5 s"
        server.gate._probe = server._probe
        await server.gate.opened()

    with captured() as lines:
        run(main)
    assert [line["event"] for line in lines] == ["server_away", "server_back"]


def test_h188_runs_that_wait_for_a_server_are_claimed_when_it_is_back() -> None:
    """Ten minutes without Postgres: a few lines, no claims; the runs end within seconds of its return."""

    async def main() -> None:
        world = World()
        store = Away(world.memory)
        world.store = cast(Store, store)

        @workflow(registry=world.registry)
        async def flow() -> None:
            await sleep(0)

        runs = [await world.start(flow) for _ in range(200)]
        store.away = True
        async with world.worker("A") as member:
            await asyncio.sleep(10)
            at_first = member.calls.count(("queue", "claim"))
            await asyncio.sleep(600)
            assert member.calls.count(("queue", "claim")) == at_first
            store.away = False
            await asyncio.sleep(10)
            assert [row.status for row in await world.rows()] == [RunStatus.completed] * len(runs)

    with captured() as lines:
        run(main)
    told = [line["event"] for line in lines if line["log_level"] in ("warning", "error")]
    assert told == ["server_trouble", "server_away", "server_back"]


class Away:
    """A store that cannot be reached while ``away``, but for the clock that a worker reads when it starts."""

    def __init__(self, store: MemoryStore) -> None:
        self.away = False
        self.epoch = store.epoch
        self._store = store

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.away and name != "now":
                raise StoreTrouble("refused")
            return await getattr(self._store, name)(*args, **kwargs)

        return call


def test_h188_no_probe_is_left_when_the_worker_ends() -> None:
    """A gate that is closed for good."""

    async def main() -> None:
        server = Server()
        server.away = StoreTrouble("refused")
        server.gate.trouble(server.away)
        await asyncio.sleep(1)
        server.gate.close()
        await asyncio.sleep(0)
        probes = len(server.probes)
        await asyncio.sleep(60)
        assert len(server.probes) == probes

    run(main)
