"""The lease keeper's thread, on real time: what is awaited here is events, not moments."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import cast

from tests.log_lines import captured

from fencepost.engine.keeper_thread import KeeperThread
from fencepost.engine.leases import LeaseKeeper
from fencepost.engine.ports import real_ports
from fencepost.replay.budget import Overdue, TurnGuard
from fencepost_queue.protocol import Delivery, Queue, Renewal
from fencepost_store.events import NewEvent

PATIENCE_SECONDS = 15.0


async def _not_written(run_id: str, event: NewEvent) -> None:
    raise AssertionError(run_id)


async def _not_failed(overdue: Overdue) -> None:
    raise AssertionError(f"a run was failed: {overdue}")


class Renewals:
    """A queue that is only renewed against."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    async def renew(self, deliveries: Sequence[Delivery], lease_ms: int) -> Renewal:
        self.threads.append(threading.get_ident())
        assert [delivery.token for delivery in deliveries] == ["A.1"]
        return Renewal()

    async def close(self) -> None:
        """Nothing to close."""


async def test_h61_a_loop_that_is_blocked_for_longer_than_a_lease_is_renewed_for() -> None:
    """User code blocks the loop until the lease would be long over: it is renewed meanwhile, again and again, and one
    warning has the stack.
    """
    queue = Renewals()

    async def connect() -> Queue:
        return cast(Queue, queue)

    lease = 0.6
    keeper = LeaseKeeper(time.monotonic, lease)
    thread = KeeperThread(
        real_ports(),
        keeper,
        TurnGuard(),
        connect,
        renewal_seconds=lease / 3,
        replay_budget_seconds=100,
        blocked_seconds=lease,
        told_seconds=lease / 3,
        fail=_not_failed,
        write=_not_written,
    )
    with captured() as logs:
        thread.start()
        keeper.hold(Delivery("q", "s:run:a#1", "A.1"), time.monotonic())
        blocked_by_the_user(queue, logs, time.monotonic() + lease)
        renewed = list(queue.threads)
        fresh = keeper.fresh("A.1")
        await thread.stop()
    assert len(renewed) >= 3
    assert fresh, "the lease is as good as new"
    warnings = [line for line in logs if line["event"] == "loop_blocked"]
    assert len(warnings) == 1
    assert "blocked_by_the_user" in warnings[0]["stack"]
    assert lease / 3 <= warnings[0]["seconds"] < lease + PATIENCE_SECONDS


def test_h62_a_message_that_is_given_out_again_has_lost_its_older_lease() -> None:
    """Whoever works under it is told at once; dropping it then takes nothing from the newer one."""
    keeper = LeaseKeeper(lambda: 0.0, 10.0)
    told: list[str] = []
    keeper.hold(Delivery("q", "s:run:a#1", "A.1"), 0.0)
    keeper.watch("A.1", told.append)
    keeper.hold(Delivery("q", "s:run:b#1", "A.2"), 0.0)
    keeper.hold(Delivery("r", "s:run:a#1", "A.3"), 0.0)
    assert told == []
    keeper.hold(Delivery("q", "s:run:a#1", "A.4"), 0.0)
    assert told == ["lost"]
    assert [keeper.fresh(f"A.{n}") for n in (1, 2, 3, 4)] == [False, True, True, True]
    keeper.drop("A.1")
    assert keeper.fresh("A.4")
    keeper.drop("A.4")
    keeper.hold(Delivery("q", "s:run:a#1", "A.5"), 0.0)
    assert keeper.fresh("A.5")
    assert told == ["lost"]


def blocked_by_the_user(queue: Renewals, logs: Sequence[object], least: float) -> None:
    """Hold the loop for longer than a lease, and until there were three renewals and a warning."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if len(queue.threads) >= 3 and logs and time.monotonic() > least:
            return
        time.sleep(0.01)
    assert asyncio.get_running_loop().is_running()
