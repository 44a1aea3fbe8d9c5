"""The two faces of a live run: the one that the engine drives and the one that authoring code calls.

``instance.py`` implements both; its parts are ``core.py``, ``facts.py`` and ``decisions.py``. Pure: no IO, no wall
clock, no randomness but what is derived from the run id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator, Mapping, Sequence
from types import CodeType
from typing import Any, NoReturn, Protocol

from fencepost.records import ChildCreated
from fencepost.replay.fold import OpenWork
from fencepost_store.events import Event, NewEvent


class Program(Protocol):
    """A workflow's code, as the loop needs it."""

    @property
    def name(self) -> str:
        """The workflow's registered name."""
        ...

    @property
    def timeout(self) -> float | None:
        """Seconds that the code gives the whole run, for whoever has started it without a word on that."""
        ...

    @property
    def queue(self) -> str | None:
        """Where the code wants its turns to be done; None: anywhere."""
        ...

    def completed(self, data: bytes) -> bytes:
        """An input with the code's defaults for the arguments that it leaves out. Raises nothing."""
        ...

    def run(self, created: bytes) -> Coroutine[Any, Any, bytes]:
        """The root coroutine for a run_created payload: decodes the input, runs the code, encodes the result (the
        run_completed payload).
        """
        ...

    def failure(self, error: BaseException) -> bytes:
        """The run_failed payload for an exception that left the code."""
        ...


class ReplayDivergence(Exception):
    """The log and the code disagree on which entity, kind or name comes next.

    ``seq``: the event at which it showed. ``recorded``, ``asked``: both sides in words. ``source``: ``file:line`` of
    the code that asked, or where it waits.
    """

    def __init__(self, seq: int, recorded: str, asked: str, source: str) -> None:
        super().__init__(
            f"the log and the code disagree at seq {seq}: the log has {recorded}, the code asks for {asked} ({source})"
        )
        self.seq = seq
        self.recorded = recorded
        self.asked = asked
        self.source = source


NOTHING_OPEN = "nothing open: no step, time, signal or child"
IN_VAIN = "nothing, and waits for what nobody can set: a future, an event or a lock outside the log"
"""What a run is parked with whose code waits in vain: the two sides of its ReplayDivergence."""


class Driven(Protocol):
    """What the engine does with a live instance. Nothing here blocks but the user's own code, which the caller bounds
    (replay budget).
    """

    work: OpenWork
    """The fold of what was delivered from the log (anticipated events are not in it until they have landed)."""

    def deliver(self, events: Sequence[Event]) -> None:
        """Events of the log, in seq order, each to quiescence. One that was anticipated is not delivered twice. All
        that are known at once: ``patched`` looks ahead. Raises ReplayDivergence. Enters the loop once.
        """
        ...

    def anticipate(self, event: NewEvent) -> None:
        """Deliver a fact (step_completed, step_failed) that is not in the log yet; ``event.at`` is set. It leads what
        ``pending`` returns.
        """
        ...

    def fire_due(self, now: int) -> None:
        """Anticipate wait_completed (at=now) for each wait of the log that is due and still awaited, by due time, each
        to quiescence.
        """
        ...

    def pending(self) -> tuple[NewEvent, ...]:
        """What an append must carry now: anticipated events in order of delivery, then what the code asks for or no
        longer wants, in the order asked, then the run's end. Empty
        if the code only waits. Calling it changes nothing."""
        ...

    def evict(self) -> None:
        """End the instance by cancellation under the evicting flag; nothing leaves the loop. The instance cannot be
        used afterwards. Idempotent.
        """
        ...


class HookChannel(Protocol):
    """A hook inside the workflow. Payloads are buffered in log order; each goes to one awaiter; a cancelled awaiter
    swallows none.
    """

    def next(self) -> asyncio.Future[Event]:
        """The next hook_received event. If the token is held by another run, the future resolves to the hook_conflict
        event.
        """
        ...

    def settled(self) -> asyncio.Future[Event | None]:
        """None once the creation is in the log, the hook_conflict event if that landed in its place."""
        ...

    def close(self) -> None:
        """Dispose: asks for hook_disposed (or withdraws the creation). Idempotent."""
        ...


class ChildLink(Protocol):
    """A child run inside the workflow."""

    @property
    def run_id(self) -> str:
        """The child's run id."""
        ...

    def called(self) -> ChildCall:
        """The terminal event, child_completed or child_failed. Cancelling the future asks the child to cancel, and it
        resolves all the same when the child has ended; or gives the child up, if it is to be abandoned or is not in
        the log.
        """
        ...

    def end(self) -> asyncio.Future[Event]:
        """The same event. Cancelling this future leaves the child alone."""
        ...

    def cancel(self, reason: str) -> None:
        """Ask the child to cancel. Idempotent."""
        ...


class ChildCall(Protocol):
    """A future of the workflow loop. ``gave_up``: it was cancelled, and waits for the child to end."""

    @property
    def gave_up(self) -> bool:
        """See the class."""
        ...

    def __await__(self) -> Generator[Any, None, Event]:
        """The terminal event."""
        ...


class Asking(Protocol):
    """What authoring code asks of the live instance, from inside workflow code. All calls are synchronous and return
    futures of the workflow loop.
    """

    @property
    def run_id(self) -> str:
        """The run's id."""
        ...

    @property
    def workflow(self) -> str:
        """The workflow's registered name."""
        ...

    @property
    def muted(self) -> bool:
        """True while log lines of the workflow's code would be repetitions or noise."""
        ...

    @property
    def attributes(self) -> Mapping[str, str]:
        """What the run says of itself now, as the store keeps it."""
        ...

    @property
    def evicting(self) -> bool:
        """True while the instance is being thrown away: nothing asked for counts, loggers are mute."""
        ...

    def time(self) -> int:
        """Workflow time: ``at`` of the last delivered event, microseconds since the epoch, never going back."""
        ...

    def alarm(self, due: int) -> tuple[asyncio.Future[None], asyncio.TimerHandle]:
        """A future that resolves at an instant of the database clock (microseconds), and the timer behind it."""
        ...

    def new_id(self, name: str) -> str:
        """The next entity id for ``name`` in the running task: task path, name, counter within that pair, such as
        ``charge#1`` or ``ship_parcel#2/charge#1``.
        """
        ...

    def step(
        self, entity: str, payload: bytes, source: tuple[CodeType | None, int] | None = None
    ) -> asyncio.Future[Event]:
        """Ask for step_created, from ``source``, an instruction of the user's (None: who calls this). Resolves to its
        step_completed or step_failed event. Cancelling the future withdraws the step (step_cancelled if it is in the
        log).
        """
        ...

    def hook(self, entity: str, token: str, payload: bytes) -> HookChannel:
        """Ask for hook_created."""
        ...

    def child(self, entity: str, record: ChildCreated, *, handle: bool) -> ChildLink:
        """Ask for child_created. ``handle``: a child that is to be abandoned is created also if the code returns at
        once.
        """
        ...

    def derived_run_id(self, entity: str) -> str:
        """The id of a run that this one asks for now under that name: the same in every replay."""
        ...

    def patched(self, patch: str, *, retired: bool) -> bool:
        """Whether the run takes part in a change of the code; may ask for its marker. ``retired``: without asking."""
        ...

    def mark(self, entity: str, payload: bytes) -> None:
        """Ask for a marker that nobody awaits."""
        ...

    def set_attributes(self, changes: Mapping[str, str | None]) -> None:
        """Ask for attributes_set with what these change; nothing is asked if they change nothing."""
        ...

    def unfit(self, why: str) -> NoReturn:
        """What the log holds was written by other code, and this code cannot read it: the live run ends here, whatever
        the workflow's code makes of it, and another worker goes on. Raises Evicted.
        """
        ...

    def written_by(self, entity: str, attempt: int, own: bytes) -> bytes:
        """The fingerprint of the code that wrote the result of a step's attempt; with attempt 0, of the code that asked
        for the entity. ``own``: the answer where the log says nothing else.
        """
        ...

    def seed(self, entity: str) -> bytes:
        """32 bytes that depend on run id and entity id only: what random() and uuid4() are made of."""
        ...

    def secret(self, entity: str) -> bytes:
        """32 bytes that also depend on the secret that the client drew for the run and recorded in run_created, so that
        nobody without the log can compute them. Of a run without one they depend on the ids only."""
        ...


def current() -> Asking | None:
    """The live instance whose loop is running in this thread, if any."""
    loop = asyncio._get_running_loop()
    instance: Asking | None = getattr(loop, "fencepost_instance", None)
    return instance
