"""Guards of chains of runs, attributes, put-off starts, bounds on steps, heartbeats and streams."""

# Mutants reach where no caller does.
# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace
from tests.simulate.mutants.switches import Patch, mutant

from fencepost.engine import bodies, closing, steps, tick
from fencepost.engine.bodies import Attempt
from fencepost.engine.body_task import BodyTask, Raised, Value
from fencepost.engine.joining import Joining
from fencepost.engine.live import LiveRun
from fencepost.engine.owed import Owed
from fencepost.engine.pulse import Pulse
from fencepost.engine.shell import Shell
from fencepost.engine.streams import AttemptChannel
from fencepost.log import RunLog, only_fact
from fencepost.records import RunCreated, pack, unpack
from fencepost.replay.asking import AskingFace
from fencepost.replay.asks import Ask
from fencepost.replay.divergence import asking
from fencepost.replay.fold import OpenWork
from fencepost_queue.protocol import Delivery, Entry
from fencepost_store import attributes
from fencepost_store.events import EventType
from fencepost_store.memory import MemoryStore
from fencepost_store.protocol import Batch, FactVerdict
from fencepost_store.streams import StreamOutcome, StreamVerdict, StreamWrite


@mutant("engine/test_children.py::test_a_chain_is_one_run_to_its_client")
def who_goes_on_forgets_attributes(patch: Patch) -> None:
    """A run that goes on for another begins without what that one has said of itself."""
    real = closing.successor_run

    def successor_run(run: Any, created: Any, started: Any, ended: Any, grace: int) -> Any:
        made = real(run, created, started, ended, grace)
        forgetful = replace(unpack(made.payload, RunCreated), attributes={})
        return replace(made, payload=pack(forgetful), attributes={})

    patch.set(closing, "successor_run", successor_run)


@mutant("engine/test_features_meet.py::test_a_full_backlog_is_left_behind_by_continue_as_new")
def nobody_goes_on(patch: Patch) -> None:
    """F9: whoever ends a run by continue_as_new leaves the next one to those who ask for it."""

    async def close(shell: Shell, live: LiveRun, owed: Owed, work: OpenWork) -> list[Entry]:
        assert work.ended is not None
        if work.ended.type is not EventType.run_continued:
            return await real(shell, live, owed, work)
        verdict = await shell.store.touch(live.run_id, work.fence, work.seen, None)
        shell.clock.read(verdict.now)
        return []

    real = closing._close
    patch.set(closing, "_close", close)


@mutant("engine/test_attributes.py::test_attributes_are_seen_as_set_and_stay")
def attributes_are_written_again(patch: Patch) -> None:
    """What is set already is asked for once more."""

    def set_attributes(self: AskingFace, changes: Mapping[str, str | None]) -> None:
        self.refuse_when_closed()
        self._attributes = attributes.changed(self._attributes, changes)
        packed = attributes.packed(changes)
        self._outstanding.add(Ask(EventType.attributes_set, self.new_id("attributes"), packed, asking(2)))

    patch.set(AskingFace, "set_attributes", set_attributes)


@mutant("engine/test_start_later.py::test_a_far_start_is_looked_at_once_when_it_comes_near")
def a_start_is_not_put_off(patch: Patch) -> None:
    """The first turn does not look at the time of the start."""
    patch.set(tick, "put_off", lambda events, now: None)


@mutant("engine/test_hazards_step_time.py::test_h120_a_start_lands_while_the_turn_times_the_step_out")
def a_steps_time_is_never_over(patch: Patch) -> None:
    """Turns do not look for steps that have not ended in time."""

    def time_out(live: Any, owed: Any, token: str, now: int, bytes_max: int) -> None:
        live.instance.fire_due(now)

    patch.set(tick, "time_out", time_out)


@mutant("engine/test_found_by_simulation.py::test_h125_the_last_heartbeat_before_an_error_waits_for_the_one_under_way")
def a_heartbeat_is_cut_off(patch: Patch) -> None:
    """The last details do not wait for those that are under way (pointed 84)."""

    async def flush(self: Pulse) -> None:
        await self._stop()
        await self._write_newest()

    patch.set(Pulse, "flush", flush)


@mutant("engine/test_transactional_steps.py::test_h122_writes_of_a_run_that_has_ended_are_rolled_back")
def a_refused_end_is_committed(patch: Patch) -> None:
    """H122: what the body wrote stays, though its step was ended by another."""

    async def end(self: Joining, log: RunLog, batch: Batch) -> tuple[FactVerdict, int]:
        joint = self._joint
        assert joint is not None
        written = await log.append(batch, via=joint.append)
        await joint.commit()
        return only_fact(written), written.now

    patch.set(Joining, "end", end)


@mutant("engine/test_heartbeats.py::test_the_next_attempt_receives_the_last_details_after_an_error")
def a_failed_attempt_leaves_old_details(patch: Patch) -> None:
    """What was given within the last second before an error is not kept."""

    async def flush(self: Pulse) -> None:
        await self._stop()

    patch.set(Pulse, "flush", flush)


@mutant("engine/test_streams_writing.py::test_all_is_written_before_the_step_s_end_is_in_the_log")
def a_step_ends_before_its_chunks(patch: Patch) -> None:
    """Its end is told before what it wrote is there."""

    async def at_rest(self: AttemptChannel) -> None:
        return

    patch.set(AttemptChannel, "_at_rest", at_rest)


@mutant("store/test_streams.py::test_h113_a_write_that_is_sent_again_lands_once[memory]")
def chunks_that_are_sent_again_land_again(patch: Patch) -> None:
    """The store does not know a write that it has carried out before."""
    real = MemoryStore.write_stream

    async def write_stream(self: MemoryStore, write: StreamWrite) -> StreamVerdict:
        stream = self._streams.get((write.run_id, write.name))
        writer = stream.writers.get(write.writer) if stream is not None else None
        if stream is not None and writer is not None and writer.attempt == write.attempt and not stream.closed_by:
            writer.sent = write.first
        return await real(self, write)

    patch.set(MemoryStore, "write_stream", write_stream)


@mutant("store/test_streams.py::test_h114_a_zombie_is_refused_once_the_next_attempt_has_started[memory]")
def streams_are_not_fenced(patch: Patch) -> None:
    """An attempt that was given up writes on behind the one that was begun in its place."""
    real = MemoryStore._judge

    def judge(self: MemoryStore, write: StreamWrite, *rest: Any) -> StreamOutcome | None:
        found = real(self, write, *rest)
        return None if found is StreamOutcome.fenced else found

    patch.set(MemoryStore, "_judge", judge)


@mutant("engine/test_hazards_steps.py::test_h62_a_lease_that_was_lost_before_the_body_began_begins_none")
def a_body_begins_under_a_lost_lease(patch: Patch) -> None:
    """A worker that was frozen behind a step's start begins the body when it wakes up, and nobody stops it."""

    async def run_body(shell: Shell, live: LiveRun, delivery: Delivery, attempt: Attempt) -> None:
        aids = steps._aids(shell, delivery, attempt)
        try:
            await steps._run_body(shell, live, delivery, attempt, aids)
        finally:
            await aids.close()

    patch.set(steps, "run_body", run_body)


@mutant("engine/test_ends_of_bodies.py::test_h139_user_code_may_end_in_any_way_anywhere")
def exits_get_out(patch: Patch) -> None:
    """H139: what a body raises leaves its task, as it would any other."""

    async def _run(self: Any, code: Any, context: Any) -> None:
        self._begun = True
        try:
            ended: Any = Value(await code())
        except Exception as error:  # noqa: BLE001
            ended = Raised(error)
        self._end.set_result(ended)

    patch.set(BodyTask, "_run", _run)


@mutant("engine/test_ends_of_bodies.py::test_h140_a_body_cancels_itself_or_all_tasks_of_the_loop")
def cancelled_is_late(patch: Patch) -> None:
    """H140: a CancelledError of the body's own passes for one of the engine's: for the end of its time."""
    real = bodies._raised

    def _raised(ports: Any, attempt: Any, patience: Any, aids: Any, body: Any, error: BaseException) -> Any:
        if isinstance(error, asyncio.CancelledError) and not body.reasons:
            patience.expired = "timeout"
            body.reasons.append("timeout")
        return real(ports, attempt, patience, aids, body, error)

    patch.set(bodies, "_raised", _raised)


@mutant("engine/test_hazards_skew.py::test_h131_a_step_that_only_new_code_has")
def every_step_is_started_whatever_the_code(patch: Patch) -> None:
    """H131: a worker starts steps that its code cannot run."""
    patch.remove("every_step_is_started")


@mutant("queue/test_refusals.py::test_h132_what_a_code_has_refused_it_is_not_given_again")
def refused_messages_come_back_to_the_same_code(patch: Patch) -> None:
    """H132: a claim is given what its own code has refused."""
    patch.remove("refused_messages_come_back")
