"""One connection to the server: how it is made from a URL, and what its failures mean.

The only file that knows redis-py. Its automatic retries are off: a settle whose reply was lost must never be sent
again."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias, cast

import hiredis
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from fencepost_queue.errors import QueueRefused
from fencepost_queue.protocol import QueueTrouble

Argument: TypeAlias = str | bytes | int | float
Command: TypeAlias = tuple[Argument, ...]
Reply: TypeAlias = (
    Any  # what the server answers: bytes, int, None, nested lists of them, or a ResponseError in a pipeline
)

FAILURES = (RedisError, OSError, EOFError, TimeoutError)
REFUSALS = (AuthenticationError, AuthenticationWrongNumberOfArgsError, AuthorizationError, NoPermissionError)
OF_ROLE = (ReadOnlyError, MasterDownError, MovedError)
"""The server is not, or not any more, the one that takes our writes. LOADING is a failure of its own."""
OF_ROLE_IN_A_SCRIPT = re.compile(r"-(READONLY|LOADING|MASTERDOWN|MOVED) ")
"""Redis before 7 wraps a command's error into the script's, code and all."""
SCHEMES = ("redis://", "rediss://", "unix://")


class Connection(Protocol):
    """What is used of redis-py's connection."""

    async def connect(self) -> None: ...

    async def disconnect(self, nowait: bool = False) -> None: ...

    async def send_packed_command(self, command: bytes, check_health: bool = True) -> None: ...

    async def read_response(self) -> Reply: ...


class Dialer:
    """Makes connections to one server. ``connect_seconds`` bounds each attempt."""

    def __init__(self, url: str, connect_seconds: float) -> None:
        if not url.startswith(SCHEMES):
            raise QueueRefused(f"the queue's URL must begin with one of {', '.join(SCHEMES)}")
        options: dict[str, Any] = {
            "protocol": 2,
            "decode_responses": False,
            "socket_timeout": None,
            "socket_connect_timeout": connect_seconds,
            "health_check_interval": 0,
            "retry": Retry(NoBackoff(), 0),
            "retry_on_timeout": False,
            "retry_on_error": [],
        }
        if not url.startswith("unix://"):
            options["socket_keepalive"] = True
        try:
            self._pool = cast(Any, ConnectionPool).from_url(url, **options)
        except ValueError:
            # The parser's own message may quote the URL, and the URL may hold a password.
            raise QueueRefused("the queue's URL cannot be read: check its port, database and options") from None

    @property
    def user(self) -> str:
        """Who we are to the server's ACL."""
        return str(self._pool.connection_kwargs.get("username") or "default")

    async def dial(self) -> Connection:
        """A new connection, authenticated and on its database. QueueTrouble, or QueueRefused if waiting will not
        help."""
        connection = cast(Connection, self._pool.make_connection())
        try:
            with _closed_is_oserror():
                await connection.connect()
        except FAILURES as error:
            raise _unreached(error) from error
        return connection


async def exchange(connection: Connection, commands: Sequence[Command]) -> list[Reply]:
    """Send all and read all. A ResponseError stands in the place of its reply; anything else breaks the connection."""
    await send(connection, commands)
    replies: list[Reply] = []
    for _ in commands:
        try:
            replies.append(await connection.read_response())
        except ResponseError as error:
            replies.append(error)
    return replies


async def send(connection: Connection, commands: Sequence[Command]) -> None:
    """Send, and read nothing. Raises one of FAILURES."""
    with _closed_is_oserror():
        await connection.send_packed_command(packed(commands), check_health=False)


@contextmanager
def _closed_is_oserror() -> Generator[None]:
    """Where a connection is used that the other side has reset meanwhile, asyncio's own loop says OSError, uvloop
    RuntimeError, and the loop of 3.13.0 AttributeError: its ``writelines`` does not look whether it is closed."""
    try:
        yield
    except (RuntimeError, AttributeError) as error:
        raise ConnectionResetError(str(error)) from error


def packed(commands: Sequence[Command]) -> bytes:
    """What is sent for them. In C: redis-py's own packer is Python and took a tenth of a busy worker's time."""
    return b"".join(map(_packed, commands))


_packed: Callable[[Command], bytes] = cast(Any, hiredis).pack_command


def is_of_role(error: ResponseError) -> bool:
    """Whether the connection leads to a server that is not to be asked again, though it answers (H221)."""
    return isinstance(error, OF_ROLE) or OF_ROLE_IN_A_SCRIPT.search(str(error)) is not None


def trouble(error: BaseException) -> QueueTrouble:
    """What a failure means to the caller, by its type."""
    if isinstance(error, QueueTrouble):
        return error
    if isinstance(error, REFUSALS):
        return QueueRefused(f"the queue's server refuses the command: {error}")
    if isinstance(error, TimeoutError):
        return QueueTrouble("the queue's server did not answer in time; whether it acted is not known")
    if isinstance(error, ResponseError):
        return QueueTrouble(f"the queue's server answered with an error: {error}")
    return QueueTrouble(f"the connection to the queue's server broke: {_words(error)}; whether it acted is not known")


def _unreached(error: BaseException) -> QueueTrouble:
    """Why no connection came about. redis-py wraps what the server said, so the whole chain of causes is asked."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, NoPermissionError):
            return QueueRefused(
                f"the queue's server lets this user in, and refuses what each connection begins with: {cause}. Grant it"
                " with ACL SETUSER"
            )
        if isinstance(cause, REFUSALS):
            return QueueRefused(f"the queue's server refuses the credentials in its URL: {cause}")
        if isinstance(cause, ResponseError):
            return QueueRefused(f"the queue's server refuses the connection (is the database right?): {cause}")
        cause = cause.__cause__
    return QueueTrouble(f"the queue's server cannot be reached: {_words(error)}")


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
