"""A bug of ours, whatever it raises and wherever: it costs neither the message nor the worker, and no other run. On a
virtual clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from engine_flows import land_signal
from engine_virtual import run
from engine_world import World, at_once
from oracle import check
from tests.log_lines import captured

from fencepost import hook, step, workflow
from fencepost.engine.handback import BUG_DELAY_MAX_MS, BUGS_MAX, bug_delay_ms
from fencepost.replay.instance import Instance
from fencepost_queue.protocol import Entry, tick_key
from fencepost_store.events import Event, EventType
from fencepost_store.protocol import Batch, Verdict


def bug() -> None:
    raise AssertionError("a bug")


@pytest.mark.parametrize("where", ["turn", "step"])
def test_a_handler_that_fails_each_time_harms_nobody_else_and_goes_on_when_the_bug_is_gone(where: str) -> None:
    """In turns, and in a step's handler, which gives back its only slot each time. Offered again after pauses that
    double up to a minute, and no suspect: nothing has died. When the bug is gone the next one is met by short pauses.
    """

    async def main() -> None:
        world = World(concurrency=1, queues=("default", "other"))
        broken: set[str] = set()
        load, append = world.memory.load, world.memory.append

        async def failing_load(run_id: str, *args: Any) -> Any:
            if where == "turn" and run_id in broken:
                bug()
            return await load(run_id, *args)

        async def failing_append(batches: Sequence[Batch], *, wait: bool = True) -> list[Verdict]:
            starts = {batch.run_id for batch in batches if batch.events[0].type is EventType.step_started}
            if where == "step" and starts & broken:
                bug()
            return await append(batches, wait=wait)

        world.memory.load, world.memory.append = failing_load, failing_append  # type: ignore[method-assign]

        @step(registry=world.registry, queue="other")
        async def work() -> str:
            return "done"

        @workflow(registry=world.registry)
        async def flow() -> str:
            return await work()

        async with world.worker("A") as a:
            bad = await world.start(flow)
            broken.add(bad.id)
            with captured() as logs:
                for _ in range(5):
                    assert await (await world.start(flow)).result(10) == "done"
                await asyncio.sleep(600)
            failed = [line for line in logs if line["event"] == "handler_failed"]
            assert 10 < len(failed) < 40
            pauses = [line["delay_ms"] for line in logs if line["event"] == "server_trouble"]
            assert max(pauses[:2]) <= 4_000
            assert 20_000 < max(pauses) <= BUG_DELAY_MAX_MS
            assert {line["error"] for line in failed} == {"AssertionError: a bug"}
            assert not (await bad.status()).ended
            broken.clear()
            assert await bad.result(BUG_DELAY_MAX_MS / 1000) == "done"
            assert a.suspects == []
            assert a.shell.bugs == {}
        check(await world.log(bad))

    run(main)


def test_a_bug_in_a_turn_that_goes_on_gives_back_the_lease_that_it_holds() -> None:
    """The settle of the first round leased the message afresh: that is the one to be handed back."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> str:
            async with hook(str, token="t") as words:
                return await words

        async with world.worker("A") as a:
            started = await world.start(flow)

            def signal() -> None:
                land_signal(world, "t", "heard")
                at_once(world.server.client("sender").enqueue([Entry("default", tick_key(started.id))]))

            a.at("settle.before", 1, signal)
            a.at("append.before", 2, bug)
            assert await started.result(8) == "heard"
            assert a.seen["append.before"] >= 3
        check(await world.log(started))

    run(main)


def test_a_bug_on_the_hot_path_hands_back_every_message_whose_end_was_there() -> None:
    """Two steps end together and are sent together: both are done again."""

    async def main() -> None:
        world = World()
        bodies: list[int] = []

        @step(registry=world.registry)
        async def work(n: int) -> int:
            bodies.append(n)
            await asyncio.sleep(1)
            return n

        @workflow(registry=world.registry)
        async def flow() -> list[int]:
            return list(await asyncio.gather(*(work(n) for n in range(3))))

        async with world.worker("A") as a:
            a.at("append.before", 3, bug)
            started = await world.start(flow)
            assert await started.result(20) == [0, 1, 2]
            assert sorted(bodies) == [0, 1, 1, 2, 2]
        check(await world.log(started))

    run(main)


def test_a_bug_in_the_replay_leaves_no_live_run_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next turn begins with the log."""
    real = Instance._deliver  # pyright: ignore[reportPrivateUsage] - where a bug of ours would be
    raised: list[int] = []

    def deliver(self: Instance, events: Sequence[Event]) -> None:
        real(self, events)
        if not raised:
            raised.append(len(events))
            bug()

    monkeypatch.setattr(Instance, "_deliver", deliver)

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> str:
            return "done"

        async with world.worker("A"):
            started = await world.start(flow)
            assert await started.result(8) == "done"
        assert raised
        check(await world.log(started))

    run(main)


def test_the_table_of_messages_that_met_a_bug_is_bounded() -> None:
    """The oldest is forgotten first, and the one that is met most often is not the oldest."""

    async def main() -> None:
        async with World().worker("A") as a:
            shell = a.shell
        assert [bug_delay_ms(shell, "often") for _ in range(7)] == [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]
        for n in range(BUGS_MAX + 5):
            bug_delay_ms(shell, f"once {n}")
            assert bug_delay_ms(shell, "often") == 60_000, "it is never forgotten"
        assert len(shell.bugs) == BUGS_MAX
        assert "once 5" not in shell.bugs
        assert bug_delay_ms(shell, "once 0") == 2_000

    run(main)
