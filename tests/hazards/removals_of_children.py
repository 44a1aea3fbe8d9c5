"""Guards of children's duties."""

from __future__ import annotations

from typing import Any

import pytest
from tests.hazards.registry import removal

from fencepost.engine import advance, children, claims, closing, deadline, endings, hotpath, tick
from fencepost.engine.live import LiveRun
from fencepost.engine.owed import Owed
from fencepost.engine.shell import Shell
from fencepost.engine.tick import handle_tick
from fencepost.replay.fold import OpenWork
from fencepost_queue.protocol import Delivery, Entry
from fencepost_store.events import NewEvent

CHILDREN = "engine/test_hazards_children.py"
AROUND = f"{CHILDREN}::test_h52_h96_a_child_s_last_turn_dies_around_telling_its_parent"


@removal(
    "H51",
    guard="a run that waits takes no slot",
    tests=["engine/test_hazards_slots.py::test_h51_recursive_children_complete_with_one_slot"],
)
def waiting_takes_a_slot(patch: pytest.MonkeyPatch) -> None:
    """A run has its slot from its first turn to its end."""
    held: set[str] = set()

    async def occupying(shell: Shell, delivery: Delivery) -> None:
        run_id = delivery.key[2:]
        if run_id not in held:
            held.add(run_id)
            shell.slots.take()
        await handle_tick(shell, delivery)
        row = await shell.store.get(run_id)
        if row is not None and row.status.ended and run_id in held:
            held.discard(run_id)
            shell.slots.give()

    patch.setattr(claims, "handle_tick", occupying)


@removal(
    "H96",
    guard="a turn with recover looks after every open child",
    tests=[f"{CHILDREN}::test_h96_a_parent_s_turn_dies_before_its_child_s_run_exists"],
)
def no_recovery_of_children(patch: pytest.MonkeyPatch) -> None:
    """A turn with recover looks at no open child (H96)."""
    real = children.dispatch_children

    async def without(shell: Shell, live: LiveRun, owed: Owed, work: OpenWork, *, recover: bool) -> list[Entry]:
        return await real(shell, live, owed, work, recover=False)

    patch.setattr(closing, "dispatch_children", without)


@removal(
    "H109",
    guard="the end's duties are done before its settle",
    tests=[f"{CHILDREN}::test_h109_the_turn_that_lands_a_child_s_end_tells_its_parent"],
)
def no_duties_where_the_end_lands(patch: pytest.MonkeyPatch) -> None:
    """The turn that lands the end leaves its duties to a later one (G5, H109)."""

    async def without(shell: Shell, live: LiveRun, owed: Owed, *, recover: bool) -> list[Entry]:
        if owed.over is not None and live.wake_at is not None:
            return []
        return await closing.duties(shell, live, owed, recover=recover)

    patch.setattr(tick, "duties", without)
    patch.setattr(hotpath, "duties", without)


@removal("H52", "H96", guard="any later tick of an ended run does the end's duties", tests=[AROUND])
def no_duties_after_the_end(patch: pytest.MonkeyPatch) -> None:
    """A later tick of an ended run does nothing for others (F9, H52)."""

    async def after_end(shell: Shell, live: LiveRun, owed: Owed, loaded: Any) -> None:
        live.drop()

    patch.setattr(endings, "after_end", after_end)
    patch.setattr(tick, "after_end", after_end)


@removal("H96", guard="a run that has ended keeps its deadline until its duties are done", tests=[AROUND])
def no_deadline_for_what_is_owed(patch: pytest.MonkeyPatch) -> None:
    """The end of a run clears its deadline, whatever it owes (F10, H96)."""
    real = deadline.deadline

    def without(work: OpenWork, events: Any, *args: Any, parent: bool = False) -> int | None:
        ends = bool(events) and advance.KINDS[events[-1].type].ends_run
        return None if ends else real(work, events, *args, parent=parent)

    patch.setattr(advance, "deadline", without)


@removal(
    "H110",
    guard="a child is created, then asked to cancel",
    tests=[
        f"{CHILDREN}::test_h110_a_child_is_created_asked_to_cancel_and_ticked_in_this_order",
        f"{CHILDREN}::test_h110_a_child_is_asked_to_cancel_before_its_first_worker_creates_it",
    ],
)
def asked_before_created(patch: pytest.MonkeyPatch) -> None:
    """A child is asked to cancel and created later: the request finds no run (G6, H110)."""
    real = children.stop_run

    async def lost(shell: Shell, run_id: str, stop: NewEvent) -> str | None:
        row = await shell.store.get(run_id)
        return run_id if row is not None and row.last_seq == 1 else await real(shell, run_id, stop)

    patch.setattr(children, "stop_run", lost)
