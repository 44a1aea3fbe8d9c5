"""The held connection: calls that are issued while one exchange is under way leave together in the next.

An idle call goes at once, there is no timer. A cancelled caller leaves its call to run its course, for what was sent
cannot be called back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from redis.exceptions import NoScriptError, ResponseError

from fencepost_queue.check import ask, check_server, identity
from fencepost_queue.connection import (
    FAILURES,
    Argument,
    Command,
    Connection,
    Dialer,
    Reply,
    exchange,
    is_of_role,
    trouble,
)
from fencepost_queue.protocol import QueueTrouble
from fencepost_queue.scripts import NAMES, Script, script

CALLS_PER_EXCHANGE = 256
"""Bounds how long one exchange keeps the next waiting: at some 10 us a script this is a few milliseconds."""


SURE_SECONDS = 10.0
"""A connection that was idle for less is used as it is. Balancers and firewalls forget an idle one after minutes and
tell nobody, and the server may have become a replica: that is found by a question, or the next call would wait for its
whole time (H187), or be sent to whoever cannot carry it out (H221)."""

ANSWER_SECONDS = 1.0
"""What the answer to that question may take."""


class Call(msgspec.Struct, eq=False):
    """One command on its way. ``script``: whose source to load if the server does not know it. ``identified``: its last
    argument is the identity of the server that it is sent to, which is known by then only.
    """

    command: Command
    reply: asyncio.Future[Reply]
    script: Script | None = None
    identified: bool = False


class Pipeline:
    """Sends commands on one connection, connecting when needed. Bound to the loop that first uses it. ``identity``: of
    the server that the connection leads to, as it was when that was last asked. ``renew``: what is done beside when the
    server turns out to have another role.
    """

    def __init__(self, dialer: Dialer, timeout_seconds: float, renew: Callable[[], Awaitable[None]]) -> None:
        self.identity: str = ""
        self._renew = renew
        self._dialer = dialer
        self._timeout_seconds = timeout_seconds
        self._waiting: deque[Call] = deque()
        self._connection: Connection | None = None
        self._used_at = 0.0
        self._pump: asyncio.Task[None] | None = None
        self._closed = False

    def call(self, *command: Argument) -> asyncio.Future[Reply]:
        """One command, one reply. Calls made before the first await leave together."""
        return self._submit(command, None)

    def run(
        self, name: str, keys: Sequence[str], *arguments: Argument, identified: bool = False
    ) -> asyncio.Future[Reply]:
        """One script. ``keys`` are all that it touches. ``identified``: see ``Call``."""
        chosen = script(name)
        return self._submit(("EVALSHA", chosen.digest, len(keys), *keys, *arguments), chosen, identified)

    async def close(self) -> None:
        """Idempotent. Waits for what is under way, then disconnects."""
        self._closed = True
        if self._pump is not None:
            await asyncio.wait({self._pump})
        await self._drop()

    def _submit(self, command: Command, chosen: Script | None, identified: bool = False) -> asyncio.Future[Reply]:
        if self._closed:
            raise QueueTrouble("this queue client is closed")
        loop = asyncio.get_running_loop()
        call = Call(command, loop.create_future(), chosen, identified)
        self._waiting.append(call)
        if self._pump is None:
            self._pump = loop.create_task(self._run())
        return call.reply

    async def _run(self) -> None:
        batch: list[Call] = []
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), CALLS_PER_EXCHANGE))]
                await self._carry(batch)
        finally:
            self._pump = None
            for call in (*batch, *self._waiting):
                _fail(call, QueueTrouble("the queue client was stopped; whether the server acted is not known"))
            self._waiting.clear()

    async def _carry(self, batch: list[Call]) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                connection = await self._connected()
                for call in batch:
                    if call.identified:
                        call.command = (*call.command, self.identity)
                replies = await exchange(connection, [call.command for call in batch])
                await self._teach(connection, batch, replies)
                self._used_at = asyncio.get_running_loop().time()
        except asyncio.CancelledError:
            await self._drop()
            raise
        except (QueueTrouble, *FAILURES) as error:
            await self._drop()
            for call in batch:
                _fail(call, trouble(error))
            return
        of_role = False
        for call, reply in zip(batch, replies, strict=True):
            if isinstance(reply, ResponseError):
                of_role = of_role or is_of_role(reply)
                _fail(call, trouble(reply))
            elif not call.reply.done():
                call.reply.set_result(reply)
        if of_role:
            await self._drop()
            await self._renew()

    async def _teach(self, connection: Connection, batch: list[Call], replies: list[Reply]) -> None:
        """The server forgot its scripts: load them and send again what it did not know, and so did not run."""
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError) and batch[i].script]
        if not unknown:
            return
        await _load_scripts(connection)
        again = await exchange(connection, [batch[i].command for i in unknown])
        for i, reply in zip(unknown, again, strict=True):
            replies[i] = reply

    async def _connected(self) -> Connection:
        connection = self._connection
        idle = asyncio.get_running_loop().time() - self._used_at
        if connection is not None and idle >= SURE_SECONDS and not await _answers(connection, self.identity):
            await self._drop()
            await self._renew()
        if self._connection is None:
            connection = await self._dialer.dial()
            try:
                self.identity = await check_server(connection)
                await _load_scripts(connection)
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            self._connection = connection
        return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


async def _answers(connection: Connection, known: str) -> bool:
    """Whether there is still the same server at the other end, in the same role."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            facts = await ask(connection)
    except (QueueTrouble, *FAILURES):
        return False
    return facts.get("role", "master") == "master" and identity(facts) == known


async def _load_scripts(connection: Connection) -> None:
    for reply in await exchange(connection, [("SCRIPT", "LOAD", script(name).source) for name in NAMES]):
        if isinstance(reply, ResponseError):
            raise trouble(reply)


def _fail(call: Call, error: QueueTrouble) -> None:
    if not call.reply.done():
        call.reply.set_exception(error)
