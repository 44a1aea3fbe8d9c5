"""What the simulation puts in the place of chance and of the log's writer, for as long as a world is played."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uuid_utils

from fencepost import telemetry

if TYPE_CHECKING:
    from tests.simulate.world import World


class _Notes:
    """Stands in for structlog: counts."""

    def __init__(self, world: World) -> None:
        self._world = world

    def get_logger(self, name: str) -> _Notes:
        return self

    def __getattr__(self, level: str) -> Any:
        return self._note

    def _note(self, event: str, **fields: Any) -> None:
        world = self._world
        world.notes[event] += 1
        if event == "handler_failed":
            world.errors.append(f"handler_failed {fields['key']}: {fields['error']}\n{fields['trace']}")
        elif event == "log_corrupt":
            world.errors.append(f"log_corrupt {fields}")
        if world.tell is not None:
            world.tell(event, fields)


@contextmanager
def replaced(world: World) -> Generator[None]:
    """Inside, ids and secrets are counted and log lines are counted."""
    numbers = iter(range(1, 1 << 30))
    before = uuid_utils.uuid7, secrets.token_hex, telemetry.structlog
    uuid_utils.uuid7 = world.servers.new_id  # type: ignore[assignment]
    secrets.token_hex = lambda nbytes=None: f"{next(numbers):032x}"
    telemetry.structlog = _Notes(world)  # type: ignore[assignment]
    try:
        yield
    finally:
        uuid_utils.uuid7, secrets.token_hex, telemetry.structlog = before
