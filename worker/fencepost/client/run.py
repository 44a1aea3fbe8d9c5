"""A run as a producer sees it: its state, its events, its result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import UnionType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import msgspec

from fencepost import errors, payload, payload_codecs
from fencepost.attributes import AttributeValue, values_of
from fencepost.authoring.stream_reader import StreamReader
from fencepost.client import stopping
from fencepost.client.chain import successor
from fencepost.client.starting import given
from fencepost.client.ticks import send_tick
from fencepost.client.trouble import public_errors
from fencepost.durations import Duration, seconds_of
from fencepost.failure import exception_of, told
from fencepost.records import RunFailed, RunStopped, unpack
from fencepost.signal_checks import check_start
from fencepost.streaming import StreamSource
from fencepost.telemetry import note
from fencepost_queue.protocol import Entry, QueueTrouble, tick_key
from fencepost_store.events import KINDS, Event, EventType
from fencepost_store.lineage import parent_of
from fencepost_store.protocol import CorruptLog, Parked, RunDetails, RunStatus, StoreTrouble
from fencepost_store.protocol import Run as Row
from fencepost_store.streams import StreamInfo

if TYPE_CHECKING:
    from fencepost.client.client import Connected

R = TypeVar("R")
T = TypeVar("T")

POLL_SECONDS = 2.0
"""The bound behind the push: a hint may be lost, the row in Postgres is not."""

HINT_CHARS_MAX = 9
"""Of a hint that is a seq; what is longer is not one of ours."""


class RunInfo(msgspec.Struct, frozen=True):
    """A run's row. ``status``: pending, running, parked, completed, failed, cancelled, terminated, continued (another
    run goes on for it). ``wake_at``: by when the reconciler looks at it (None: it waits for signals only, or has
    ended). ``parent``: of a child the id of the run that started it, ``parent_entity`` the child's id in that log.
    ``attributes``: what the run says of itself, see ``set_attributes``. ``starts_at``: when it may begin, if that is
    still to come."""

    id: str
    workflow: str
    queue: str
    status: str
    events: int
    key: str | None
    parent: str | None
    parent_entity: str | None
    created_at: datetime
    updated_at: datetime
    wake_at: datetime | None
    parked: Parked | None
    attributes: Mapping[str, AttributeValue] = {}
    starts_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """True if the run will not change any more."""
        return self.status not in ("pending", "running", "parked")


def info_of(row: Row, details: RunDetails | None) -> RunInfo:
    """The public form of a row. ``details``: None for a run that has been pruned since."""
    details = details or RunDetails()
    parent = None if row.parent is None else parent_of(row.parent)
    return RunInfo(
        id=row.run_id,
        workflow=row.workflow,
        queue=row.queue,
        status=row.status.name,
        events=row.last_seq,
        key=row.key,
        parent=None if parent is None else parent.run_id,
        parent_entity=None if parent is None else parent.entity,
        created_at=instant(row.created_at),
        updated_at=instant(row.updated_at),
        wake_at=None if row.wake_at is None else instant(row.wake_at),
        parked=row.parked,
        attributes=values_of(details.attributes),
        starts_at=None if details.starts_at is None else instant(details.starts_at),
    )


def instant(microseconds: int) -> datetime:
    """Microseconds since the epoch as an aware datetime, exact."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


class Run(Generic[R]):
    """A handle on one run. ``id``: its id. ``created``: False if ``start`` found a run of the same key. ``fresh``: it
    was started a moment ago and will hardly have ended, so the first look at it can wait for the subscription.
    """

    def __init__(
        self,
        connected: Connected,
        run_id: str,
        decode: Callable[[bytes], R],
        *,
        created: bool = True,
        fresh: bool = False,
    ) -> None:
        self.id = run_id
        self.created = created
        self._connected = connected
        self._decode = decode
        self._fresh = fresh
        self._newest = run_id  # of the chain, as far as it is known

    def __repr__(self) -> str:
        return f"<run {self.id}>"

    async def status(self) -> RunInfo:
        """The run's row now. Raises RunNotFound, ServerUnavailable."""
        row = await self._row()
        with public_errors():
            details = await self._connected.store.details([self.id])
        return info_of(row, details.get(row.run_id))

    async def result(self, timeout: Duration | None = None) -> R:  # noqa: ASYNC109 - part of the public face, as in Future APIs
        """The workflow's return value; waits for it, at most ``timeout`` (seconds, a timedelta or ``"30s"``). Pushed by
        the worker that ends the run, with a poll behind it. Of a run that continues as new it is the result of the last
        of the chain.

        Raises RunFailed (the workflow's exception is its cause), RunCancelled, RunNotFound, ResultTimeout,
        ServerUnavailable.
        """
        seconds = None if timeout is None else given(lambda: seconds_of(timeout, "timeout"))
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                event = await self._end()
                while event.type is EventType.run_continued:
                    await self._follow()
                    event = await self._end()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise errors.ResultTimeout(self.id, f"within {seconds:g} s{await self._state()}") from error
        return self._outcome(event)

    async def _state(self) -> str:
        """Where a run stands that has not ended, and the way out, for a message; empty if Postgres does not say."""
        try:
            async with asyncio.timeout(POLL_SECONDS):
                row = await self._connected.store.get(self._newest)
        except (StoreTrouble, TimeoutError):
            return ""
        if row is None or row.status.ended:
            return ""
        return f"; it is {row.status.name}{standing(row)}: fencepost runs why {row.run_id}"

    async def committed(self) -> None:
        """The transaction that the run was started in (``start(connection=...)``) is committed: tell the workers now,
        instead of letting them look. Harmless at any time. Raises RunNotFound if it is not committed,
        ServerUnavailable for Postgres; if Redis cannot be told, the workers find out by themselves.
        """
        row = await self._row()
        try:
            await send_tick(self._connected.queue, Entry(queue=row.queue, key=tick_key(self.id)))
        except QueueTrouble as trouble:
            note("hint_failed", channel=tick_key(self.id), error=str(trouble))

    async def cancel(self, reason: str = "", *, grace: Duration | None = None, id: str | None = None) -> None:
        """Ask the run to end: its code gets a CancelledError where it waits, and may clean up with steps, sleeps and
        runs as anywhere else. If the error leaves the code, the run is cancelled; code that catches it and returns
        completes. Asking again raises it again. If the run has continued as new, the run that goes on is asked.

        ``grace``: seconds after which the run is terminated if it has not ended; kept in the log, so it holds across
        restarts. A later request may shorten it. ``id``: the same id is accepted once. When this returns, the request
        is in the log. Raises RunNotFound, RunEnded, ArgumentError, ServerUnavailable.
        """
        await stopping.cancel(self._connected, self._newest, reason, grace, id)

    async def terminate(self, reason: str = "") -> None:
        """End the run now, without asking its code: nothing of it is cleaned up, what its steps have under way is
        stopped. When this returns, the run has ended. Raises RunNotFound, RunEnded, ArgumentError, ServerUnavailable.
        """
        await stopping.terminate(self._connected, self._newest, reason)

    async def events(self, after: int = 0) -> AsyncGenerator[Event]:
        """The run's events above seq ``after``, as they are in the log now. Raises RunNotFound, ServerUnavailable."""
        with public_errors():
            loaded = await self._connected.store.load(self.id, after)
        if loaded is None:
            raise errors.RunNotFound(self.id)
        for event in loaded.events:
            yield event

    @overload
    def stream(self, name: str, as_type: type[T], *, start: int = ...) -> StreamReader[T]: ...
    @overload
    def stream(self, name: str, as_type: UnionType, *, start: int = ...) -> StreamReader[Any]: ...
    @overload
    def stream(self, name: str, *, start: int = ...) -> StreamReader[Any]: ...
    def stream(self, name: str, as_type: Any = Any, *, start: int = 0) -> StreamReader[Any]:
        """Read a stream of the run: ``async for chunk in run.stream("labels", Label)``, from the first chunk, from
        index ``start``, or with a negative one from the tail. What is there comes at once, what is to come is pushed,
        with a poll behind it; it ends when the stream is closed, or the run has ended. The first chunk does not wait
        for the run. Sends nothing yet; raises PayloadError for a type that cannot be decoded, BadSignal for an index
        out of bounds.
        """
        check_start(start)
        payload.codec_of(as_type, f"stream {name!r}")
        connected = self._connected
        source = StreamSource(connected.store, connected.queue, self.id, name)
        return StreamReader(source, name, as_type, start, codecs=connected.codecs)

    async def streams(self) -> list[StreamInfo]:
        """The streams that the run has now, by name. Raises RunNotFound, ServerUnavailable."""
        await self._row()
        with public_errors():
            return await self._connected.store.list_streams(self.id)

    async def _row(self, run_id: str | None = None) -> Row:
        run_id = run_id or self.id
        with public_errors():
            row = await self._connected.store.get(run_id)
        if row is None:
            raise errors.RunNotFound(run_id)
        return row

    async def _follow(self) -> None:
        """Go on with the successor of the newest run that is known."""
        row = await self._row(self._newest)
        with public_errors():
            self._newest = await successor(self._connected, row) or self._newest

    async def _end(self) -> Event:
        """The terminal event of the newest run that is known, as it stands in Postgres. A hint only says where to
        look."""
        if not self._fresh:
            row = await self._row(self._newest)
            if row.status.ended:
                return await self._event(row.last_seq)
        self._fresh = False
        with public_errors():
            async with self._connected.queue.subscribe(f"ended:{self._newest}") as hints:
                while True:
                    row = await self._row(self._newest)
                    if row.status.ended:
                        return await self._event(row.last_seq)
                    hint = await hints.next(POLL_SECONDS)
                    hinted = await self._hinted(hint) if hint is not None else None
                    if hinted is not None:
                        return hinted

    async def _event(self, seq: int) -> Event:
        with public_errors():
            loaded = await self._connected.store.load(self._newest, seq - 1)
        if loaded is None or not loaded.events:
            raise errors.RunNotFound(self._newest)
        return loaded.events[-1]

    async def _hinted(self, hint: bytes) -> Event | None:
        """The event that a hint points to, if it is the run's end."""
        if not hint.isdigit() or len(hint) > HINT_CHARS_MAX:
            return None
        try:
            event = await self._event(max(1, int(hint)))
        except CorruptLog:  # the hint points behind the log's end
            return None
        return event if KINDS[event.type].ends_run else None

    def _outcome(self, event: Event) -> R:
        if event.type is EventType.run_completed:
            with payload_codecs.using(self._connected.codecs):
                return self._decode(event.payload)
        if event.type is EventType.run_failed:
            with payload_codecs.using(self._connected.codecs):
                failure = told(unpack(event.payload, RunFailed).error)
                cause: Any = exception_of(failure)
            raise errors.RunFailed(
                self._newest, failure.message, code=failure.code, type=failure.type, traceback=failure.traceback
            ) from cause
        raise errors.RunCancelled(self._newest, _reason_of(event), terminated=event.type is EventType.run_terminated)


def standing(row: Row) -> str:
    """What a run that has not ended needs, as far as its row says it."""
    if row.status is RunStatus.parked and row.parked is not None:
        parked = row.parked
        at = f" ({parked.source})" if parked.source else ""
        return (
            f", for at seq {parked.seq} its log has {parked.recorded}, and the code of build {parked.build!r} asks for"
            f" {parked.asked}{at}; a worker with code that fits, of another build, takes it up by itself"
        )
    if row.status is RunStatus.pending:
        return (
            f", for no worker has begun it: one that serves queue {row.queue!r} and has the workflow {row.workflow!r}"
            " does, unless its start is put off"
        )
    return f" on queue {row.queue!r}; what it waits for"


def _reason_of(event: Event) -> str:
    """Of a run_cancelled or run_terminated; empty if none was given."""
    return unpack(event.payload, RunStopped).reason if event.payload else ""
