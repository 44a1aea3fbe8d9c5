"""``fencepost.sync.Client``: the client for code without an event loop (scripts, Django, Flask).

Its loop runs in a thread of its own, so that it works in any thread, also in one whose own loop is busy. Results and
errors are those of ``fencepost.Client``.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import UnionType
from typing import Any, Generic, ParamSpec, TypeVar, TypeVarTuple, overload

from fencepost.attributes import AttributeValue
from fencepost.authoring.stream_reader import StreamChunk, blocking
from fencepost.authoring.stream_reader import StreamReader as AsyncStreamReader
from fencepost.authoring.workflow import Workflow
from fencepost.client import Client as AsyncClient
from fencepost.client import HookInfo, Reply, RunInfo, joined
from fencepost.client import Run as AsyncRun
from fencepost.client.starting import KeyReuse
from fencepost.config import Config
from fencepost.durations import Duration
from fencepost.pruning import Pruned
from fencepost_store.events import Event
from fencepost_store.streams import StreamInfo

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Run(Generic[R]):
    """A handle on one run, see ``fencepost.client.Run``."""

    def __init__(self, client: Client, run: AsyncRun[R]) -> None:
        self._client = client
        self._run = run
        self.id: str = run.id
        self.created: bool = run.created

    def status(self) -> RunInfo:
        """See ``fencepost.client.Run.status``."""
        return self._client.call(self._run.status())

    def result(self, timeout: Duration | None = None) -> R:
        """See ``fencepost.client.Run.result``; blocks at most so long."""
        return self._client.call(self._run.result(timeout))

    def committed(self) -> None:
        """See ``fencepost.client.Run.committed``."""
        self._client.call(self._run.committed())

    def cancel(self, reason: str = "", *, grace: Duration | None = None, id: str | None = None) -> None:
        """See ``fencepost.client.Run.cancel``."""
        self._client.call(self._run.cancel(reason, grace=grace, id=id))

    def terminate(self, reason: str = "") -> None:
        """See ``fencepost.client.Run.terminate``."""
        self._client.call(self._run.terminate(reason))

    def events(self, after: int = 0) -> list[Event]:
        """See ``fencepost.client.Run.events``; all of them at once."""

        async def gather() -> list[Event]:
            return [event async for event in self._run.events(after)]

        return self._client.call(gather())

    @overload
    def stream(self, name: str, as_type: type[T], *, start: int = ...) -> StreamReader[T]: ...
    @overload
    def stream(self, name: str, as_type: UnionType, *, start: int = ...) -> StreamReader[Any]: ...
    @overload
    def stream(self, name: str, *, start: int = ...) -> StreamReader[Any]: ...
    def stream(self, name: str, as_type: Any = Any, *, start: int = 0) -> StreamReader[Any]:
        """See ``fencepost.client.Run.stream``: ``for chunk in run.stream("labels", Label)``. Blocks while it waits for
        chunks.
        """
        return StreamReader(self._client, self._run.stream(name, as_type, start=start))

    def streams(self) -> list[StreamInfo]:
        """See ``fencepost.client.Run.streams``."""
        return self._client.call(self._run.streams())


class StreamReader(Generic[T]):
    """See ``fencepost.StreamReader``."""

    def __init__(self, client: Client, reader: AsyncStreamReader[T]) -> None:
        self._client = client
        self._reader = reader

    def __iter__(self) -> Iterator[T]:
        return blocking(self._reader.values(), self._client.call)

    def chunks(self) -> Iterator[StreamChunk[T]]:
        """See ``fencepost.StreamReader.chunks``."""
        return blocking(self._reader.chunks(), self._client.call)

    def tail(self) -> int:
        """See ``fencepost.StreamReader.tail``."""
        return self._client.call(self._reader.tail())


class Client:
    """As ``fencepost.Client``, blocking: ``with Client() as client``. Takes the same arguments. Safe to share between
    threads.
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
        self._client = AsyncClient(
            config, database_url=database_url, redis_url=redis_url, namespace=namespace, config_file=config_file
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Client:
        loop = asyncio.new_event_loop()
        self._loop = loop
        self._pid = os.getpid()
        self._thread = threading.Thread(target=loop.run_forever, name="fencepost-client", daemon=True)
        self._thread.start()
        try:
            self.call(self._client.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if self._pid != os.getpid():  # its thread and its connections are the parent's
            self._loop = self._thread = None
            return
        try:
            self.call(self._client.__aexit__(*exc))
        finally:
            self._stop()

    @property
    def config(self) -> Config:
        """See ``fencepost.Client.config``."""
        return self._client.config

    def _stop(self) -> None:
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the async client in the client's thread and wait for it."""
        if self._loop is None:
            coroutine.close()
            raise RuntimeError("the client is not open: use it as `with Client() as client:`")
        if self._pid != os.getpid():
            coroutine.close()
            raise RuntimeError(
                f"the client was opened in process {self._pid}, before the fork that made this one ({os.getpid()}): its"
                " thread and connections stayed there; open a client in each process, after the fork"
            )
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    @overload
    def start(self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...
    @overload
    def start(
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
    def start(
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
    def start(  # type: ignore[misc] # mypy does not see that *args: Any takes *Ts
        self, workflow: Any, /, *args: Any, **kwargs: Any
    ) -> Run[Any]:
        """See ``fencepost.Client.start``. ``connection`` is one of psycopg, psycopg2 or Django here, in a transaction
        of yours; it is used in the calling thread.
        """
        connection: Any = kwargs.pop("connection", None)
        if connection is None:
            return Run(self, self.call(self._client.start(workflow, *args, **kwargs)))
        statement, identity, asked = self.call(self._client.prepare_joined(workflow, args, kwargs))
        started = joined.start_by_cursor(connection, statement, identity, asked.run)
        return Run(self, self.call(self._client.begun(asked, started, joined=True)))

    @overload
    def run(self, run_id: str) -> Run[Any]: ...
    @overload
    def run(self, run_id: str, workflow: Workflow[..., R]) -> Run[R]: ...
    def run(self, run_id: str, workflow: Workflow[..., Any] | None = None) -> Run[Any]:
        """See ``fencepost.Client.run``."""
        return Run(self, self._client.run(run_id) if workflow is None else self._client.run(run_id, workflow))

    @overload
    def find(self, workflow: Workflow[..., R], key: str) -> Run[R] | None: ...
    @overload
    def find(self, workflow: str, key: str) -> Run[Any] | None: ...
    def find(self, workflow: Workflow[..., Any] | str, key: str) -> Run[Any] | None:
        """See ``fencepost.Client.find``."""
        found = self.call(self._client.find(workflow, key))
        return None if found is None else Run(self, found)

    def resume(
        self,
        token: str,
        value: object = None,
        *,
        id: str | None = None,
        http: bool = False,
        wait: Duration | None = None,
    ) -> str:
        """See ``fencepost.Client.resume``."""
        return self.call(self._client.resume(token, value, id=id, http=http, wait=wait))

    def ask(
        self,
        token: str,
        value: object = None,
        *,
        id: str | None = None,
        http: bool = False,
        wait: Duration | None = None,
    ) -> Reply:
        """See ``fencepost.Client.ask``."""
        return self.call(self._client.ask(token, value, id=id, http=http, wait=wait))

    def hook(self, token: str) -> HookInfo:
        """See ``fencepost.Client.hook``."""
        return self.call(self._client.hook(token))

    def get(self, run_id: str) -> RunInfo:
        """See ``fencepost.Client.get``."""
        return self.call(self._client.get(run_id))

    def list(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        parent: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[RunInfo]:
        """See ``fencepost.Client.list``."""
        return self.call(
            self._client.list(
                workflow=workflow, status=status, attributes=attributes, parent=parent, limit=limit, before=before
            )
        )

    def prune(
        self,
        older_than: Duration,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        batch: int = 100,
        dry_run: bool = False,
    ) -> Pruned:
        """See ``fencepost.Client.prune``."""
        return self.call(
            self._client.prune(older_than, statuses=statuses, workflow=workflow, batch=batch, dry_run=dry_run)
        )
