"""Generated workflows: one interpreter, written against plain asyncio and a handful of primitives.

The same interpreter plays a tree as a durable run (``durable.py``) and as an ordinary coroutine (``plain.py``), so that
what a run came to can be compared with what an uninterrupted execution comes to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from tests.simulate.plan import Node


class Listening(Protocol):
    """An open hook."""

    async def next(self) -> Any:
        """The next payload."""
        ...

    def close(self) -> None:
        """No more of it."""
        ...


class Primitives(Protocol):
    """What a tree asks of whoever plays it. ``gave_up``: the errors by which a step fails."""

    async def step(self, node: Node) -> Any:
        """Call a step."""
        ...

    async def child(self, node: Node) -> Any:
        """Run the node's part as a run of its own."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        ...

    def hook(self, token: str) -> Listening:
        """Listen."""
        ...

    def patched(self, node: Node) -> bool:
        """Whether the new code is taken."""
        ...

    def attributes(self, node: Node) -> None:
        """Say something of the run."""
        ...

    async def tell(self, node: Node) -> None:
        """Write to a stream."""
        ...

    async def block(self) -> None:
        """Block in C, for ever."""
        ...

    def again(self, node: Node) -> None:
        """Go on as another run, until there were ``count`` of them; then return."""
        ...


async def play(node: Node, on: Primitives) -> Any:
    """The result of a tree: nested lists that tell which way it went."""
    return await _KINDS[node.kind](node, on)


async def _step(node: Node, on: Primitives) -> Any:
    return await on.step(node)


async def _child(node: Node, on: Primitives) -> Any:
    return ["child", await on.child(node)]


async def _sleep(node: Node, on: Primitives) -> Any:
    await on.sleep(node.seconds)
    return "slept"


async def _seq(node: Node, on: Primitives) -> Any:
    return [await play(part, on) for part in node.parts]


async def _loop(node: Node, on: Primitives) -> Any:
    return [await play(node.parts[0], on) for _ in range(node.count)]


async def _gather(node: Node, on: Primitives) -> Any:
    return list(await asyncio.gather(*(play(part, on) for part in node.parts)))


async def _group(node: Node, on: Primitives) -> Any:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(play(part, on)) for part in node.parts]
    return [task.result() for task in tasks]


async def _race(node: Node, on: Primitives) -> Any:
    """The first half of the parts race, the second half is what follows, by who won."""
    half = len(node.parts) // 2
    tasks = [asyncio.ensure_future(play(part, on)) for part in node.parts[:half]]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    winner = min(index for index, task in enumerate(tasks) if task in done)
    return ["won", winner, tasks[winner].result(), await play(node.parts[half + winner], on)]


async def _timeout(node: Node, on: Primitives) -> Any:
    try:
        async with asyncio.timeout(node.seconds):
            return await play(node.parts[0], on)
    except TimeoutError:
        return ["late", await play(node.parts[1], on)]


async def _catch(node: Node, on: Primitives) -> Any:
    try:
        return await play(node.parts[0], on)
    except Exception as error:  # noqa: BLE001 - the generated step's own, whatever it is
        return ["caught", type(error).__name__, await play(node.parts[1], on)]


async def _cleanup(node: Node, on: Primitives) -> Any:
    try:
        return await play(node.parts[0], on)
    except asyncio.CancelledError:
        await play(node.parts[1], on)
        raise


async def _stubborn(node: Node, on: Primitives) -> Any:
    """Swallows its cancellation and goes another way."""
    try:
        return await play(node.parts[0], on)
    except asyncio.CancelledError:
        return ["as you wish", await play(node.parts[1], on)]


async def _receive(node: Node, on: Primitives) -> Any:
    """``count`` payloads, each awaited for ``seconds`` at most; a step after each if there is a part."""
    got: list[Any] = []
    hook = on.hook(node.token)
    try:
        for _ in range(node.count):
            try:
                async with asyncio.timeout(node.seconds):
                    got.append(await hook.next())
            except TimeoutError:
                got.append("nothing")
                continue
            if node.parts:
                got.append(await play(node.parts[0], on))
    finally:
        hook.close()
    return got


async def _duel(node: Node, on: Primitives) -> Any:
    """The next payload against a part, again and again over one hook: the loser must not swallow the next payload."""
    got: list[Any] = []
    hook = on.hook(node.token)
    try:
        for _ in range(node.count):
            listening = asyncio.ensure_future(hook.next())
            other = asyncio.ensure_future(play(node.parts[0], on))
            await asyncio.wait({listening, other}, return_when=asyncio.FIRST_COMPLETED)
            heard = listening.done()
            for task in (listening, other):
                task.cancel()
            both = await asyncio.gather(listening, other, return_exceptions=True)
            got.append(["heard", _value_of(both[0])] if heard else "other")
            if heard and len(node.parts) > 1:
                got.append(await play(node.parts[1], on))
    finally:
        hook.close()
    return got


def _value_of(result: Any) -> Any:
    return type(result).__name__ if isinstance(result, BaseException) else result


async def _beside(node: Node, on: Primitives) -> Any:
    """Takes payloads in a task of its own while a part runs."""
    got: list[Any] = []
    hook = on.hook(node.token)

    async def take() -> None:
        while True:
            got.append(await hook.next())

    taking = asyncio.ensure_future(take())
    try:
        result = await play(node.parts[0], on)
    finally:
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        hook.close()
    return [result, got]


async def _patched(node: Node, on: Primitives) -> Any:
    new = on.patched(node)
    return ["new" if new else "old", await play(node.parts[1 if new else 0], on)]


async def _attributes(node: Node, on: Primitives) -> Any:
    on.attributes(node)
    return "said"


async def _tell(node: Node, on: Primitives) -> Any:
    await on.tell(node)
    return "told"


async def _block(node: Node, on: Primitives) -> Any:
    await on.block()
    return "never"


async def _again(node: Node, on: Primitives) -> Any:
    result = await play(node.parts[0], on)
    on.again(node)
    return ["at last", result]


_KINDS: dict[str, Callable[[Node, Primitives], Coroutine[Any, Any, Any]]] = {
    "step": _step,
    "child": _child,
    "sleep": _sleep,
    "seq": _seq,
    "loop": _loop,
    "gather": _gather,
    "group": _group,
    "race": _race,
    "timeout": _timeout,
    "catch": _catch,
    "cleanup": _cleanup,
    "stubborn": _stubborn,
    "receive": _receive,
    "duel": _duel,
    "beside": _beside,
    "patched": _patched,
    "attributes": _attributes,
    "tell": _tell,
    "again": _again,
    "block": _block,
}
KINDS = tuple(_KINDS)
"""All that a tree may be made of."""

NAMES = 3
"""Attributes that a run may have."""


def said(node: Node, visit: int) -> dict[str, Any]:
    """What an ``attributes`` node says of its run at a visit. None takes an attribute away."""
    value = None if node.flavour == "d" else node.id if visit % 2 else f"{node.id}, again"
    return {f"a{node.count}": value}


def told(node: Node, visit: int, index: int) -> list[Any]:
    """A chunk that a ``tell`` node, or a step that writes, gives to its stream."""
    return [node.id, visit, index]


def nodes_of(node: Node) -> list[Node]:
    """The node and everything below it."""
    return [node, *(below for part in node.parts for below in nodes_of(part))]
