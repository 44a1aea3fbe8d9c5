"""The cache of live runs: an entry in use is the run's only one, and stays; one that nobody uses can go (H147)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from engine_virtual import run
from engine_world import World

from fencepost import step, workflow
from fencepost.engine.live import LiveRun, LiveRuns
from fencepost.replay.budget import TurnGuard


class _Witness(LiveRuns):
    """Notes every entry that is lent out."""

    def __init__(self, instances_max: int) -> None:
        super().__init__(instances_max, TurnGuard())
        self.lent: Counter[int] = Counter()
        self.entries: dict[int, LiveRun] = {}

    def _note(self, live: LiveRun) -> LiveRun:
        self.lent[id(live)] += 1
        self.entries[id(live)] = live
        others = [each for each, n in self.lent.items() if n and self.entries[each].run_id == live.run_id]
        assert others == [id(live)], f"{live.run_id} has {len(others)} entries in use, each with a lock of its own"
        return live

    def enter(self, run_id: str) -> LiveRun:
        return self._note(super().enter(run_id))

    def keep(self, live: LiveRun) -> None:
        super().keep(live)
        self._note(live)

    def leave(self, live: LiveRun) -> None:
        super().leave(live)
        self.lent[id(live)] -= 1


@pytest.mark.parametrize("instances_max", [0, 1, 3])
def test_h147_no_run_stays_pinned_and_none_has_two_entries(instances_max: int) -> None:
    """Bodies that were granted in a settle begin when the turn has left the entry already: it is kept for them."""

    async def main() -> None:
        world = World(concurrency=64, cache_instances_max=instances_max)

        @step(registry=world.registry)
        async def body(n: int) -> int:
            await asyncio.sleep(0.01 * (n % 3))
            return n

        @workflow(registry=world.registry)
        async def flow(n: int) -> int:
            first = await asyncio.gather(*(body(n + i) for i in range(3)))
            return sum(first) + await body(n)

        async with world.worker("A") as a:
            witness = a.shell.runs = _Witness(instances_max)
            started = [await world.start(flow, n) for n in range(40)]
            assert [await one.result(600) for one in started] == [4 * n + 3 for n in range(40)]
            while handlers := set(a.claims.handlers):
                await asyncio.wait(handlers)
            assert sum(witness.lent.values()) == 0
            assert [live.users for live in witness.entries.values() if live.users] == []
            assert len(witness) <= instances_max

    run(main)


def test_h147_an_entry_in_use_is_never_evicted() -> None:
    """Whatever enters and leaves beside it; and an entry is left exactly as often as it was entered."""
    chance = random.Random(7)
    for instances_max in (0, 1, 2):
        runs = LiveRuns(instances_max, TurnGuard())
        held: list[LiveRun] = []
        kept = 0
        for _ in range(2_000):
            if held and chance.random() < 0.5:
                runs.leave(held.pop(chance.randrange(len(held))))
            elif held and chance.random() < 0.3:
                again = chance.choice(held)
                runs.keep(again)
                held.append(again)
                kept += 1
            else:
                held.append(runs.enter(f"run{chance.randrange(5)}"))
            for live in held:
                assert runs.enter(live.run_id) is live
                runs.leave(live)
        assert kept
        while held:
            runs.leave(held.pop())
        assert len(runs) <= instances_max


def test_h147_only_what_was_entered_can_be_kept_or_left() -> None:
    """A slip of the engine's is said at once, and does not unpin somebody else's entry."""
    runs = LiveRuns(0, TurnGuard())
    live = runs.enter("run")
    runs.leave(live)
    with pytest.raises(AssertionError, match="not in use"):
        runs.leave(live)
    with pytest.raises(AssertionError, match="not in use"):
        runs.keep(live)
