"""The few places where asyncio and anyio are not deterministic by themselves. Each patch asks whether the running
loop is a workflow's, and is the original otherwise.

They are applied to the modules' insides, not to the public names, so that ``from asyncio import as_completed`` before
this package was imported makes no difference.
"""

from __future__ import annotations

import asyncio
import builtins
import functools
from asyncio import events, futures, tasks
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from anyio._backends import _asyncio as anyio_asyncio

from fencepost.replay.limits import WorkflowRestriction


@functools.cache
def install() -> None:
    """Apply them, once per process."""
    for patch in PATCHES:
        patch()


def ours() -> bool:
    """True inside a workflow."""
    return getattr(events._get_running_loop(), "fencepost_instance", None) is not None


class OrderedSet:
    """The part of a set that anyio's cancel scopes use, iterated in the order of insertion."""

    __slots__ = ("_members",)

    def __init__(self) -> None:
        self._members: dict[Any, None] = {}

    def add(self, member: Any) -> None:
        """As set.add."""
        self._members[member] = None

    def remove(self, member: Any) -> None:
        """As set.remove."""
        del self._members[member]

    def discard(self, member: Any) -> None:
        """As set.discard."""
        self._members.pop(member, None)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: object) -> bool:
        return member in self._members


def _set(items: Iterable[Any] = ()) -> Any:
    """``set`` as asyncio.tasks calls it. as_completed and wait make a set of their arguments before they are tasks,
    so its order would be that of addresses."""
    if not items or not ours():
        return builtins.set(items)
    ordered = dict.fromkeys(items)
    loop = events._get_running_loop()
    for item in ordered:
        if futures.isfuture(item) and futures._get_loop(item) is not loop:  # type: ignore[attr-defined]  # pyright: ignore
            raise WorkflowRestriction("a future of another loop")
    return ordered


def _hash_of_gather(self: asyncio.Future[Any]) -> int:
    loop: Any = self.get_loop()
    if getattr(loop, "fencepost_instance", None) is None:
        return object.__hash__(self)
    known: int | None = self.__dict__.get("_fencepost_hash")
    if known is None:
        known = int(loop.hashes.next())
        self.__dict__["_fencepost_hash"] = known
    return known


def order_cancel_scopes() -> None:
    """A cancel scope cancels its child scopes in set order, and scopes hash by address."""
    scope = anyio_asyncio.CancelScope
    original: Callable[..., None] = scope.__init__

    @functools.wraps(original)
    def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if ours():
            self._child_scopes = OrderedSet()

    scope.__init__ = initialise  # type: ignore[method-assign]


def refuse_threads() -> None:
    """anyio starts its worker threads past the loop."""
    backend = anyio_asyncio.AsyncIOBackend
    original: Any = backend.run_sync_in_worker_thread.__func__  # type: ignore[attr-defined]  # pyright: ignore

    async def run_sync_in_worker_thread(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if ours():
            raise WorkflowRestriction("threads (anyio.to_thread)")
        return await original(cls, *args, **kwargs)

    backend.run_sync_in_worker_thread = classmethod(run_sync_in_worker_thread)  # type: ignore[method-assign, assignment]  # pyright: ignore


def order_awaitables() -> None:
    """as_completed and wait make a set of their arguments, coroutines perhaps, whose order would be that of
    addresses."""
    tasks.set = _set  # type: ignore[attr-defined]  # pyright: ignore


def hash_gathers() -> None:
    """gather's own future class is made past create_future, so its hash would be an address."""
    tasks._GatheringFuture.__hash__ = _hash_of_gather  # type: ignore[attr-defined]  # pyright: ignore


def refuse_foreign_wakers() -> None:
    """A future of a thread, or a coroutine sent to another loop, would have effects that no event of the log shows."""
    for module, name in ((futures, "wrap_future"), (tasks, "run_coroutine_threadsafe")):
        refusing = _refusing_inside(getattr(module, name))
        setattr(module, name, refusing)
        setattr(asyncio, name, refusing)


def _refusing_inside(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def refusing(*args: Any, **kwargs: Any) -> Any:
        if ours():
            raise WorkflowRestriction(f"asyncio.{original.__name__}")
        return original(*args, **kwargs)

    return refusing


PATCHES = [order_awaitables, hash_gathers, order_cancel_scopes, refuse_threads, refuse_foreign_wakers]
"""All of them. Tests take one out to see that it is needed."""
