"""``@workflow``: an async function whose run survives any crash by being replayed from its log."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, ParamSpec, Protocol, TypeVar, cast, overload

import msgspec

from fencepost import payload
from fencepost.authoring import coroutine_function, registry
from fencepost.authoring.arguments import Arguments
from fencepost.authoring.child import ChildHandle, called
from fencepost.authoring.continuing import RUNNING, continued
from fencepost.authoring.decorated import function_of
from fencepost.authoring.interceptors import WorkflowCall, WorkflowInterceptor, around
from fencepost.durations import Duration, bound_of
from fencepost.errors import ArgumentError, NotInWorkflow, PayloadError
from fencepost.failure import failure_of, run_code
from fencepost.names import checked_name, checked_queue
from fencepost.records import CANCEL, PARENT_CLOSE, ChildCreated, RunCreated, RunFailed, pack, unpack
from fencepost.replay import interface
from fencepost.replay.identity import stable_hash

P = ParamSpec("P")
R = TypeVar("R")
P2 = ParamSpec("P2")
R2 = TypeVar("R2")


class WorkflowDecorator(Protocol):
    """What ``workflow(...)`` returns."""

    def __call__(self, fn: Callable[P2, Coroutine[Any, Any, R2]], /) -> Workflow[P2, R2]: ...


@overload
def workflow(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
@overload
def workflow(
    *,
    name: str | None = ...,
    timeout: Duration | None = ...,
    queue: str | None = ...,
    registry: registry.Registry | None = ...,
) -> WorkflowDecorator: ...
def workflow(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    timeout: Duration | None = None,
    queue: str | None = None,
    registry: registry.Registry | None = None,
) -> Any:
    """Make an async function a workflow.

    ``name``: what the log keeps, the function's name by default. ``timeout``: seconds, a timedelta or ``"2h"``, bounds
    the whole run. ``queue``: where its turns are done, None is the client's default. Raises TypeError and ValueError
    for what cannot be a workflow, DuplicateName for a name that another function has.
    """

    def decorate(body: Callable[..., Any]) -> Workflow[..., Any]:
        made = Workflow[..., Any](body, name=name, timeout=bound_of(timeout, "timeout"), queue=queue)
        chosen = _registry_or_default(registry)
        chosen.add_workflow(made)
        made.interceptors = chosen.workflow_interceptors
        return made

    return decorate if fn is None else decorate(fn)


def checked_close(policy: str) -> str:
    """The policy, if it is one. Raises ValueError."""
    if policy not in PARENT_CLOSE:
        raise ValueError(f"parent_close={policy!r}: must be one of {', '.join(PARENT_CLOSE)}")
    return policy


def _registry_or_default(chosen: registry.Registry | None) -> registry.Registry:
    return registry.default if chosen is None else chosen


class Workflow(Generic[P, R]):
    """A workflow: a replay Program for the engine, a typed name for clients.

    Called in a workflow it is a child run: ``await child(...)`` is its result.

    ``fn`` is the bare function; ``timeout`` is in seconds; ``parent_close`` and ``key`` are those of children.
    """

    __name__: str
    __qualname__: str

    def __init__(
        self,
        fn: Callable[P, Coroutine[Any, Any, R]],
        *,
        name: str | None = None,
        timeout: float | None = None,
        queue: str | None = None,
        arguments: Arguments | None = None,
    ) -> None:
        fn = function_of(fn, "workflow", name)
        if not inspect.iscoroutinefunction(fn):
            raise TypeError(
                f"@workflow needs an async function: write `async def {fn.__name__}`, at {registry.location(fn)}"
            )
        functools.update_wrapper(self, fn)
        coroutine_function.mark(self, fn)
        self.fn = fn
        self._name: str = fn.__name__ if name is None else checked_name(name, "workflow")
        self.timeout = timeout
        self.queue: str | None = None if queue is None else checked_queue(queue)
        self.parent_close: str = CANCEL
        self.key: str | None = None
        self.arguments: Arguments = arguments or Arguments(fn, self._name)
        self.interceptors: Sequence[WorkflowInterceptor] = ()

    def __hash__(self) -> int:
        return stable_hash(f"workflow {self.fn.__module__}.{self.fn.__qualname__}")

    @property
    def name(self) -> str:
        """What the log calls it."""
        return self._name

    if TYPE_CHECKING:
        # Declared so, because mypy gives up on gather() of what is declared Coroutine[Any, Any, R].
        async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
    else:

        def __call__(self, *args, **kwargs):
            return self._call(args, kwargs)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coroutine[Any, Any, R]:
        asking = self._asking()
        # The id is taken now, not when the coroutine first runs: ids follow the order of calls in the code.
        call = self._run_as_child(asking, asking.new_id(self._name), args, kwargs)
        named: Any = call
        named.__name__ = self._name  # "coroutine 'ship' was never awaited" must name the workflow
        named.__qualname__ = self._name
        return call

    async def _run_as_child(
        self, asking: interface.Asking, entity: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> R:
        record = self._record(asking, entity, args, kwargs)
        return await called(asking, entity, record, partial(self._decode_child, asking, entity))

    def start(self, *args: P.args, **kwargs: P.kwargs) -> ChildHandle[R]:
        """Start a child run from a workflow, without waiting for it; it is recorded with what else this turn asks for.

        ``await handle.result()`` is its result. Raises NotInWorkflow elsewhere, ArgumentError, PayloadError.
        """
        asking = self._asking()
        entity = asking.new_id(self._name)
        record = self._record(asking, entity, args, kwargs)
        decode = partial(self._decode_child, asking, entity)
        return ChildHandle(asking.child(entity, record, handle=True), self._name, decode)

    def continue_as_new(self, *args: P.args, **kwargs: P.kwargs) -> NoReturn:
        """End this run of the workflow here; a new one goes on with these arguments and an empty log.

        ``fencepost.continue_as_new``, with the types of this workflow's arguments. What ``with_options`` says is for
        children, and has no effect here. Raises NotInWorkflow elsewhere, also in a step; ArgumentError in a run of
        another workflow, and like PayloadError for arguments that do not fit.
        """
        continued(args, kwargs, self._name)

    def with_options(
        self,
        *,
        parent_close: Literal["cancel", "abandon", "terminate"] | None = None,
        queue: str | None = None,
        timeout: Duration | msgspec.UnsetType | None = msgspec.UNSET,
        key: str | None = None,
    ) -> Workflow[P, R]:
        """The same workflow with other options for the children started through what is returned.

        ``parent_close``: what becomes of a child that is open when its parent ends: it is asked to ``cancel`` (the
        default), ended at once (``terminate``) or left alone (``abandon``). ``queue``: where its turns are done; by
        default the workflow's own, else the parent's. ``timeout``: of the child's whole run; None: unbounded. ``key``:
        one run per workflow and key: if another run has it, the child fails with StartConflict as the cause.
        """
        lane = queue or self.queue
        made = Workflow[P, R](self.fn, name=self._name, timeout=self.timeout, queue=lane, arguments=self.arguments)
        if not isinstance(timeout, msgspec.UnsetType):
            made.timeout = bound_of(timeout, "timeout")
        made.interceptors = self.interceptors
        made.parent_close = checked_close(parent_close or self.parent_close)
        made.key = key or self.key
        return made

    def _asking(self) -> interface.Asking:
        asking = interface.current()
        if asking is None:
            raise NotInWorkflow(
                f"{self._name} is a workflow: start a run with `await client.start({self._name}, ...)`, "
                f"or call the bare function with {self._name}.fn(...) in a test"
            )
        return asking

    def _record(
        self, asking: interface.Asking, entity: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> ChildCreated:
        return ChildCreated(
            name=self._name,
            args=self.arguments.encode(args, kwargs),
            run=asking.derived_run_id(entity),
            queue=self.queue,
            parent_close=self.parent_close,
            timeout=self.timeout,
            key=self.key,
            fingerprint=self.arguments.fingerprint,
        )

    def __repr__(self) -> str:
        return f"<workflow {self._name} at {registry.location(self.fn)}>"

    def encode_input(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        attributes: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> bytes:
        """The run_created payload. Raises ArgumentError, PayloadError, PayloadTooLarge before anything is written."""
        data = self.arguments.encode(args, kwargs, limit=limit)
        own = self.arguments.fingerprint
        return pack(RunCreated(data, dict(attributes or {}), self.timeout, fingerprint=own))

    def decode_result(self, data: bytes) -> R:
        """The value of a run_completed payload. Raises PayloadError."""
        return cast(R, payload.decode(data, self.arguments.result_type, path=f"result of {self._name}"))

    def _decode_child(self, asking: interface.Asking, entity: str, data: bytes) -> R:
        """A child's result in its parent. It was checked by the code that wrote it, which this code need not be."""
        try:
            return self.decode_result(data)
        except PayloadError as error:
            asking.unfit(f"the result of child {entity} was written by other code: {error}")

    def completed(self, data: bytes) -> bytes:
        """The input of a start by name with the defaults of this code, see replay.interface.Program."""
        try:
            return self.arguments.completed(data)
        except PayloadError:  # it cannot be read: ``run`` says why
            return data

    async def run(self, created: bytes) -> bytes:
        """The root coroutine of a run, see replay.interface.Program."""
        record = unpack(created, RunCreated)
        try:
            args, kwargs = self.arguments.decode(record.input)
        except (ArgumentError, PayloadError) as error:
            asking = interface.current()
            if asking is not None and record.fingerprint != self.arguments.fingerprint and not record.own:
                known = "other code" if record.fingerprint else "somebody who named the workflow only"
                asking.unfit(f"the input of workflow {self._name} was written by {known}: {error}")
            raise
        RUNNING.set((self._name, self.arguments))
        if record.timeout is None:
            value = await self._body(args, kwargs)
        else:
            # Durable as any timeout in a workflow; the code is cancelled, cleans up, and the run fails with it.
            limit = asyncio.timeout(record.timeout)
            try:
                async with limit:
                    value = await self._body(args, kwargs)
            except TimeoutError as error:
                if limit.expired() and isinstance(error.__cause__, asyncio.CancelledError):
                    error.args = (f"workflow {self._name}: its timeout of {record.timeout:g} s is over",)
                raise
        return payload.encode(value, self.arguments.result_type, path=f"result of {self._name}")

    def _body(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        body = cast(Callable[..., Coroutine[Any, Any, Any]], self.fn)
        if not self.interceptors:
            return body(*args, **kwargs)
        call = WorkflowCall(run_id=self._asking().run_id, workflow=self._name, args=args, kwargs=kwargs)
        return around(self.interceptors, call, lambda: body(*args, **kwargs))

    def failure(self, error: BaseException) -> bytes:
        """The run_failed payload for an exception that left ``run``."""
        return pack(RunFailed(failure_of(error, code=run_code(error))))
