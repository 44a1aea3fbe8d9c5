"""H158: the order of a set of texts is the same in every process that fencepost starts."""

from __future__ import annotations

import signal

import pytest
from tests.kills.fleet import worker

from fencepost.client import Client
from fencepost.config import Config
from fencepost.engine import hash_seed
from fencepost_store import migrations
from fencepost_store.events import EventType

SUPERVISED = ("--processes", "1")
ALONE = ("--no-supervisor",)


@pytest.fixture
async def config(postgres_url: str, valkey_url: str, namespace: str) -> Config:
    """Short leases: a killed worker's work is taken over at once."""
    await migrations.migrate(postgres_url, namespace)
    return Config(
        database_url=postgres_url,
        redis_url=valkey_url,
        namespace=namespace,
        env="test",
        lease_seconds=2.0,
        renewal_seconds=0.5,
        idle_block_seconds=0.5,
    )


@pytest.mark.parametrize(
    ("first", "second"), [(ALONE, ALONE), (SUPERVISED, ALONE), (ALONE, SUPERVISED)], ids=["alone", "then", "before"]
)
async def test_h158_a_killed_run_goes_on_through_its_set_in_the_same_order(
    config: Config, first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    """Every place once, none twice: the second process replays the first one's half and goes on with the other."""
    async with Client(config) as client:
        async with worker(config, "", *first, module="seed_flows") as killed:
            run = await client.start("tour", "go")
            while not [event async for event in run.events() if event.type is EventType.hook_created]:
                pass
            killed.send(signal.SIGKILL)
            await killed.death()
        async with worker(config, "", *second, module="seed_flows"):
            await client.resume("go", None)
            seen = await run.result(60)
    assert isinstance(seen, list)
    places = [str(each).rpartition(" ")[0] for each in seen]
    assert len(places) == len(set(places)) == 18
    assert {str(each).rpartition(" ")[2] for each in seen} == {hash_seed.SEED}
