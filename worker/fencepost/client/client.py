"""The producer's face: ``async with Client() as client``."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, TypeVarTuple, cast, overload

import uuid_utils
from msgspec.structs import replace

from fencepost import errors, payload, payload_codecs
from fencepost.attributes import AttributeValue, given_at_start
from fencepost.authoring.workflow import Workflow
from fencepost.client import joined
from fencepost.client.joined import TICK_DELAY_MS
from fencepost.client.pruning import pruned
from fencepost.client.replies import Reply
from fencepost.client.replies import wait as replied
from fencepost.client.run import Run, RunInfo, info_of
from fencepost.client.signals import Delivered, HookInfo, deliver_patiently, look
from fencepost.client.starting import Asked, KeyReuse, check_page, checked_key, named_workflow, prepared, same_input
from fencepost.client.ticks import send_tick
from fencepost.client.trouble import public_errors
from fencepost.config import Config, load_config
from fencepost.connections import open_queue, open_store, with_servers
from fencepost.durations import Duration
from fencepost.log import Limits, RunLog
from fencepost.payload_keys import codecs_of
from fencepost.pruning import Pruned
from fencepost.records import TIMEOUT, RunCreated, unpack
from fencepost.signal_checks import WAIT_SECONDS_MAX, check_text, seconds_of
from fencepost.telemetry import note
from fencepost_queue.protocol import Entry, Queue, QueueTrouble, tick_key
from fencepost_store.coalescer import append_alone
from fencepost_store.protocol import (
    Batch,
    RunFilter,
    RunStatus,
    Started,
    Store,
    Verdict,
)

if TYPE_CHECKING:
    from fencepost_store.postgres import PostgresStore


def _compared(created: RunCreated, left: bool) -> RunCreated:
    """What is compared of two starts beside their arguments: neither chance nor which version of the code asked.
    ``left``: one of the two leaves the timeout to the code.
    """
    timeout = None if left else created.timeout
    return replace(created, input=b"", secret="", fingerprint=b"", open=(), timeout=timeout, build="")


P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class Connected:
    """A client's connections."""

    store: Store
    queue: Queue
    log: RunLog
    config: Config
    codecs: payload_codecs.Codecs = payload_codecs.NONE


class Client:
    """Starts runs, sends signals, reads results.

    ``Client()`` takes its servers from the arguments, FENCEPOST_DATABASE_URL and FENCEPOST_REDIS_URL, a
    fencepost.toml, or the dev servers that run in this
    folder (never when FENCEPOST_ENV is production). Use it as an async context manager. Every call may raise
    ServerUnavailable.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        database_url: str | None = None,
        redis_url: str | None = None,
        namespace: str | None = None,
        config_file: Path | None = None,
    ) -> None:
        self._given = config
        self._config_file = config_file
        self._overrides = {"database_url": database_url, "redis_url": redis_url, "namespace": namespace}
        self._connected: Connected | None = None
        self._identity: joined.Identity | None = None

    async def __aenter__(self) -> Client:
        config = self._given or load_config(self._config_file, os.environ, **self._overrides)
        config = with_servers(config)
        codecs = codecs_of(config)
        with public_errors():
            store = await open_store(config)
            try:
                queue = await open_queue(config)
            except BaseException:
                await store.close()
                raise

        async def append(batch: Batch) -> Verdict:
            return await append_alone(store, batch)

        events, entities, backlog = config.events_max, config.open_entities_max, config.hook_backlog_max
        limits = Limits(config.payload_bytes_max, events, entities, backlog, config.log_bytes_max)
        self._connected = Connected(store, queue, RunLog(store, append, limits), config, codecs)
        return self

    async def __aexit__(self, *exc: object) -> None:
        connected, self._connected = self._connected, None
        if connected is not None:
            await connected.queue.close()
            await connected.store.close()

    @property
    def config(self) -> Config:
        """What the client runs with; ``servers_source`` says where its servers came from."""
        return self._open.config

    @property
    def _open(self) -> Connected:
        if self._connected is None:
            raise RuntimeError("the client is not open: use it as `async with Client() as client:`")
        return self._connected

    @overload
    async def start(self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...
    @overload
    async def start(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
        /,
        *args: *Ts,
        key: str | None = ...,
        queue: str | None = ...,
        strict: bool = ...,
        key_reuse: KeyReuse = ...,
        connection: Any = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        delay: Duration | None = ...,
        start_at: datetime | None = ...,
    ) -> Run[R]: ...
    @overload
    async def start(
        self,
        workflow: str,
        /,
        *args: Any,
        key: str | None = ...,
        queue: str | None = ...,
        strict: bool = ...,
        key_reuse: KeyReuse = ...,
        connection: Any = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        delay: Duration | None = ...,
        start_at: datetime | None = ...,
        **kwargs: Any,
    ) -> Run[Any]: ...
    async def start(  # type: ignore[misc] # mypy does not see that *args: Any takes *Ts
        self, workflow: Any, /, *args: Any, **kwargs: Any
    ) -> Run[Any]:
        """Start a run: of a workflow, or by name without its code.

        ``connection``: an asyncpg connection in a transaction of yours, to the client's own database: the run is there
        when you commit, and never was if you roll back. Workers look for it by themselves; ``await run.committed()``
        after the commit spares them the wait. Its errors come out as asyncpg raises them.

        ``key``: one run per workflow and key while it is kept; a second start returns the first run (``run.created``
        is False, ``await run.status()`` says how it stands), or raises StartConflict with ``strict`` if its arguments
        differ. ``key_reuse``: the key is free again when its run has ended otherwise than completed (``failed``), or in
        any way (``ended``); by default ``never``, while the run is kept. A run that has continued as new has not ended.
        ``queue``: where its turns are done. ``attributes``: what the run is
        looked up by, see ``set_attributes``. ``delay`` (seconds, a timedelta or ``"2h"``) or ``start_at`` (an aware
        datetime): its first turn comes no sooner, by Postgres' clock. A workflow's own parameters of these names are
        passed by position.

        When this returns, the run is in Postgres; if Redis cannot be told, the reconciler finds it. Raises
        ArgumentError, BadAttribute, PayloadError, PayloadTooLarge, StartConflict, WrongDatabase before anything is
        written.
        """
        connection: Any = kwargs.pop("connection", None)
        connected = self._open
        if connection is None:
            asked = prepared(connected, workflow, args, kwargs)
            with public_errors():
                started = await connected.log.start(asked.run)
        else:
            statement, identity, asked = await self.prepare_joined(workflow, args, kwargs)
            started = await joined.start_on(connection, statement, identity, asked.run)
        return await self.begun(asked, started, joined=connection is not None)

    async def prepare_joined(
        self, workflow: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[str, joined.Identity, Asked]:
        """For whoever starts a run on a connection of the caller's: the statement, what the connection must answer, and
        the run. Raises ArgumentError, PayloadError, PayloadTooLarge.
        """
        connected = self._open
        asked = prepared(connected, workflow, args, kwargs)
        joined.admit(connected.log, asked.run)
        store = cast("PostgresStore", connected.store)
        if self._identity is None:
            with public_errors():
                self._identity = await store.identity()
        return store.joined_start(), self._identity, asked

    async def begun(self, asked: Asked, started: Started, *, joined: bool) -> Run[Any]:
        """The run that stands in Postgres, or will when the caller commits: tell the workers. Raises StartConflict."""
        connected, run = self._open, asked.run
        self._refuse_other_arguments(started, asked)
        if started.created and started.starts_in <= run.near:  # a start that is further off costs Redis nothing
            delay_ms = -(-started.starts_in // 1000)
            await self._tick(run.run_id, run.queue, max(delay_ms, TICK_DELAY_MS) if joined else delay_ms)
        return Run(connected, started.run_id, asked.decode, created=started.created, fresh=started.created)

    def _refuse_other_arguments(self, started: Started, asked: Asked) -> None:
        if not asked.strict or started.created:
            return
        run = asked.run
        first, second = unpack(started.payload, RunCreated), unpack(run.payload, RunCreated)
        with payload_codecs.using(self._open.codecs):
            same = same_input(asked.arguments, first.input, second.input)
        left = TIMEOUT in first.open or TIMEOUT in second.open
        if not same or _compared(first, left) != _compared(second, left):
            raise errors.StartConflict(run.workflow, run.key or "", started.run_id)

    @overload
    def run(self, run_id: str) -> Run[Any]: ...
    @overload
    def run(self, run_id: str, workflow: Workflow[..., R]) -> Run[R]: ...
    def run(self, run_id: str, workflow: Workflow[..., Any] | None = None) -> Run[Any]:
        """A handle on a run that was started elsewhere; with its workflow, results are typed. Sends nothing."""
        decode: Callable[[bytes], Any] = payload.decode if workflow is None else workflow.decode_result
        return Run(self._open, run_id, decode)

    @overload
    async def find(self, workflow: Workflow[..., R], key: str) -> Run[R] | None: ...
    @overload
    async def find(self, workflow: str, key: str) -> Run[Any] | None: ...
    async def find(self, workflow: Workflow[..., Any] | str, key: str) -> Run[Any] | None:
        """The run of the workflow, or of its name, that holds the start key; None if there is none. Raises
        ArgumentError.
        """
        name, decode = named_workflow(workflow)
        with public_errors():
            row = await self._open.store.find_key(name, checked_key(key))
        return None if row is None else Run(self._open, row.run_id, decode)

    async def resume(
        self,
        token: str,
        value: object = None,
        *,
        id: str | None = None,
        http: bool = False,
        wait: Duration | None = None,
    ) -> str:
        """Send a payload to whoever listens on the hook ``token``; returns the run's id.

        ``id``: the sender's delivery id; the same id is accepted once, however often it is sent, and is answered as the
        first time also when the hook has gone since. ``http``: only to a hook that was declared so, for endpoints that
        pass on what anybody sends. When this returns, the signal is in the log.

        ``wait``: if nobody listens, look again for so long (seconds or a timedelta, a day at most), for a hook that is
        about to open. Nothing is kept meanwhile: who dies while it waits has sent nothing.

        Raises HookNotFound if nobody listens, as HookDisposed or HookRunEnded if somebody did; HookFull if its run can
        take nothing more; PayloadError, PayloadTooLarge.
        """
        delivered, _ = await self._deliver(token, value, id, http, wait)
        return delivered.run_id

    async def ask(
        self,
        token: str,
        value: object = None,
        *,
        id: str | None = None,
        http: bool = False,
        wait: Duration | None = None,
    ) -> Reply:
        """As ``resume``, and wait for what the workflow answers with ``Hook.respond``, as long as its hook says. The
        same id gets the same answer, however often it is sent. Ends at once if the run ends without an answer: the
        reply's ``ended`` says how. Raises as ``resume`` does.
        """
        delivered, delivery = await self._deliver(token, value, id, http, wait)
        if delivered.respond is None:
            return Reply(delivered.run_id, False)
        with public_errors():
            return await replied(self._open, token, delivery, delivered)

    async def _deliver(
        self, token: str, value: object, id: str | None, http: bool, wait: Duration | None
    ) -> tuple[Delivered, str]:
        connected = self._open
        check_text("token", token)
        if id is not None:
            check_text("id", id)
        patience = (
            0.0 if wait is None else seconds_of("wait", wait, WAIT_SECONDS_MAX, "keep the signal yourself for longer")
        )
        with payload_codecs.using(connected.codecs):
            data = payload.encode(value, path=f"payload for {token}", limit=connected.config.payload_bytes_max)
        delivery = str(uuid_utils.uuid7()) if id is None else id
        with public_errors():
            delivered = await deliver_patiently(connected, token, data, delivery, http=http, patience=patience)
        if delivered.queue is not None:
            await self._tick(delivered.taken.run_id, delivered.queue)
        return delivered, delivery

    async def hook(self, token: str) -> HookInfo:
        """The open hook of a token: its run, its payload's type, its metadata. Raises HookNotFound, HookDisposed,
        HookRunEnded.
        """
        check_text("token", token)
        with public_errors():
            return await look(self._open, token)

    async def _tick(self, run_id: str, queue: str, delay_ms: int = 0) -> None:
        try:
            await send_tick(self._open.queue, Entry(queue=queue, key=tick_key(run_id), delay_ms=delay_ms))
        except QueueTrouble as trouble:
            # The run's deadline is in Postgres: the reconciler will tick it (H45).
            note("hint_failed", channel=tick_key(run_id), error=str(trouble))

    async def get(self, run_id: str) -> RunInfo:
        """A run's row. Raises RunNotFound."""
        return await self.run(run_id).status()

    async def list(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        parent: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[RunInfo]:
        """Newest first; pass the last run's id as ``before`` for the next page. ``attributes``: what the runs must have
        set, value and type. ``parent``: the children of that run, those that continue another one included. Raises
        ArgumentError for an unknown status, BadAttribute.
        """
        check_page(workflow, parent, limit, before)
        statuses: tuple[RunStatus, ...] = ()
        if status is not None:
            if status not in RunStatus.__members__:
                raise errors.ArgumentError(f"status {status!r}: must be one of {', '.join(RunStatus.__members__)}")
            statuses = (RunStatus[status],)
        wanted = {name: (text,) for name, text in given_at_start(attributes).items()}
        where = RunFilter(workflow=workflow, statuses=statuses, attributes=wanted, parent=parent)
        store = self._open.store
        with public_errors():
            rows = await store.list_runs(where, limit, before)
            details = await store.details([row.run_id for row in rows])
        return [info_of(row, details.get(row.run_id)) for row in rows]

    async def prune(
        self,
        older_than: Duration,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        batch: int = 100,
        dry_run: bool = False,
    ) -> Pruned:
        """Delete runs that ended ``older_than`` ago (seconds, a timedelta or ``"30d"``; at least an hour) by Postgres'
        clock, with their logs, attributes and streams. ``statuses``: the ends to delete, empty: all of them.
        ``batch``: runs per transaction. ``dry_run``: only count.

        Kept are children whose parent may still ask for them, runs whose predecessor is kept, and the holder of a start
        key while its chain goes on. May be stopped and run again at any time, and by several at once. Raises
        ArgumentError.
        """
        return await pruned(
            self._open.store, older_than, statuses=statuses, workflow=workflow, batch=batch, dry_run=dry_run
        )
