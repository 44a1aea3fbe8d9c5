"""What the bodies of steps do that do more than take their time: they write to streams, and leave heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from tests.simulate.plan import Node
from tests.simulate.programs import told

from fencepost import StreamFenced, current, stream

BRIEF_SECONDS = 2.0
"""What a body of a step of flavour brief may take."""


class Unusual(BaseException):
    """Of the user's own, and no Exception."""


ENDS: tuple[type[BaseException], ...] = (
    ValueError,
    SystemExit,
    ValueError,
    KeyboardInterrupt,
    asyncio.CancelledError,
    GeneratorExit,
    Unusual,
)
"""By what a failing attempt ends, in turn."""


def ending(node: Node, attempt: int) -> type[BaseException]:
    """The class of the error by which an attempt of a step ends, if it does. A thread has no task to be cancelled, and
    can raise what no coroutine can.
    """
    kind = ENDS[(node.id + attempt) % len(ENDS)]
    return StopIteration if node.flavour == "thread" and kind is asyncio.CancelledError else kind


async def cancel_itself() -> None:
    """A body that cancels the task it runs in, as some libraries do."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


class Body(msgspec.Struct):
    """One execution of a step's body. ``logged``: whether its start stood in the log when it began. ``late``: the step
    had ended by then, and what its heartbeats had left may be gone. ``wrote``: chunks that it has given to its stream.
    ``found``: the details of heartbeats that it found, None if there were none. ``beats``: when it has given details.
    ``erred``: it ended in an error of its own, or by its time. ``fenced``: by that of a stream which is a later
    attempt's, whoever began that one.
    """

    run: int
    node: int
    visit: int
    entity: str
    attempt: int
    proc: str
    at: float
    number: int
    logged: bool
    late: bool
    ended: float | None = None
    stopped: bool = False
    wrote: int = 0
    found: Any = None
    beats: list[float] = []
    erred: bool = False
    fenced: bool = False


async def write(body: Body, node: Node) -> None:
    """``count`` chunks; an attempt that fails does so halfway."""
    try:
        await _write(body, node)
    except StreamFenced:
        body.fenced = True
        raise


async def _write(body: Body, node: Node) -> None:
    name = node.token or f"s{node.id}.{body.visit}"
    on_retry: Any = "continue" if node.flavour == "resume" else "append"
    async with stream(name, on_retry=on_retry, shared=bool(node.token)) as writer:
        for index in range(node.count):
            body.wrote += 1
            await writer.write(told(node, body.visit, index))
            await asyncio.sleep(node.seconds / node.count)
            if body.attempt <= node.fails and index >= node.count // 2:
                body.erred = True
                raise ValueError(f"attempt {body.attempt} fails halfway")


async def beat(body: Body, node: Node, now: Callable[[], float]) -> None:
    """``count`` heartbeats, each with what it is the how manieth."""
    body.found = current().heartbeat_details()
    for index in range(node.count):
        current().heartbeat([body.attempt, index])
        body.beats.append(now())
        await asyncio.sleep(node.seconds / node.count)
