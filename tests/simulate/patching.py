"""What the simulation puts in the place of chance and of the log's writer, for as long as a world is played."""

# What is replaced is private, too.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import random
import secrets
from asyncio import tasks
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uuid_utils
from tests.simulate.blocking import exits

from fencepost import failure, streaming, telemetry
from fencepost.engine import turn_watch

if TYPE_CHECKING:
    from tests.simulate.world import World


class _Notes:
    """Stands in for logging: counts."""

    def __init__(self, world: World) -> None:
        self._world = world

    def getLogger(self, name: str) -> _Notes:
        return self

    def isEnabledFor(self, level: int) -> bool:
        return True

    def log(self, level: int, *_: object, extra: dict[str, Any], **__: object) -> None:
        world, event, fields = self._world, extra["event"], extra["fields"]
        world.notes[event] += 1
        if event == "handler_failed":
            world.errors.append(f"handler_failed {fields['key']}: {fields['error']}\n{fields['trace']}")
        elif event == "log_corrupt":
            world.errors.append(f"log_corrupt {fields}")
        if world.tell is not None:
            world.tell(event, fields)


@contextmanager
def unregistered() -> Generator[None]:
    """Inside, asyncio keeps no list of all tasks: each costs calls into Python at its beginning and at its end, and
    nobody reads it. The hash is asked for as before: a workflow's tasks are numbered by it.
    """
    found = (getattr(tasks, name, None) for name in ("_all_tasks", "_scheduled_tasks"))
    registries = [vars(one) for one in found if one is not None]
    for registry in registries:
        registry["add"] = hash
    try:
        yield
    finally:
        for registry in registries:
            del registry["add"]


@contextmanager
def replaced(world: World) -> Generator[None]:
    """Inside, ids and secrets are counted, log lines are counted, and what a body raised has no traceback, for nobody
    reads it.
    """
    numbers = iter(range(1, 1 << 30))
    watch = turn_watch.os, turn_watch.open_store
    turn_watch.os = exits(world.faults.exit)  # type: ignore[assignment]
    turn_watch.open_store = world.open_store  # type: ignore[assignment]
    before = uuid_utils.uuid7, secrets.token_hex, telemetry.logging, failure._traceback, streaming.random
    uuid_utils.uuid7 = world.servers.new_id  # type: ignore[assignment]
    secrets.token_hex = lambda nbytes=None: f"{next(numbers):032x}"
    telemetry.logging = _Notes(world)  # type: ignore[assignment]
    streaming.random = random.Random(world.plan.seed)  # type: ignore[assignment]
    failure._traceback = lambda exc: "Traceback"
    try:
        with unregistered():
            yield
    finally:
        turn_watch.os, turn_watch.open_store = watch
        uuid_utils.uuid7, secrets.token_hex, telemetry.logging, failure._traceback, streaming.random = before
