"""Context managers from generators, for blocks that a user's exception may leave.

``contextlib`` sets ``__traceback__`` of an exception that passes through, by assignment. A frozen exception (a frozen
dataclass) refuses that, and what comes out is FrozenInstanceError instead of the user's. These leave it as it is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import wraps
from types import TracebackType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def block(function: Callable[P, Generator[T]]) -> Callable[P, AbstractContextManager[T]]:
    """As ``contextlib.contextmanager``; the generator yields once, and is not entered again."""

    @wraps(function)
    def made(*args: P.args, **kwargs: P.kwargs) -> AbstractContextManager[T]:
        return _Block(function(*args, **kwargs))

    return made


def async_block(function: Callable[P, AsyncGenerator[T]]) -> Callable[P, AbstractAsyncContextManager[T]]:
    """As ``contextlib.asynccontextmanager``."""

    @wraps(function)
    def made(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[T]:
        return _AsyncBlock(function(*args, **kwargs))

    return made


class _Block(AbstractContextManager[T]):
    def __init__(self, generator: Generator[T]) -> None:
        self._generator = generator

    def __enter__(self) -> T:
        return next(self._generator)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            try:
                next(self._generator)
            except StopIteration:
                return False
        else:
            try:
                self._generator.throw(error)
            except StopIteration as end:
                return end is not error
            except BaseException as raised:
                if _is_same(raised, error):
                    error.with_traceback(trace)
                    return False
                raise
        self._generator.close()
        raise RuntimeError("the generator of a block yields once")


class _AsyncBlock(AbstractAsyncContextManager[T]):
    def __init__(self, generator: AsyncGenerator[T]) -> None:
        self._generator = generator

    async def __aenter__(self) -> T:
        return await anext(self._generator)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            try:
                await anext(self._generator)
            except StopAsyncIteration:
                return False
        else:
            try:
                await self._generator.athrow(error)
            except StopAsyncIteration as end:
                return end is not error
            except BaseException as raised:
                if _is_same(raised, error):
                    error.with_traceback(trace)
                    return False
                raise
        await self._generator.aclose()
        raise RuntimeError("the generator of a block yields once")


def _is_same(raised: BaseException, error: BaseException) -> bool:
    """A generator turns a StopIteration that passes through it into a RuntimeError with it as its cause."""
    turned = isinstance(raised, RuntimeError) and isinstance(error, (StopIteration, StopAsyncIteration))
    return raised is error or (turned and raised.__cause__ is error)
