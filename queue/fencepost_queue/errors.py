"""Errors of the queue beyond ``QueueTrouble``: what waiting does not cure. Each names what is wrong, and the way
out."""

from __future__ import annotations

from collections.abc import Sequence

from fencepost_queue.protocol import QueueTrouble


class QueueRefused(QueueTrouble):
    """The server answers, but will not serve us: wrong password, database or rights. An operator has to act."""


class EvictingServer(QueueRefused):
    """The server may drop keys when its memory is full: hints would vanish one by one, unseen by the generation key."""

    def __init__(self, policy: str, maxmemory: int) -> None:
        limit = f"maxmemory {maxmemory} bytes" if maxmemory else "no maxmemory yet"
        super().__init__(
            f"the queue's server evicts keys: maxmemory-policy is {policy!r} ({limit}), it must be 'noeviction'. "
            "Set it (CONFIG SET maxmemory-policy noeviction, and in the server's own configuration), or give the queue "
            "a server of its own"
        )


class MissingRights(QueueRefused):
    """Our user may not do in the namespace what fencepost does."""

    def __init__(self, user: str, namespace: str, lacking: Sequence[str]) -> None:
        super().__init__(
            f"Redis user {user} lacks rights in namespace {namespace}, grant them: ACL SETUSER {user}"
            f" {' '.join(lacking)}"
        )


class TakesNoWrites(QueueRefused):
    """The server answers and takes no writes: a replica, a full memory, a disk that cannot be written."""

    def __init__(self, command: str, said: str) -> None:
        super().__init__(
            f"the queue's server takes no writes ({command}: {said}). Name the primary in redis_url, or give it memory"
        )


class ReplicaServer(QueueTrouble):
    """The server is a replica: it takes no writes, and what it has may be behind. A fail-over that is under way makes
    this pass by itself."""

    def __init__(self, facts: dict[str, str]) -> None:
        super().__init__(
            f"the queue's server is a {facts['role']} of {facts.get('master_host', 'another server')}:"
            f"{facts.get('master_port', '?')}, which takes no writes. While a fail-over is under way wait for its end;"
            " else let redis_url name the primary, or an address that follows it"
        )


class OtherShards(QueueRefused):
    """The namespace is used with another number of shards: messages would stand in lanes that nobody serves."""

    def __init__(self, namespace: str, recorded: int, asked: int) -> None:
        super().__init__(
            f"shards is {asked}, but namespace {namespace} is used with {recorded} on this server: all of its"
            f" processes must have the same. Set shards = {recorded}; or, to change it, stop all processes of the"
            f" namespace, delete its keys in Redis (fp:{namespace}:* and fp:{{{namespace}/*; no run is lost by it) and"
            " start them with the new number"
        )


class ServerTooOld(QueueRefused):
    """The server lacks commands that the scripts need."""

    def __init__(self, found: str, needed: str) -> None:
        super().__init__(
            f"the queue's server speaks Redis {found}, at least {needed} is needed: Redis {needed} or Valkey"
        )
