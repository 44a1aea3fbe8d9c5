"""What the store promises, as types. ``postgres.py`` keeps the promise in production, ``memory.py`` is its executable
specification; one conformance suite and one differential test run both.

Errors: everything here may raise ``StoreTrouble`` (unreachable, throttled, timed out, a reply that cannot be
understood: retry later, the outcome may or may not have landed) and ``CorruptLog`` (a gap in a log: never retried).
Nothing else is raised for operating reasons; what a caller must decide on comes back as a value.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from fencepost_store.events import Event, Handover, NewEvent
from fencepost_store.outcomes import FactOutcome as FactOutcome
from fencepost_store.outcomes import FactVerdict as FactVerdict
from fencepost_store.outcomes import Outcome as Outcome
from fencepost_store.outcomes import Reason as Reason
from fencepost_store.parked import Parked as Parked
from fencepost_store.pruning import Pruning
from fencepost_store.streams import Streams
from fencepost_store.taken import Taken


class StoreTrouble(Exception):
    """The store could not be reached, refused for its own reasons, or answered what cannot be understood."""


class CorruptLog(Exception):
    """A run's log is not dense, or breaks the event table. Names run, seq and what was found."""


class RunStatus(enum.IntEnum):
    """``runs.status``. Everything from ``completed`` on is an end."""

    pending = 0  # created, no turn yet
    running = 1
    parked = 2  # waits for a worker with fitting code, see Run.parked
    completed = 10
    failed = 11
    cancelled = 12
    terminated = 13
    continued = 14  # ended, and another run goes on in its place

    @property
    def ended(self) -> bool:
        """True if nothing can follow in the log."""
        return self >= RunStatus.completed


class Run(msgspec.Struct, frozen=True):
    """One row of ``runs``. Instants are microseconds since the epoch, database clock. ``parent``: see ``lineage``.
    ``stamp``: that of the event at the fence."""

    run_id: str
    workflow: str
    queue: str
    status: RunStatus
    last_seq: int
    fence: int
    wake_at: int | None
    key: str | None
    parent: str | None
    parked: Parked | None
    created_at: int
    updated_at: int
    stamp: int = 0


class NewRun(msgspec.Struct, frozen=True):
    """A run to start. ``payload`` is that of its run_created event; ``grace`` (microseconds from now) its first
    deadline. ``attributes``: texts by name, for look-ups.

    ``start_at`` (an instant) or ``start_in`` (microseconds from now): its first turn comes no sooner, by the database
    clock. ``near``: how long before that the deadline is, if that is in the future, microseconds.

    ``reusable``: with a run in one of these states the key does not stay, but goes to this run.
    """

    run_id: str
    workflow: str
    queue: str
    payload: bytes
    grace: int
    key: str | None = None
    parent: str | None = None
    attributes: Mapping[str, str] = {}
    start_at: int | None = None
    start_in: int | None = None
    near: int = 0
    reusable: tuple[RunStatus, ...] = ()


class Started(msgspec.Struct, frozen=True):
    """``created`` is False if the key (or the run id) was there before: then ``run_id`` is the first run's and
    ``payload`` what that one was started with. ``starts_in``: microseconds until a run of this start may have its first
    turn.
    """

    run_id: str
    created: bool
    payload: bytes
    starts_in: int = 0


class Batch(msgspec.Struct, frozen=True):
    """What one writer wants appended to one run.

    With ``fence`` (the seq of the last visible event that the decisions were derived from, and ``stamp``, what that
    event carries; None: not compared): all or nothing, lands only if that is still the run's fence; ``wake_at`` is then
    set exactly, or only lowered if ``seen`` (the highest seq the writer has seen) is not the run's last_seq. Without
    (None): facts only, judged one by one, and with ``stamp`` only if the event at ``seen`` carries it; ``wake_at`` is
    ignored, the store lowers the deadline by the rules of section 4. ``grace``: microseconds, what "now + grace" means
    to this writer. ``successor``: of a batch that ends in run_continued, the run that goes on, started with it; it
    inherits ``hooks``, in this order.
    """

    run_id: str
    fence: int | None
    events: tuple[NewEvent, ...]
    seen: int = 0
    wake_at: int | None = None
    grace: int = 10_000_000
    successor: NewRun | None = None
    hooks: tuple[Handover, ...] = ()
    stamp: int | None = None


class Verdict(msgspec.Struct, frozen=True):
    """The answer to one batch. ``events``: what landed, in order (hook_conflict may stand in place of hook_created).
    ``last_seq`` and ``fence``: the run's after the call (conflict: what was found). ``facts``: one verdict per
    event of the batch, in order, for unfenced batches, and for fenced ones that were refused. ``status`` as after
    the call. ``now``: database clock, microseconds. ``stamp``: that of the event at ``fence``. A busy one says
    nothing of the run.
    """

    outcome: Outcome
    last_seq: int
    fence: int
    now: int
    status: RunStatus
    events: tuple[Event, ...] = ()
    facts: tuple[FactVerdict, ...] = ()
    stamp: int = 0


class Loaded(msgspec.Struct, frozen=True):
    """A run and its events above a seq, from one snapshot, with the database clock (microseconds). ``after``: that seq,
    or 0 if the log does not hold what the caller has seen."""

    run: Run
    events: tuple[Event, ...]
    now: int
    after: int = 0


class LiveHook(msgspec.Struct, frozen=True):
    """Who listens on a token."""

    token: str
    run_id: str
    entity: str
    queue: str


TRACED_HOOKS = 100
"""How many of a token's hooks that are gone, the newest first, a trace looks at. A token that is used in a loop has
many; nobody sends again what was accepted so many hooks ago."""


class TokenTrace(msgspec.Struct, frozen=True):
    """What became of a token. The hook is the one that listens on it, or else the newest that did (``live`` False).

    ``at``, ``payload`` and ``stamp`` are those of its hook_created (or hook_inherited); ``status`` and ``last_seq`` are
    its run's, ``received`` the bytes of all payloads that its hooks have received.
    ``taken_by``: the run that has taken the delivery in through one of the token's hooks, live or gone, if any;
    ``taken``: where it stands now, for it may have been handed on since.
    """

    token: str
    run_id: str
    entity: str
    workflow: str
    queue: str
    status: RunStatus
    at: int
    payload: bytes
    live: bool
    taken_by: str | None
    last_seq: int
    taken: Taken | None = None
    received: int = 0
    stamp: int = 0


class DueRun(msgspec.Struct, frozen=True):
    """A run that wants a tick."""

    run_id: str
    queue: str
    wake_at: int | None


class RunFilter(msgspec.Struct, frozen=True):
    """Which runs to list. Empty: all. ``attributes``: by name the texts of which a run must have one. ``parent``: the
    id of a run, whose children are wanted."""

    workflow: str | None = None
    statuses: tuple[RunStatus, ...] = ()
    queue: str | None = None
    attributes: Mapping[str, tuple[str, ...]] = {}
    parent: str | None = None


class RunDetails(msgspec.Struct, frozen=True):
    """What is shown with a run and does not stand in its row. ``starts_at``: the instant of a start that was put off
    and has not come yet."""

    attributes: Mapping[str, str] = {}
    starts_at: int | None = None


class Locked(Protocol):
    """A run whose row lock this transaction holds (the last resort after repeated conflicts)."""

    async def load(self, after_seq: int, stamp: int | None = None) -> Loaded:
        """As Store.load, inside the transaction."""
        ...

    async def append(self, batch: Batch) -> Verdict:
        """As Store.append with one batch, inside the transaction. Commits when the context is left without an
        exception.
        """
        ...

    async def move(self, queue: str) -> None:
        """The run's turns are done in another queue from the commit on. Behind an append of the same transaction."""
        ...


class Store(Streams, Pruning, Protocol):
    """The truth about all runs of one namespace; their streams: ``streams.py``; their going: ``pruning.py``."""

    @property
    def epoch(self) -> int:
        """Grows when its connections lead to another server than before, or to one that was started again."""
        ...

    async def start(self, run: NewRun) -> Started:
        """run_created (seq 1) and the first deadline in one transaction. The key is unique per workflow while its run
        is kept.
        """
        ...

    async def append(self, batches: Sequence[Batch], *, wait: bool = True) -> list[Verdict]:
        """The one way into a log (section 4). At most one batch per run. One round trip, one commit, locks in run id
        order. A call with one run waits for its row for a while, or, if it is not to ``wait``, only as long as another
        append takes; then it is busy.
        """
        ...

    async def load(self, run_id: str, after_seq: int = 0, stamp: int | None = None) -> Loaded | None:
        """The run and its events above after_seq, density asserted (CorruptLog); None if there is no such run. From the
        beginning, if the event at after_seq is not there or does not carry ``stamp`` (None: not compared).
        """
        ...

    async def load_entity(self, run_id: str, entity: str) -> Loaded | None:
        """The run and one entity's events that have an ordinal, by index: an executor's look-up of one step costs the
        same in a log of 100,000. Retries come without their payloads.
        """
        ...

    async def beat(self, run_id: str, entity: str, attempt: int, details: bytes, stamp: int | None = None) -> bool:
        """Keep the details of a step's attempt for the next one. False, and nothing kept: the log does not have the
        attempt's start (with ``stamp``, None: not compared), or has a later one, or the step or run has ended. Locks no
        run.
        """
        ...

    async def last_beat(self, run_id: str, entity: str) -> bytes | None:
        """The details that a step's attempts left last, whichever of them it was."""
        ...

    async def forget_beat(self, run_id: str, entity: str) -> None:
        """The step has ended. Does nothing while it and its run are open. Idempotent."""
        ...

    async def touch(self, run_id: str, fence: int, seen: int, wake_at: int | None, stamp: int | None = None) -> Verdict:
        """Set the deadline and append nothing, under the same lock and fence as an append (ok or conflict). Works on
        ended runs. Un-parks nothing.
        """
        ...

    async def park(self, run_id: str, fence: int, parked: Parked, stamp: int | None = None) -> Verdict:
        """Park the run, fenced as a turn is. Clears the deadline; a later append of a visible event or take_parked
        makes it running again.
        """
        ...

    def locked(self, run_id: str, budget_seconds: float) -> AbstractAsyncContextManager[Locked]:
        """One transaction on a connection of its own that holds the run's row lock, ended by the server (StoreTrouble)
        after the budget.
        """
        ...

    async def find_hook(self, token: str) -> LiveHook | None:
        """Who listens on the token, if anybody."""
        ...

    async def trace_token(self, token: str, delivery: str | None = None) -> TokenTrace | None:
        """What became of the token and of a delivery through it, from one snapshot; None if no log names it.

        Hooks that are gone count by the time of their creation, at most TRACED_HOOKS of them.
        """
        ...

    async def get(self, run_id: str) -> Run | None:
        """The run's row."""
        ...

    async def find_key(self, workflow: str, key: str) -> Run | None:
        """The run that holds a start key."""
        ...

    async def newest_child(self, parent: str) -> Run | None:
        """The newest run of exactly this parent (``lineage.parent_text``): a child that was continued is several."""
        ...

    async def list_runs(self, where: RunFilter, limit: int, before: str | None = None) -> list[Run]:
        """Newest first, by run id keyset: pass the last run_id of a page as ``before``."""
        ...

    async def details(self, run_ids: Sequence[str]) -> dict[str, RunDetails]:
        """Attributes and starts, by run id; without the runs that are not there."""
        ...

    async def take_due(self, limit: int, next_in: int) -> list[DueRun]:
        """Runs whose wake_at has passed, SKIP LOCKED, each pushed to now + next_in (microseconds) in the same
        transaction.
        """
        ...

    async def scan_deadlines(self, after_run_id: str | None, limit: int) -> list[DueRun]:
        """Every run that has a deadline, due or not, by run id (the full reconcile after a loss of Redis)."""
        ...

    async def take_parked(self, build: str, limit: int) -> list[DueRun]:
        """Parked runs that another build parked: each gets a deadline now, so that a tick of this build takes it up;
        stays parked until it lands an event or parks again.
        """
        ...

    async def now(self) -> int:
        """The database clock, microseconds since the epoch."""
        ...

    async def writable(self) -> None:
        """Raises StoreTrouble unless the server answers and takes writes."""
        ...

    async def close(self) -> None:
        """Give back the connections. Idempotent."""
        ...
