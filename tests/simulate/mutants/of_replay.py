"""Guards of replay, and of clients."""

# Mutants reach where no caller does.
# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.simulate.mutants.switches import Patch, mutant

from fencepost.client import signals
from fencepost.engine.clock import DatabaseClock
from fencepost.replay import instance
from fencepost.replay.eviction import wind_down
from fencepost.replay.hooks import Channel
from fencepost.replay.instance import Instance
from fencepost.replay.tasks import HookFuture, StepFuture, WorkflowFuture
from fencepost_store.events import Event


@mutant("replay/test_steps.py::test_h23_the_winner_is_the_lower_seq", historical=True)
def several_events_at_once(patch: Patch) -> None:
    """H23: the events of a turn are delivered together, so that the winner is who stands first in the code."""
    real_rest, real_deliver = Instance._rest, Instance._deliver
    holding: list[Instance] = []

    def rest(self: Instance) -> None:
        if self not in holding or self.work.seen <= 1:
            real_rest(self)

    def deliver(self: Instance, events: Sequence[Event]) -> None:
        holding.append(self)
        try:
            real_deliver(self, events)
        finally:
            holding.remove(self)
        real_rest(self)

    patch.set(Instance, "_rest", rest)
    patch.set(Instance, "_deliver", deliver)


@mutant("replay/test_hooks.py::test_h24_a_cancelled_awaiter_swallows_nothing", historical=True)
def a_cancelled_awaiter_swallows_a_payload(patch: Patch) -> None:
    """H24: the loser of a race stays in line for the next payload."""

    def pump(self: Channel) -> None:
        while self._waiters and self._buffer:
            waiter = self._waiters.popleft()
            value = self._buffer.popleft()
            if not waiter.done():
                waiter.set_result(value)

    patch.set(Channel, "_pump", pump)


@mutant("replay/test_steps.py::test_h32_leftover_tasks_are_cancelled_at_return")
def cancelling_withdraws_no_step(patch: Patch) -> None:
    """A step that nobody awaits any more stays open."""
    patch.set(StepFuture, "cancel", lambda self, msg=None: WorkflowFuture.cancel(self, msg))


@mutant("replay/test_time.py::test_waits_fire_by_due_time_each_to_quiescence", historical=True)
def early_wakes_end_waits(patch: Patch) -> None:
    """H46: a wake that comes early ends the wait."""
    real = Instance.fire_due
    patch.set(Instance, "fire_due", lambda self, now: real(self, now + 400_000))


@mutant("engine/test_clock.py::test_h16_a_clock_that_runs_off_is_followed_for_weeks")
def a_fast_clock_is_never_put_right(patch: Patch) -> None:
    """H16: the reading that put the clock furthest ahead counts for ever (seed 93)."""

    def read(self: DatabaseClock, now: int) -> int:
        offset = now - int(self._monotonic() * 1_000_000)
        self._best = offset if self._best is None else max(self._best, offset)
        self._before = self._best
        return self.now()

    patch.set(DatabaseClock, "read", read)


@mutant("engine/test_hazards_clocks.py::test_h16_a_worker_whose_clock_is_wrong_by_minutes", historical=True)
def clocks_of_workers_decide(patch: Patch) -> None:
    """H16: what is due is decided by the worker's own clock."""
    real_fire, real_read, real_now = Instance.fire_due, DatabaseClock.read, DatabaseClock.now
    seen: list[DatabaseClock] = []

    def read(self: DatabaseClock, now: int) -> int:
        seen.append(self)
        return real_read(self, now)

    patch.set(DatabaseClock, "read", read)
    patch.set(DatabaseClock, "now", lambda self: real_now(self) + int(self._monotonic()) % 2 * 300_000)
    patch.set(Instance, "fire_due", lambda self, now: real_fire(self, seen[-1].now() if seen else now))


@mutant("replay/test_divergence.py::test_a_foreign_event_after_an_anticipated_one_is_the_engines_mistake", seeds=0)
def what_overtakes_an_anticipated_event_is_not_seen(patch: Patch) -> None:
    """The log may hold other events before those that a live instance was given ahead of it."""
    patch.set(instance, "BEHIND_ANTICIPATED", frozenset())


@mutant("replay/test_divergence.py::test_h30_the_same_step_from_another_task")
def divergence_is_not_looked_for(patch: Patch) -> None:
    """H30: an event of the log that the code has not asked for is taken for what it asks first."""
    real = Instance._expect

    def expect(self: Instance, event: Event) -> Any:
        first = self._outstanding.first()
        return first if first is not None else real(self, event)

    patch.set(Instance, "_expect", expect)


@mutant(
    "engine/test_senders.py::test_h103_a_signal_whose_reply_was_lost_counts_once_while_its_hook_listens",
    historical=True,
)
def a_signal_sent_again_has_a_new_id(patch: Patch) -> None:
    """H103: a client that heard no answer sends anew."""
    real = signals._append
    numbers = iter(range(1 << 30))

    async def append(connected: Any, batch: Any) -> bool:
        (event,) = batch.events
        first = True

        class Log:
            async def append(self, one: Any) -> Any:
                nonlocal first
                renamed = event if first else _renamed(event, next(numbers))
                first = False
                return await connected.log.append(_with(one, renamed))

        class Connected:
            log = Log()

        return await real(Connected(), batch)  # type: ignore[arg-type]

    patch.set(signals, "_append", append)


def _renamed(event: Any, number: int) -> Any:
    from msgspec.structs import replace

    return replace(event, dedupe=f"{event.dedupe}/{number}")


def _with(batch: Any, event: Any) -> Any:
    from msgspec.structs import replace

    return replace(batch, events=(event,))


@mutant("replay/test_hooks.py::test_h24_an_awaiter_cancelled_before_it_woke_gives_the_payload_back", seeds=0)
def payloads_are_not_given_back(patch: Patch) -> None:
    """A payload whose awaiter is cancelled before it wakes up is lost."""
    patch.set(HookFuture, "give_back", lambda self: None)


@mutant("replay/test_eviction.py::test_h29_finally_blocks_run_and_what_they_ask_for_does_not_leave", seeds=0)
def eviction_is_not_silent(patch: Patch) -> None:
    """H29: what a run's code asks for while it is thrown away counts."""

    def evict(self: Instance) -> None:
        self.evicted = True
        wind_down(self.loop)

    patch.set(Instance, "evict", evict)
