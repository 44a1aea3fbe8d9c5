"""Whether a server is fit to hold the queue, asked on every new connection: a fail-over may have put another in
place."""

from __future__ import annotations

from redis.exceptions import ResponseError

from fencepost_queue.connection import Connection, exchange, trouble
from fencepost_queue.errors import EvictingServer, QueueRefused, ServerTooOld

OLDEST = (6, 2)
"""Redis 6.2: the first whose scripts replicate by effect without being asked, with ZADD, BLPOP and LPOP as used
here."""


async def check_server(connection: Connection) -> None:
    """EvictingServer, ServerTooOld, or QueueRefused if the server will not tell."""
    replies = await exchange(connection, [("INFO", "server"), ("INFO", "memory")])
    facts: dict[str, str] = {}
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise QueueRefused(f"the queue's server must allow INFO, by which it is checked: {trouble(reply)}")
        facts.update(facts_of(reply))
    judge(facts)


def judge(facts: dict[str, str]) -> None:
    """The rules, on the fields of INFO."""
    version = facts.get("redis_version", "")
    numbers = tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2])
    if numbers < OLDEST:
        raise ServerTooOld(version or "of unknown version", ".".join(map(str, OLDEST)))
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise EvictingServer(policy, int(facts.get("maxmemory", "0")))


def facts_of(info: bytes | str) -> dict[str, str]:
    """The fields of a reply to INFO."""
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else info
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line and not line.startswith("#"))
    return {name: value.strip() for name, _, value in pairs}
