"""A connection that is lent for one block: what is handed out with it, and all that is made from it, ends with the
block.

Without that, a task that outlives its step would write through the session into the transaction of the next step that
has it. The driver's own objects are never handed out: statements, cursors and transactions are lent as well, and what
is private in them cannot be reached.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

from fencepost_store.driver import Connection, ConnectionLike, Resource

REUSABLE = frozenset(
    {
        "execute", "executemany", "fetch", "fetchrow", "fetchval", "fetchmany",
        "copy_from_query", "copy_from_table", "copy_records_to_table", "copy_to_table",
        "cursor", "transaction", "is_in_transaction", "is_closed",
        "get_server_pid", "get_server_version", "get_settings",
    }
)  # fmt: skip
"""What leaves nothing behind in the driver's connection. After anything else (type codecs, listeners, loggers, named
statements, close) the session is not used again; ``prepare`` is judged by its name."""


class Loan:
    """What is lent together, and ends together. ``under_way``: calls that have begun and not ended. ``unfit``: the
    session is not to be used by another. ``ended`` makes the error for what is used later, ``watch`` is called after
    each call that went well."""

    __slots__ = ("ended", "open", "under_way", "unfit", "watch")

    def __init__(self, ended: Callable[[], Exception], watch: Callable[[], None]) -> None:
        self.open: bool = True
        self.under_way: int = 0
        self.unfit: bool = False
        self.ended: Callable[[], Exception] = ended
        self.watch: Callable[[], None] = watch

    def check(self) -> None:
        """Raises what ``ended`` makes."""
        if not self.open:
            raise self.ended()

    async def carry(self, call: Awaitable[Any]) -> Any:
        """Await a call of the driver's while the loan lasts."""
        if not self.open:
            if inspect.iscoroutine(call):
                call.close()
            raise self.ended()
        self.under_way += 1
        try:
            answer = await call
            self.watch()
            return lent(self, answer)
        finally:
            self.under_way -= 1


class Lent(ConnectionLike):
    """The face of one object of the driver's. To ``isinstance`` a lent connection is a connection."""

    __slots__ = ("_loan", "_target")

    def __init__(self, loan: Loan, target: Any) -> None:
        object.__setattr__(self, "_loan", loan)
        object.__setattr__(self, "_target", target)

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            if name.startswith("__") and name.endswith("__"):
                return object.__getattribute__(self, name)
            raise AttributeError(f"{name}: what is private in the driver is not lent by transaction()")
        loan, target = parts(self)
        loan.check()
        value = getattr(target, name)
        if isinstance(target, Resource):
            pass
        elif name == "prepare":
            return functools.partial(_prepare, loan, value)
        elif name not in REUSABLE:
            loan.unfit = True
        return _call(loan, value) if callable(value) else lent(loan, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name}: attributes of what transaction() lends cannot be set")

    def __repr__(self) -> str:
        loan, target = parts(self)
        return f"<lent by transaction(){'' if loan.open else ', whose block has ended'}: {type(target).__name__}>"

    async def __aenter__(self) -> Any:
        loan, target = parts(self)
        return await loan.carry(target.__aenter__())

    async def __aexit__(self, *exc: Any) -> Any:
        loan, target = parts(self)
        return await loan.carry(target.__aexit__(*exc))

    def __aiter__(self) -> Any:
        loan, target = parts(self)
        loan.check()
        return lent(loan, target.__aiter__())

    async def __anext__(self) -> Any:
        loan, target = parts(self)
        return await loan.carry(target.__anext__())

    def __await__(self) -> Generator[Any, None, Any]:
        loan, target = parts(self)
        return loan.carry(target).__await__()


def lend(connection: Connection, ended: Callable[[], Exception], watch: Callable[[], None]) -> tuple[Loan, Any]:
    """A new loan, and the connection as it is handed out."""
    loan = Loan(ended, watch)
    return loan, Lent(loan, connection)


def lent(loan: Loan, value: Any) -> Any:
    """What the driver has answered: its live objects are lent too, values are values."""
    return Lent(loan, value) if isinstance(value, Resource) else value


def parts(face: Lent) -> tuple[Loan, Any]:
    """The loan, and the driver's object."""
    return object.__getattribute__(face, "_loan"), object.__getattribute__(face, "_target")


def _call(loan: Loan, method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        """Filled from the method."""
        loan.check()
        answer = method(*args, **kwargs)
        return loan.carry(answer) if inspect.iscoroutine(answer) else lent(loan, answer)

    # Not functools.wraps: its __wrapped__ would be the driver's own.
    call.__name__ = getattr(method, "__name__", type(method).__name__)
    call.__doc__ = method.__doc__
    return call


def _prepare(loan: Loan, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
    """A name of the user's own would be taken for the next who has the session."""
    loan.check()
    loan.unfit = loan.unfit or kwargs.get("name") is not None
    return loan.carry(method(*args, **kwargs))
