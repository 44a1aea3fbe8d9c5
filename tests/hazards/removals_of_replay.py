"""Guards of the workflow loop: order, identity, eviction, divergence."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.hazards.registry import removal

from fencepost.engine import process
from fencepost.replay import (
    ambient_chance,
    ambient_time,
    asking,
    hashing,
    hooks,
    instance,
    refusals,
    shared_primitives,
    tasks,
)
from fencepost.replay.asks import Ask, State
from fencepost.replay.budget import TurnGuard
from fencepost.replay.eviction import wind_down
from fencepost.replay.identity import TaskPath
from fencepost.replay.instance import Instance
from fencepost_store.events import Event, EventType

STEPS, HOOKS = "replay/test_steps.py", "replay/test_hooks.py"


@removal(
    "H22", "H23",
    guard="events are delivered one at a time, each to rest",
    tests=[
        "replay/test_prefixes.py::test_h22_every_prefix_replays_to_the_same_decisions",
        f"{STEPS}::test_h23_the_winner_is_the_lower_seq",
    ],
)  # fmt: skip
def events_in_one_go(patch: pytest.MonkeyPatch) -> None:
    """The loop is drained when all of them are delivered."""
    deliver, rest = Instance._deliver, Instance._rest

    def all_at_once(self: Any, events: Sequence[Event]) -> None:
        self._rest = lambda: None
        try:
            deliver(self, events)
        finally:
            del self._rest
        rest(self)

    patch.setattr(Instance, "_deliver", all_at_once)


@removal(
    "H24",
    guard="a cancelled awaiter gives back what it did not wake up for",
    tests=[f"{HOOKS}::test_h24_an_awaiter_cancelled_before_it_woke_gives_the_payload_back"],
)
def payloads_die_with_their_awaiter(patch: pytest.MonkeyPatch) -> None:
    """It was handed over, after all."""
    patch.setattr(hooks.Channel, "take_back", lambda self, event: None)


@removal(
    "H24",
    guard="cancelling an awaiter withdraws it",
    tests=[f"{HOOKS}::test_h24_a_cancelled_awaiter_swallows_nothing"],
)
def losers_stay_enrolled(patch: pytest.MonkeyPatch) -> None:
    """The next payload goes to whoever stands first, alive or not."""

    def pump(self: Any) -> None:
        while self._waiters and self._buffer:
            waiter, event = self._waiters.popleft(), self._buffer.popleft()
            if not waiter.done():
                waiter.set_result(event)

    patch.setattr(hooks.Channel, "_pump", pump)


@removal(
    "H25",
    guard="payloads that nobody awaits yet are kept",
    tests=[f"{HOOKS}::test_h25_payloads_before_the_first_await_are_kept_in_log_order"],
)
def nobody_listens(patch: pytest.MonkeyPatch) -> None:
    """What comes too early is gone."""

    def receive(self: Any, event: Event) -> None:
        if self._waiters:
            self._buffer.append(event)
            self._pump()

    patch.setattr(hooks.Channel, "receive", receive)


@removal(
    "H26",
    guard="the workflow's clock moves on delivery only",
    tests=[
        "replay/test_time.py::test_h26_the_clock_moves_only_when_an_event_is_delivered_to_code",
        "engine/test_basics.py::test_workflow_time_is_the_time_of_the_last_delivered_event",
    ],
)
def the_clock_runs_ahead(patch: pytest.MonkeyPatch) -> None:
    """It shows the newest event that was loaded."""
    deliver = Instance._deliver

    def ahead(self: Any, events: Sequence[Event]) -> None:
        self._now = max(self._now, *(event.at for event in events))
        deliver(self, events)

    patch.setattr(Instance, "_deliver", ahead)


@removal(
    "H27",
    guard="ids are counted within a task and a name",
    tests=[f"{STEPS}::test_h27_a_missing_branch_renames_nobody_else"],
)
def one_counter_for_all(patch: pytest.MonkeyPatch) -> None:
    """A run numbers what it asks for from 1 on."""
    patch.setattr(TaskPath, "child", lambda self, name: self)


@removal(
    "H28",
    guard="tasks and futures hash by order of creation",
    tests=["replay/test_processes.py::test_h28_other_processes_replay_every_prefix_to_the_same_decisions"],
)
def hashes_are_addresses(patch: pytest.MonkeyPatch) -> None:
    """As asyncio has it."""
    patch.setattr(tasks.WorkflowTask, "__hash__", object.__hash__)
    patch.setattr(tasks.WorkflowFuture, "__hash__", object.__hash__)


@removal(
    "H155",
    guard="what is made past the loop's factories has a number of its run",
    tests=["replay/test_hashes.py::test_h155_the_step_that_a_receipt_belongs_to_does_not_hang_on_addresses"],
)
def futures_by_class_are_addresses(patch: pytest.MonkeyPatch) -> None:
    """As their class in C has it."""

    def address(self: object) -> int:
        return object.__hash__(self)

    patch.setattr(hashing.hash_of_future, "__code__", address.__code__)


@removal(
    "H156",
    guard="the workflow's exception handler is called in a replay too",
    tests=["replay/test_exception_handler.py::test_h156_the_handler_is_called_live_and_in_every_replay"],
)
def handlers_are_mute_in_a_replay(patch: pytest.MonkeyPatch) -> None:
    """As if what it does were only a log line."""
    unawaited = asking.AskingFace.unawaited

    def muted(self: Any, context: dict[str, Any], handler: Any) -> None:
        if not self.muted:
            unawaited(self, context, handler)

    patch.setattr(asking.AskingFace, "unawaited", muted)


@removal(
    "H156",
    guard="what the workflow's exception handler raises ends nothing",
    tests=["replay/test_exception_handler.py::test_h156_a_handler_that_raises_ends_nothing"],
)
def handlers_may_raise(patch: pytest.MonkeyPatch) -> None:
    """Into the loop, and out of the turn."""
    patch.setattr(asking, "call_handler", lambda loop, handler, context: handler(loop, context))


@removal(
    "H157",
    guard="the standard library's clocks show workflow time in workflow code",
    # Not the retry with a limit of time: by a real clock it never ends, and a test that is stopped spoils its process.
    tests=["replay/test_ambient.py::test_h157_clocks_show_workflow_time"],
)
def clocks_are_real(patch: pytest.MonkeyPatch) -> None:
    """As without a workflow."""
    patch.setattr(ambient_time, "asking_loop", lambda depth: None)


@removal(
    "H157",
    guard="chance in workflow code is drawn from the run",
    tests=["replay/test_ambient.py::test_h157_chance_is_drawn_from_the_run"],
)
def chance_is_real(patch: pytest.MonkeyPatch) -> None:
    """As without a workflow."""
    patch.setattr(ambient_chance, "asking_loop", lambda depth: None)


@removal(
    "H157",
    guard="a module that workflow code imports draws nothing from the run",
    tests=["replay/test_ambient_functions.py::test_h157_a_module_that_a_run_imports_draws_nothing_from_it"],
)
def imports_draw(patch: pytest.MonkeyPatch) -> None:
    """As all else that runs in the workflow's loop."""
    patch.setattr(ambient_time, "importing", lambda: False)


@removal(
    "H158",
    guard="processes are started with one hash seed",
    tests=["engine/test_hash_seed.py::test_h158_processes_are_started_with_one_seed"],
)
def each_process_has_a_seed_of_its_own(patch: pytest.MonkeyPatch) -> None:
    """As Python has it."""
    patch.setattr(process, "seeded", dict)


@removal(
    "H159",
    guard="a run whose code waits in vain is parked",
    tests=["engine/test_waits_in_vain.py::test_h159_a_run_that_waits_in_vain_is_parked_with_the_line"],
)
def waiting_in_vain_looks_like_waiting(patch: pytest.MonkeyPatch) -> None:
    """It stays running for ever."""
    patch.setattr(instance.Instance, "vain", lambda self: None)


@removal(
    "H160",
    guard="locks, events and queues that a run has not made are refused",
    tests=["replay/test_shared_primitives.py::test_h160_another_runs_are_refused_too"],
)
def primitives_are_shared(patch: pytest.MonkeyPatch) -> None:
    """Whoever has one may use it."""
    patch.setattr(shared_primitives, "WorkflowLoop", None)


@removal(
    "H160",
    guard="another run's loop is refused",
    tests=["replay/test_shared_primitives.py::test_h160_another_runs_loop_is_refused"],
)
def loops_are_shared(patch: pytest.MonkeyPatch) -> None:
    """Whoever has one may set timers in it."""
    real = asking.AskingFace.refuse_when_closed

    def refuse_when_closed(self: Any) -> bool:
        entered, self.loop.entered = self.loop.entered, True
        try:
            return real(self)
        finally:
            self.loop.entered = entered

    patch.setattr(asking.AskingFace, "refuse_when_closed", refuse_when_closed)


@removal(
    "H29",
    guard="while an instance is evicted nothing can be asked for, and its code's logs are mute",
    tests=[
        "replay/test_eviction.py::test_h29_eviction_leaves_no_trace",
        "replay/test_eviction.py::test_h29_finally_blocks_run_and_what_they_ask_for_does_not_leave",
    ],
)
def eviction_is_plain_cancellation(patch: pytest.MonkeyPatch) -> None:
    """The code's cleanup runs as if the run had been cancelled."""

    def evict(self: Any) -> None:
        if not self.evicted:
            self.evicted, self._usable = True, False
            wind_down(self.loop)

    patch.setattr(Instance, "evict", evict)


@removal(
    "H30",
    guard="what the log has next is held against what the code asks for first",
    tests=[
        "replay/test_divergence.py::test_h30_another_step_names_both_sides_and_the_line",
        "replay/test_divergence.py::test_h30_another_order_of_the_same_steps",
    ],
)
def anything_fits(patch: pytest.MonkeyPatch) -> None:
    """The next thing asked for is taken for what landed."""

    def expect(self: Any, event: Event) -> Ask:
        ask: Ask | None = self._outstanding.first()
        if ask is None:
            raise self._diverged(event)
        return ask

    patch.setattr(Instance, "_expect", expect)
    patch.setattr(Instance, "_compare", lambda self, event, ask: None)


@removal(
    "H32",
    guard="leftover tasks are cancelled at return, and what they asked for is withdrawn",
    tests=[f"{STEPS}::test_h32_leftover_tasks_are_cancelled_at_return"],
)
def leftover_tasks_go_on(patch: pytest.MonkeyPatch) -> None:
    """Nobody awaits them."""

    def returned(self: Any, root: Any) -> None:
        self._closed = asking.RETURNED

    patch.setattr(Instance, "_returned", returned)


@removal(
    "H34",
    guard="code that spins is interrupted",
    tests=["replay/test_budget.py::test_h34_code_that_spins_is_interrupted"],
)
def nobody_interrupts(patch: pytest.MonkeyPatch) -> None:
    """A turn takes what it takes."""
    patch.setattr(TurnGuard, "interrupt", lambda self: False)


@removal(
    "H34",
    guard="the loop refuses threads, the network and processes",
    tests=["replay/test_guards.py::test_h34_threads_network_and_processes_raise_with_the_way_out"],
)
def the_loop_refuses_nothing(patch: pytest.MonkeyPatch) -> None:
    """Whatever an ordinary loop does."""

    def allowed(self: object, *args: Any, **kwargs: Any) -> Any:
        done: asyncio.Future[Any] = asyncio.Future()
        done.set_result(None)
        return done

    methods = {method for names in refusals.REFUSED.values() for method in names}
    for method in methods:
        patch.setattr(refusals.Refusals, method, allowed)


@removal(
    "H35",
    guard="a wait that lost is cancelled in the log",
    tests=["replay/test_time.py::test_h35_the_losing_wait_is_cancelled_and_keeps_no_run_open"],
)
def losing_waits_stay(patch: pytest.MonkeyPatch) -> None:
    """Its time will come."""
    withdraw: Callable[[Any, Ask], None] = asking.AskingFace.withdraw

    def kept(self: Any, ask: Ask) -> None:
        if ask.type is not EventType.wait_created or ask.state is State.asked:
            withdraw(self, ask)

    patch.setattr(asking.AskingFace, "withdraw", kept)


@removal(
    "H36",
    guard="changed arguments alone are no divergence",
    tests=[
        "replay/test_divergence.py::test_h36_changed_arguments_are_noted_and_not_parked",
        "engine/test_hazards_parking.py::test_h36_changed_arguments_are_logged_and_not_parked",
    ],
)
def every_byte_counts(patch: pytest.MonkeyPatch) -> None:
    """A payload that differs is another event."""

    def compare(self: Any, event: Event, ask: Ask) -> None:
        raise self._diverged(event)

    patch.setattr(instance.Instance, "_compare", compare)
