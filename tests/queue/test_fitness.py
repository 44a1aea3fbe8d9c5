"""What ``db check`` finds out of a Redis or Valkey: each command, key and channel that an ACL keeps from a user, with
the command that gives it; what takes no writes; the number of shards. On Valkey, and on Redis if there is one.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from tests.docs.markdown import read

from fencepost_queue.errors import EvictingServer, MissingRights, OtherShards, QueueRefused, TakesNoWrites
from fencepost_queue.fitness import check
from fencepost_queue.valkey import connect

SECTION = read("docs/operations.md").partition("### Least rights")[2].partition("\n### ")[0]
(ACL,) = re.findall(r"```text\n(.*?)\n```", SECTION, re.DOTALL)
RIGHTS = [part for part in ACL.split()[4:] if part[0] in "+~&" and part != "+select"]
"""What the page gives. ``select`` is asked for by the connection itself, where the URL has a database."""


class Server:
    """A server with a user of its own."""

    def __init__(self, url: str, namespace: str) -> None:
        self.redis = Redis.from_url(url)
        self.namespace = namespace
        self.url = f"unix://{namespace}:secret@{urlsplit(url).path}?db=0"

    async def let(self, *rights: str) -> None:
        """Make the user, with these rights and no others."""
        await self.redis.execute_command("ACL", "DELUSER", self.namespace)
        rules = ["on", ">secret", "resetkeys", "resetchannels", "-@all", *rights]
        await self.redis.execute_command("ACL", "SETUSER", self.namespace, *rules)

    async def obey(self, message: str) -> None:
        """Do what a message says, to the letter."""
        await self.redis.execute_command(*message.partition("grant them: ")[2].split())

    async def check(self, shards: int = 1) -> object:
        return await check(self.url, self.namespace, shards=shards, timeout_seconds=5)

    async def keys(self) -> set[bytes | str]:
        return set(await self.redis.keys(f"fp:*{self.namespace}*"))


@pytest.fixture(params=["valkey_url", "redis_url"])
async def server(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Server]:
    made = Server(request.getfixturevalue(request.param), namespace)
    yield made
    await made.redis.execute_command("ACL", "DELUSER", namespace)
    await made.redis.aclose()


def documented(namespace: str) -> list[str]:
    return [right.replace("shop", namespace) for right in RIGHTS]


async def test_the_documented_rights_pass_and_the_check_leaves_nothing(server: Server) -> None:
    await server.let(*documented(server.namespace))
    found = await server.check()
    assert str(found).count(server.namespace) == 1
    assert await server.keys() == set()


@pytest.mark.parametrize("lacking", RIGHTS)
async def test_each_right_that_is_lacking_is_named_and_given_by_what_the_message_says(
    server: Server, lacking: str
) -> None:
    """One after the other of those on the page; nothing is left of what was tried, whatever may not be done."""
    right = lacking.replace("shop", server.namespace)
    await server.let(*(one for one in documented(server.namespace) if one != right))
    with pytest.raises(MissingRights) as caught:
        await server.check()
    assert right.partition("|")[0] in str(caught.value)
    await server.obey(str(caught.value))
    try:
        await server.check()
    except MissingRights as more:  # what could not be tried without the first
        await server.obey(str(more))
        await server.check()
    for key in await server.keys():
        assert 0 < await server.redis.pttl(key) <= 1_000, key


async def test_a_user_without_any_right_gets_all_by_the_messages_alone(server: Server) -> None:
    await server.let()
    for _ in range(4):
        try:
            await server.check()
        except MissingRights as error:
            await server.obey(str(error))
    await server.check()


async def test_another_number_of_shards_is_refused_and_none_is_recorded(server: Server) -> None:
    await server.let(*documented(server.namespace))
    await server.check(shards=3)
    assert await server.keys() == set()
    queue = await connect(server.url, server.namespace, shards=2)
    await queue.close()
    with pytest.raises(OtherShards, match="shards is 3"):
        await server.check(shards=3)
    await server.check(shards=2)


@pytest.mark.parametrize(
    ("leave", "back", "refused"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), TakesNoWrites),
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), TakesNoWrites),
        (
            ("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"),
            ("CONFIG", "SET", "maxmemory-policy", "noeviction"),
            EvictingServer,
        ),
    ],
)
async def test_a_server_that_cannot_hold_the_queue_is_refused(
    server: Server, leave: tuple[str, ...], back: tuple[str, ...], refused: type[QueueRefused]
) -> None:
    await server.let(*documented(server.namespace))
    await server.redis.execute_command(*leave)
    try:
        with pytest.raises(refused):
            await server.check()
    finally:
        await server.redis.execute_command(*back)
    await server.check()


async def test_what_the_check_tries_is_what_the_scripts_call() -> None:
    """A command that a script begins to call is tried from then on, and stands on the page."""
    folder = Path(check.__code__.co_filename).parent / "lua"
    called = {
        name.lower()
        for path in folder.glob("*.lua")
        if path.name != "rights.lua"
        for name in re.findall(r"redis\.call\('([A-Z]+)'", path.read_text())
    }
    tried = {name.lower() for name in re.findall(r"'([A-Z]+)'", (folder / "rights.lua").read_text())}
    assert called <= tried
    assert called <= {right[1:] for right in RIGHTS}
