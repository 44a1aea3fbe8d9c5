"""The face that workflow code and its loop call: what can be asked for, and taken back."""

from __future__ import annotations

import asyncio
from asyncio import futures
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any, NoReturn, cast

from fencepost.attributes import check_count
from fencepost.records import ChildCancelRequested, ChildCreated, pack
from fencepost.replay.asks import Ask, Outstanding, State
from fencepost.replay.children import ChildLink
from fencepost.replay.divergence import asking, line_of
from fencepost.replay.handlers import Handler, call_handler
from fencepost.replay.hooks import Channel
from fencepost.replay.identity import PATH, TaskPath, derived_run_id, secret_of, seed_of
from fencepost.replay.interface import Asking, Program
from fencepost.replay.limits import CodeUnfit, Evicted
from fencepost.replay.loop import WorkflowLoop
from fencepost.replay.patches import PREFIX, Patches
from fencepost.replay.tasks import StepFuture
from fencepost.replay.timers import DUE_MAX, PAYLOADS, WorkflowTimer, name_of
from fencepost.telemetry import note
from fencepost_store import attributes
from fencepost_store.events import EventType

_WITHDRAWALS = {
    EventType.step_created: EventType.step_cancelled,
    EventType.wait_created: EventType.wait_cancelled,
    EventType.hook_created: EventType.hook_disposed,
    EventType.child_created: EventType.child_abandoned,
}

REFUSALS_MAX = 1_000
"""How often a run that can ask for nothing more is told so. Code that catches that and asks again would do so for ever,
without coming to rest: from then on it waits, for what never comes."""

EVICTING = "the live run is being thrown away; nothing that is asked for now counts"
RETURNED = "the workflow has returned: await its tasks before returning, for what they ask for afterwards is not done"


class AskingFace(Asking):
    """The state that asking changes. ``replaying``: the event being delivered was delivered to some turn before, so
    logs would be repetitions. ``rehearsing``: all of it is. ``begun``: False for a run that was cancelled before its
    start. ``settles``: its run_started is to say what the starter has left to this code. ``backlog``: payloads that
    hooks have received and the code has not taken; ``held``: those for tokens that the run has inherited and has not
    opened. ``unborn``: tokens of hooks that were taken back before they were in the log. ``clock``: the
    database clock that came with the turn, microseconds; 0 in a replay without one."""

    def __init__(self, run_id: str, program: Program, drain_limit: int) -> None:
        self.replaying: bool = False
        self.evicted = False
        self.rehearsing = False
        self._run_id = run_id
        self._program = program
        self._now = 0
        self.clock: int = 0
        self._secret = b""
        self._evicting = False
        self._refusals = 0
        self._closed = ""  # why nothing can be asked any more; empty while it can
        self._path = TaskPath("")
        self._open: dict[str, Ask] = {}
        self._outstanding = Outstanding()
        self._patches = Patches()
        self._attributes: dict[str, str] = {}
        self._writers: dict[tuple[str, int], bytes] = {}  # of what other code than this has asked for or run
        self._lack: CodeUnfit | None = None
        self.begun: bool = True
        self.settles: bool = False
        self.backlog: int = 0
        self.held: int = 0
        self.unborn: set[str] = set()
        self.loop: WorkflowLoop = WorkflowLoop(self, drain_limit)  # type: ignore[abstract]  # Refusals fills the rest in by name

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._run_id

    @property
    def workflow(self) -> str:
        """The workflow's registered name."""
        return self._program.name

    @property
    def program(self) -> Program:
        """The workflow's code."""
        return self._program

    @property
    def evicting(self) -> bool:
        """True while the instance is being thrown away."""
        return self._evicting

    @property
    def muted(self) -> bool:
        """True while log lines of the workflow's code would be repetitions or noise."""
        return self.replaying or self.rehearsing or self._evicting

    @property
    def attributes(self) -> Mapping[str, str]:
        """What the run says of itself now, as the store keeps it."""
        return self._attributes

    def time(self) -> int:
        """Workflow time, microseconds."""
        return self._now

    @property
    def path(self) -> TaskPath:
        """Where ids are counted outside any task: the run's own path."""
        return self._path

    def turn_time(self) -> int:
        """From when on a duration counts that the code asks for now, microseconds: the database clock of the turn. The
        event that woke the code may be older, by an outage. A replay does not know the clock of earlier turns, and need
        not: the log has the due times of what they asked for."""
        return max(self._now, self.clock)

    def alarm(self, due: int) -> tuple[asyncio.Future[None], asyncio.TimerHandle]:
        """A future that resolves at an instant, and its timer."""
        future: asyncio.Future[None] = self.loop.create_future()
        resolve = cast(Callable[..., Any], vars(futures)["_set_result_unless_cancelled"])
        timer = WorkflowTimer(due / 1e6, resolve, (future, None), self.loop, None)
        return future, self.loop.arm(timer, min(due, DUE_MAX), due <= self._now)

    def new_id(self, name: str) -> str:
        """The next entity id for ``name`` in the running task."""
        return PATH.get(self._path).next_id(name)

    def seed(self, entity: str) -> bytes:
        """32 bytes of run id and entity."""
        return seed_of(self._run_id, entity)

    def secret(self, entity: str) -> bytes:
        """32 bytes of run id, entity and the run's recorded secret."""
        return secret_of(self._secret, self._run_id, entity)

    def step(
        self, entity: str, payload: bytes, source: tuple[CodeType | None, int] | None = None
    ) -> asyncio.Future[Any]:
        """Ask for step_created. Raises Evicted when nothing can be asked any more."""
        self.refuse_when_closed()
        future = StepFuture(loop=self.loop)
        ask = Ask(
            EventType.step_created,
            entity,
            payload,
            source if source is not None and source[0] is not None else asking(2),
        )
        future.ask = ask
        future.instance = self
        ask.owner = future
        self._ask(ask)
        return future

    def hook(self, entity: str, token: str, payload: bytes) -> Channel:
        """Ask for hook_created. Raises Evicted when nothing can be asked any more."""
        self.refuse_when_closed()
        ask = Ask(EventType.hook_created, entity, payload, asking(2))
        ask.token = token
        channel = Channel(self, ask)
        ask.owner = channel
        self._ask(ask)
        return channel

    def child(self, entity: str, record: ChildCreated, *, handle: bool) -> ChildLink:
        """Ask for child_created. Raises Evicted when nothing can be asked any more."""
        self.refuse_when_closed()
        ask = Ask(EventType.child_created, entity, pack(record), asking(2))
        link = ChildLink(self, ask, record, handle=handle)
        ask.owner = link
        self._ask(ask)
        return link

    def ask_to_cancel(self, ask: Ask, reason: str) -> Ask:
        """Ask for child_cancel_requested."""
        request = Ask(EventType.child_cancel_requested, ask.entity, pack(ChildCancelRequested(reason)), asking(3))
        self._outstanding.add(request)
        return request

    def is_created(self, ask: Ask) -> bool:
        """Whether the creation is in the log."""
        return ask.state is not State.asked

    def derived_run_id(self, entity: str) -> str:
        """The id of a run that this one asks for now."""
        return derived_run_id(self._now, self._secret, self._run_id, entity)

    def patched(self, patch: str, *, retired: bool) -> bool:
        """Whether the run takes part in a change of the code. Raises Evicted when nothing can be asked any more."""
        if self.refuse_when_closed():
            return False
        entity = PREFIX + patch
        if retired:
            self._patches.retire(entity)
            return True
        known = self._patches.known(entity)
        if known is not None:
            return known
        found = self._patches.answer(entity, self._outstanding)
        if found:
            self._outstanding.add(Ask(EventType.marker, entity, b"", asking(2)))
        return found

    def unfit(self, why: str) -> NoReturn:
        """End the live run: other code has to go on. Raises Evicted."""
        self._lack = self._lack or CodeUnfit(why)
        self._closed = EVICTING
        raise Evicted(why)

    def written_by(self, entity: str, attempt: int, own: bytes) -> bytes:
        """The fingerprint of the code that ran the attempt, or else asked for the entity, or else ``own``."""
        return self._writers.get((entity, attempt)) or self._writers.get((entity, 0), own)

    def mark(self, entity: str, payload: bytes) -> None:
        """Ask for a marker. Raises Evicted when nothing can be asked any more."""
        if not self.refuse_when_closed():
            self._outstanding.add(Ask(EventType.marker, entity, payload, asking(2)))

    def set_attributes(self, changes: Mapping[str, str | None]) -> None:
        """Ask for attributes_set. Raises BadAttribute if that would be too many, Evicted when nothing can be asked any
        more."""
        if self.refuse_when_closed():
            return
        news = {name: text for name, text in changes.items() if self._attributes.get(name) != text}
        after = attributes.changed(self._attributes, news)
        check_count(len(after))
        if news:
            self._attributes = after
            self._outstanding.add(
                Ask(EventType.attributes_set, self.new_id("attributes"), attributes.packed(news), asking(2))
            )

    def wait(self, timer: WorkflowTimer, due: int) -> None:
        """Ask for wait_created: the loop's timers come here."""
        name = name_of(timer._callback)  # pyright: ignore[reportPrivateUsage]
        ask = Ask(EventType.wait_created, self.new_id(name), PAYLOADS[name], asking(3), due)
        timer.ask = ask
        ask.owner = timer
        self._ask(ask)

    def withdraw(self, ask: Ask) -> None:
        """The code no longer wants it: without a trace if it is not in the log, else by its terminal decision."""
        if ask.state is State.asked:
            ask.dropped = True
            if ask.token is not None:
                self.unborn.add(ask.token)
            del self._open[ask.entity]
            ask.finish()
        elif ask.state is State.created and not self._evicting:
            ask.state = State.withdrawn
            ask.withdrawal = Ask(_WITHDRAWALS[ask.type], ask.entity, b"", asking(2))
            self._outstanding.add(ask.withdrawal)

    def asked_at(self, entity: str) -> str:
        """``file:line`` of the code that asks for it now; empty if it does not."""
        lines = [line_of(ask.code, ask.lasti) for ask in self._outstanding if ask.entity == entity]
        return lines[0] if lines else ""

    def refuse_when_closed(self) -> bool:
        """Raises Evicted when nothing can be asked any more, up to REFUSALS_MAX times; then answers True: what is asked
        for never comes and leaves no trace, but to ask does not raise, so that the code comes to rest. Raises
        RuntimeError to who asks while the loop is not driven: that is none of the run's own code.
        """
        if not self.loop.entered:
            raise self.loop.touched_from_outside()
        if not self._closed:
            return False
        self._refusals += 1
        if self._refusals <= REFUSALS_MAX:
            raise Evicted(self._closed)
        return True

    def unawaited(self, context: dict[str, Any], handler: Handler | None) -> None:
        """An error that nobody awaits: for the workflow's handler, else for the log. The handler is part of the code,
        so it is called in a replay too; the log has had its line by then. Eviction's own errors are no news.
        """
        error = context.get("exception")
        if self._evicting or isinstance(error, Evicted):
            return
        if handler is not None and self.loop.runs_here():
            error = call_handler(self.loop, handler, context)
            if error is None:
                return
            context = {"message": "Unhandled error in exception handler"}
        if self.muted or isinstance(error, (Evicted, asyncio.CancelledError)):
            return
        message = str(context.get("message") or "unhandled error in a workflow")
        note("unawaited_error", exc_info=error, run=self._run_id, workflow=self.workflow, message=message)

    def _ask(self, ask: Ask) -> None:
        if ask.entity in self._open:
            raise ValueError(f"entity {ask.entity} is open already: take its id from new_id")
        self._open[ask.entity] = ask
        self._outstanding.add(ask)
