"""Guards of leases, suspects and stopping."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import msgspec
import pytest
from tests.hazards.registry import removal

from fencepost.engine.claims import Claims
from fencepost.engine.keeper_thread import KeeperThread
from fencepost.engine.leases import LeaseKeeper
from fencepost.engine.owed import Owed
from fencepost.engine.steps import handle_step
from fencepost.engine.tick import handle_tick
from fencepost_queue.lane import Lane
from fencepost_queue.protocol import Delivery, Queue

POISON, REACH = "engine/test_hazards_poison.py", "engine/test_reach.py"


@removal("H61", guard="leases are renewed from a thread", tests=[
    "engine/test_hazards_keeper.py::test_h61_a_loop_that_is_blocked_for_longer_than_a_lease_is_renewed_for",
])  # fmt: skip
def renewals_in_the_loop(patch: pytest.MonkeyPatch) -> None:
    """Beside the user's code."""

    def start(self: Any) -> None:
        self._main = asyncio.get_running_loop()
        self._pong = self._ports.monotonic()
        self._serving = asyncio.ensure_future(self._serve())

    async def stop(self: Any) -> None:
        self._stop.set()
        await self._serving

    patch.setattr(KeeperThread, "start", start)
    patch.setattr(KeeperThread, "stop", stop)


@removal("H62", guard="who may have lost its lease by its own clock walks away", tests=[
    "engine/test_hazards_recovery.py::test_h62_a_turn_that_was_frozen_past_its_lease_walks_away",
])  # fmt: skip
def leases_never_end_here(patch: pytest.MonkeyPatch) -> None:
    """What was ours is ours."""
    patch.setattr(LeaseKeeper, "fresh", lambda self, token: True)


@removal("H65", guard="the keeper renews", tests=[
    "engine/test_hazards_steps.py::test_h65_a_second_worker_boots_while_a_step_runs",
])  # fmt: skip
def nobody_renews(patch: pytest.MonkeyPatch) -> None:
    """A healthy step is taken over after one lease."""

    async def renew(self: LeaseKeeper, queue: Queue) -> None:
        return

    patch.setattr(LeaseKeeper, "renew", renew)


@removal("H66", "H67", guard="two crashes make a suspect, which is run alone", tests=[
    f"{POISON}::test_h66_a_step_that_kills_its_worker_is_run_alone_and_then_fails",
    f"{POISON}::test_h67_a_tick_that_kills_its_worker_fails_its_run",
])  # fmt: skip
def no_suspects(patch: pytest.MonkeyPatch) -> None:
    """It is tried again, beside the others, and takes them with it."""

    def dispatch(self: Any, delivery: Delivery) -> None:
        is_step = delivery.key.startswith("s:")
        slots = self._shell.slots if is_step else self._turns
        slots.take()
        handler = partial(handle_step if is_step else handle_tick, self._shell, delivery)
        self._start(self._guarded(handler, delivery, slots), delivery.key)

    patch.setattr(Claims, "_dispatch", dispatch)


@removal(
    "H75",
    guard="only a crash in solitude is proof",
    tests=[f"{POISON}::test_h75_bystanders_of_a_poison_are_not_blamed"],
)
def bystanders_are_blamed(patch: pytest.MonkeyPatch) -> None:
    """Every crash counts against whoever was there."""
    real = Claims._dispatch

    def dispatch(self: Claims, delivery: Delivery) -> None:
        real(self, msgspec.structs.replace(delivery, proofs=delivery.crashes))

    patch.setattr(Claims, "_dispatch", dispatch)


@removal(
    "H68",
    guard="a hand-back is no crash (the engine over the model)",
    tests=[f"{POISON}::test_h68_handing_back_is_not_a_crash"],
)
def drains_are_crashes(patch: pytest.MonkeyPatch) -> None:
    """Every hand-over that did not settle counts."""
    real = Lane.release

    def release(self: Lane, now: int, delivery: Delivery, delay_ms: int, proof: bool) -> bool:
        held = self.messages.get(delivery.key)
        if held is not None:
            self.messages[delivery.key] = msgspec.structs.replace(held, crashes=held.crashes + 1)
        return real(self, now, delivery, delay_ms, proof)

    patch.setattr(Lane, "release", release)


@removal("H101", guard="recovery repeats the withdrawal of cancelled steps", tests=[
    f"{REACH}::test_h101_a_withdrawal_that_its_turn_did_not_live_to_make_is_made_by_recovery",
])  # fmt: skip
def withdrawals_are_not_repeated(patch: pytest.MonkeyPatch) -> None:
    """Who was to say so has died."""
    patch.setattr(Owed, "repeat_cancelled", lambda self, live, work: None)


@removal("H101", guard="the body is told, by a hint or at the next renewal", tests=[
    f"{REACH}::test_h101_a_body_on_another_worker_is_reached",
    "engine/test_hazards_steps.py::test_h101_the_body_of_an_ended_run_is_stopped_at_the_next_renewal",
])  # fmt: skip
def withdrawals_are_not_told(patch: pytest.MonkeyPatch) -> None:
    """Leased messages are left as they are."""
    real = Lane.withdraw

    def withdraw(self: Lane, key: str) -> str | None:
        held = self.messages.get(key)
        return None if held is not None and held.token else real(self, key)

    patch.setattr(Lane, "withdraw", withdraw)
