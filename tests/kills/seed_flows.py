"""A workflow that goes through a set of texts, enum members and dates: their hashes are salted by the hash seed."""

from __future__ import annotations

import enum
import os

from fencepost import hook, step, workflow

CITIES = {f"city-{n}" for n in range(12)}


class Sight(enum.Enum):
    """Enum members hash by their names."""

    tower = 1
    bridge = 2
    museum = 3
    harbour = 4
    garden = 5
    palace = 6


@step
async def visit(place: str) -> str:
    """A receipt for the place, and the seed of the process that visited it."""
    return f"{place} {os.environ.get('PYTHONHASHSEED')}"


@workflow
async def tour(token: str) -> list[str]:
    """Visits half of them, waits for a signal, and visits the rest."""
    places = [*CITIES, *(sight.name for sight in set(Sight))]
    seen: list[str] = []
    for number, place in enumerate(places):
        if number == 9:
            async with hook(token=token) as signal:
                await signal
        seen.append(await visit(place))
    return seen
