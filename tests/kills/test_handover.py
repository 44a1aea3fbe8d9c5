"""Signals into a chain of runs, on real servers and processes that are killed: none is lost, none refused."""

from __future__ import annotations

import asyncio
import signal

import pytest
from tests.kills.fleet import worker

from fencepost.client import Client
from fencepost.config import Config
from fencepost.errors import HookNotFound
from fencepost_store import migrations

SENDERS, EACH = 6, 50
LEASE_SECONDS = 2.0


async def _listens(client: Client) -> bool:
    try:
        await client.hook("drain")
    except HookNotFound:
        return False
    return True


@pytest.mark.timeout(240)
async def test_h173_h175_three_hundred_signals_into_a_chain_whose_workers_are_killed(
    postgres_url: str, valkey_url: str, namespace: str
) -> None:
    """Each sender sends one behind the other, so what it has sent is taken in that order; between senders there is
    none. Both workers are killed on the way, and another one does the rest."""
    await migrations.migrate(postgres_url, namespace)
    config = Config(
        database_url=postgres_url,
        redis_url=valkey_url,
        namespace=namespace,
        env="test",
        lease_seconds=LEASE_SECONDS,
        renewal_seconds=0.5,
        idle_block_seconds=0.5,
    )
    accepted = 0

    async def send(client: Client, sender: int) -> None:
        nonlocal accepted
        for n in range(EACH):
            # Once the chain listens nobody is refused: HookNotFound would fail the test.
            await client.resume("drain", [sender, n], id=f"{sender}.{n}")
            accepted += 1

    async with worker(config) as one, worker(config) as two, Client(config) as client:
        run = await client.start("drained", [], SENDERS * EACH)
        while not await _listens(client):  # noqa: ASYNC110 - of a server
            await asyncio.sleep(0.02)
        sending = [asyncio.ensure_future(send(client, sender)) for sender in range(SENDERS)]
        for share, victim in ((3, one), (2, two)):
            while accepted < SENDERS * EACH // share:  # noqa: ASYNC110 - of a server
                await asyncio.sleep(0.01)
            victim.send(signal.SIGKILL)
            await victim.death()
        async with worker(config):
            await asyncio.gather(*sending)
            got, generations = await run.result(120)
    assert len(got) == SENDERS * EACH
    for sender in range(SENDERS):
        assert [n for who, n in got if who == sender] == list(range(EACH))
    assert generations > 5, f"{generations} runs: it has hardly ever gone on as another"
