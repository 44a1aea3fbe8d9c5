"""What an operator wants to know of the server before a worker meets it: whether it is fit, what our user may do in the
namespace, how many shards it is used with. Found by trying; nothing is left behind.
"""

from __future__ import annotations

import asyncio
import hashlib
from importlib.resources import files

import msgspec
from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from fencepost_queue.check import facts_of, judge
from fencepost_queue.connection import FAILURES, Command, Connection, Dialer, Reply, exchange, trouble
from fencepost_queue.errors import MissingRights, TakesNoWrites
from fencepost_queue.keys import channel_key, lane_keys, probe_key
from fencepost_queue.valkey import ValkeyQueue

NOTHING = "return 1"
UNABLE = frozenset({"READONLY", "OOM", "MISCONF", "NOREPLICAS", "MASTERDOWN"})
"""Codes of a server that answers and takes no writes."""


class Checked(msgspec.Struct, frozen=True):
    """What was found. ``shards``: None if no process of the namespace has recorded a number yet."""

    server: str
    user: str
    shards: int | None


async def check(url: str, namespace: str, *, shards: int, timeout_seconds: float) -> Checked:
    """Raises QueueTrouble, MissingRights with the command that gives them, OtherShards, EvictingServer, ServerTooOld,
    TakesNoWrites. The time is that of each of its steps.
    """
    dialer = Dialer(url, timeout_seconds)
    connection = await dialer.dial()
    try:
        async with asyncio.timeout(timeout_seconds):
            lacking = await _refused(connection, namespace)
            if lacking:
                raise MissingRights(dialer.user, namespace, lacking)
            (info,) = await exchange(connection, [("INFO",)])
        facts = facts_of(info)
        judge(facts)
    except FAILURES as error:
        raise trouble(error) from error
    finally:
        await connection.disconnect(nowait=True)
    queue = ValkeyQueue(url, namespace, shards=shards, timeout_seconds=timeout_seconds)
    try:
        recorded = await queue.require_shards()
    finally:
        await queue.close()
    return Checked(_server(facts), dialer.user, recorded)


async def _refused(connection: Connection, namespace: str) -> list[str]:
    """What an ACL has to allow and does not, in its own words: ``+command``, ``~key``, ``&channel``. What cannot be
    tried before something else is allowed is left out.
    """
    lane, channel = lane_keys(namespace, "probe", 0), channel_key(namespace, "probe")
    source = (files("fencepost_queue") / "lua" / "rights.lua").read_text("utf-8")
    keys = {f"fp:{namespace}:*": probe_key(namespace), f"fp:{{{namespace}/*": lane.declared[0]}
    commands: dict[str, Command] = {
        "+ping": ("PING",),
        "+info": ("INFO", "server"),
        "+time": ("TIME",),
        "+client|id": ("CLIENT", "ID"),
        "+client|unblock": ("CLIENT", "UNBLOCK", 0),
        "+script|load": ("SCRIPT", "LOAD", NOTHING),
        "+evalsha": ("EVALSHA", _digest(NOTHING), 0),
        f"+publish &{channel_key(namespace, '*')}": ("PUBLISH", channel, ""),
    }
    found = [right for right, command in commands.items() if await _is_refused(connection, command)]
    if not {"+evalsha", "+script|load"} & set(found):
        await exchange(connection, [("SCRIPT", "LOAD", source)])
        for pattern, key in keys.items():
            if await _is_refused(connection, ("EVALSHA", _digest(NOTHING), 1, key)):
                found.append(f"~{pattern}")
                continue
            (tried,) = await exchange(connection, [("EVALSHA", _digest(source), 1, key)])
            found += _told(tried)
            if key != probe_key(namespace) and await _is_refused(connection, ("BLPOP", lane.tick_bell, "0.001")):
                found.append("+blpop")
    for name in ("SUBSCRIBE", "UNSUBSCRIBE"):  # last: nothing else may be said after the first
        if await _is_refused(connection, (name, channel)):
            found.append(f"+{name.lower()} &{channel_key(namespace, '*')}")
    return list(dict.fromkeys(part for right in found for part in right.split()))


async def _is_refused(connection: Connection, command: Command) -> bool:
    (reply,) = await exchange(connection, [command])
    if isinstance(reply, NoPermissionError):
        return True
    if isinstance(reply, ResponseError) and not isinstance(reply, NoScriptError):
        raise trouble(reply)
    return False


def _told(tried: Reply) -> list[str]:
    """Of the answer of ``rights.lua``."""
    if isinstance(tried, ResponseError):
        raise trouble(tried)
    parts: list[str] = [part.decode("utf-8", "replace") for part in tried]
    for name, said in zip(parts[::2], parts[1::2], strict=True):
        if said.lstrip("-").split(" ", 1)[0] in UNABLE:
            raise TakesNoWrites(name, said)
    return [f"+{name}" for name in parts[::2]]


def _server(facts: dict[str, str]) -> str:
    if facts.get("server_name") == "valkey":
        return f"Valkey {facts.get('valkey_version', '')}".rstrip()
    return f"Redis {facts.get('redis_version', '')}".rstrip()


def _digest(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
