"""Whether a server is fit to hold the queue, and which one it is: asked on every new connection and of every idle one,
for a fail-over may have put another in place, or made this one a replica (H220, H221)."""

from __future__ import annotations

from redis.exceptions import ResponseError

from fencepost_queue.connection import Connection, exchange, trouble
from fencepost_queue.errors import EvictingServer, QueueRefused, ReplicaServer, ServerTooOld

OLDEST = (6, 2)
"""Redis 6.2: the first whose scripts replicate by effect without being asked, with ZADD, BLPOP and LPOP as used
here."""


async def check_server(connection: Connection) -> str:
    """The server's identity. EvictingServer, ServerTooOld, ReplicaServer, or QueueRefused if it will not tell."""
    facts = await ask(connection)
    judge(facts)
    return identity(facts)


async def ask(connection: Connection) -> dict[str, str]:
    """What the server says of itself, in one round trip. QueueRefused if it will not."""
    replies = await exchange(connection, [("INFO", "server"), ("INFO", "memory"), ("INFO", "replication")])
    facts: dict[str, str] = {}
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise QueueRefused(f"the queue's server must allow INFO, by which it is checked: {trouble(reply)}")
        facts.update(facts_of(reply))
    return facts


def judge(facts: dict[str, str]) -> None:
    """The rules, on the fields of INFO."""
    version = facts.get("redis_version", "")
    numbers = tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2])
    if numbers < OLDEST:
        raise ServerTooOld(version or "of unknown version", ".".join(map(str, OLDEST)))
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise EvictingServer(policy, int(facts.get("maxmemory", "0")))
    if facts.get("role", "master") != "master":
        raise ReplicaServer(facts)


def identity(facts: dict[str, str]) -> str:
    """Which process this is, and whose data it goes on from: another one after a restart, a fail-over, and after it was
    a replica in between. As ``lua/claim.lua`` reads it. Empty: the server tells nobody."""
    found = f"{facts.get('run_id', '')}/{facts.get('master_replid', '')}"
    return "" if found == "/" else found


def facts_of(info: bytes | str) -> dict[str, str]:
    """The fields of a reply to INFO."""
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else info
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line and not line.startswith("#"))
    return {name: value.strip() for name, _, value in pairs}
