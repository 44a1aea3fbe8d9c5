"""``hook``: a place in a workflow where somebody outside can hand values in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from types import TracebackType, UnionType
from typing import Any, Generic, TypeVar, cast, overload

from fencepost import payload
from fencepost import payload_places as places
from fencepost.errors import HookConflict, NotInWorkflow
from fencepost.records import HookCreated, pack
from fencepost.replay import interface
from fencepost_store.events import EventType

T = TypeVar("T")


@overload
def hook(as_type: type[T], token: str | None = None) -> Hook[T]: ...
@overload
def hook(as_type: UnionType, token: str | None = None) -> Hook[Any]: ...  # what mypy takes `int | str` for
@overload
def hook(*, token: str | None = None) -> Hook[Any]: ...
def hook(as_type: Any = Any, token: str | None = None) -> Hook[Any]:
    """Listen for payloads of a type, from now until the hook is closed, its ``async with`` is left, or the run ends.

    ``token`` is what senders name; by default 128 bits derived from the run's id and the place in the code: not
    guessable without the run's id, and no secret to whoever has it. Raises NotInWorkflow elsewhere.
    """
    asking = interface.current()
    if asking is None:
        raise NotInWorkflow(
            "hook() is for workflows; to send a payload to one, use `await client.resume(token, payload)`"
        )
    entity = asking.new_id("hook")
    chosen = token if token is not None else asking.seed(entity)[:16].hex()
    return Hook(asking, entity, chosen, as_type)


class Hook(Generic[T]):
    """An open hook.

    ``await hook`` is the next payload, ``async for payload in hook`` all of them, in the order in which they were
    accepted.

    Awaiting raises HookConflict if another run holds the token, and PayloadError if a payload is not of the type.
    """

    def __init__(self, asking: interface.Asking, entity: str, token: str, as_type: Any) -> None:
        self.token = token
        self._type = as_type
        self._closed = False
        self._conflict_with: str | None = None
        codec = payload.codec_of(as_type, f"hook {token!r}")
        del codec  # built now, so that a type that cannot be decoded is refused here and not when somebody has sent one
        self._channel = asking.hook(entity, token, pack(HookCreated(places.type_name(as_type))))

    def close(self) -> None:
        """Stop listening: later payloads are refused to their senders. Idempotent."""
        if not self._closed:
            self._closed = True
            self._channel.close()

    def __repr__(self) -> str:
        return f"<hook {self.token!r} for {places.type_name(self._type)}{', closed' if self._closed else ''}>"

    def __await__(self) -> Generator[Any, None, T]:
        return self._next().__await__()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        if self._closed:
            raise StopAsyncIteration
        return await self._next()

    async def __aenter__(self) -> Hook[T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    async def _next(self) -> T:
        if self._closed:
            raise NotInWorkflow(f"the hook {self.token!r} is closed: await it inside its `async with`")
        if self._conflict_with is not None:
            raise HookConflict(self.token, self._conflict_with)
        event = await self._channel.next()
        if event.type is EventType.hook_conflict:
            self._conflict_with = event.dedupe or "unknown"
            raise HookConflict(self.token, self._conflict_with)
        return cast(T, payload.decode(event.payload, self._type, path=f"payload of hook {self.token!r}"))
