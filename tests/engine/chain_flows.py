"""Chains of runs that take signals, and their logs: what the tests of handing over drive."""

from __future__ import annotations

from typing import Any

from engine_world import World
from oracle import check, check_family

from fencepost import continue_as_new, hook, step, workflow
from fencepost.audit.legality import illegal
from fencepost.authoring.workflow import Workflow
from fencepost_store.events import Event

ROUNDS = 6
CLOSINGS = ("leaves the block", "before it", "never")


def chain(world: World, closing: str, got: list[int], *, rounds: int = ROUNDS) -> Workflow[..., Any]:
    """Takes one payload per run and a step; goes on as new, whatever waits. ``closing``: how it leaves its hook."""

    @step(registry=world.registry)
    async def note(n: int) -> None:
        got.append(n)

    async def take(numbers: Any) -> None:
        await note(await numbers)

    @workflow(registry=world.registry)
    async def main(generation: int = 1) -> str:
        if closing == "leaves the block":
            async with hook(int, token="t") as numbers:
                await take(numbers)
                if generation < rounds:
                    continue_as_new(generation + 1)
        elif closing == "before it":
            async with hook(int, token="t") as numbers:
                await take(numbers)
        else:
            await take(hook(int, token="t"))
        if generation < rounds:
            continue_as_new(generation + 1)
        return "at last"

    return main


async def logs(world: World) -> list[list[Event]]:
    """The log of every run, oldest first; each legal, as a family too."""
    rows = {row.run_id: (row, await world.log_of(row.run_id)) for row in await world.rows()}
    for _, log in rows.values():
        assert list(illegal(log)) == []
        check(log)
    check_family(rows)
    return [log for _, log in sorted(rows.values(), key=lambda pair: pair[0].created_at)]
