"""H189: all processes of a namespace have one number of shards."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from fencepost_queue.errors import OtherShards
from fencepost_queue.keys import shards_key
from fencepost_queue.protocol import Entry, tick_key
from fencepost_queue.valkey import ValkeyQueue, connect


async def _used(url: str, namespace: str, shards: int) -> None:
    queue = await connect(url, namespace, shards=shards)
    await queue.enqueue([Entry("default", tick_key(f"run {n}")) for n in range(40)])
    await queue.close()


async def _come(url: str, namespace: str, shards: int) -> ValkeyQueue:
    return await connect(url, namespace, shards=shards)


@pytest.mark.parametrize(("used", "asked"), [(1, 2), (2, 1), (4, 3), (3, 4)])
async def test_h189_another_number_of_shards_is_refused(valkey_url: str, namespace: str, used: int, asked: int) -> None:
    """More or fewer; the error has both numbers. The same number is taken, as is another namespace."""
    await _used(valkey_url, namespace, used)
    with pytest.raises(OtherShards, match=rf"shards is {asked}.*is used with {used}.*Set shards = {used}") as caught:
        await _come(valkey_url, namespace, asked)
    assert f"fp:{{{namespace}/*" in str(caught.value)
    for where, shards in ((namespace, used), (f"{namespace}_b", asked)):
        await (await _come(valkey_url, where, shards)).close()


async def test_h189_lanes_of_a_version_that_recorded_nothing_tell(valkey_url: str, namespace: str) -> None:
    """Fewer shards than there are lanes; more cannot be known, and are recorded."""
    await _used(valkey_url, namespace, 3)
    redis = Redis.from_url(valkey_url)
    try:
        await redis.delete(shards_key(namespace))
        with pytest.raises(OtherShards, match="is used with 3"):
            await _come(valkey_url, namespace, 2)
        assert await redis.get(shards_key(namespace)) is None
        await (await _come(valkey_url, namespace, 3)).close()
        assert await redis.get(shards_key(namespace)) == b"3"
    finally:
        await redis.aclose()


async def test_h189_the_number_is_recorded_again_after_a_loss_of_data(valkey_url: str, namespace: str) -> None:
    """By the first claim of a process that is connected already."""
    queue = await _come(valkey_url, namespace, 2)
    redis = Redis.from_url(valkey_url)
    try:
        await queue.claim("default", 1, 1_000)
        await redis.flushall()
        await queue.claim("default", 1, 1_000)
        with pytest.raises(OtherShards, match="is used with 2"):
            await _come(valkey_url, namespace, 3)
    finally:
        await redis.aclose()
        await queue.close()
