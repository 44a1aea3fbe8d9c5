"""``@step``: a function whose calls from a workflow are recorded once and run anywhere."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
from collections.abc import Callable, Coroutine, Sequence
from types import CodeType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

import msgspec

from fencepost import payload
from fencepost.authoring import coroutine_function, registry
from fencepost.authoring.arguments import Arguments
from fencepost.authoring.decorated import function_of
from fencepost.authoring.retry import name_of
from fencepost.durations import Duration, bound_of
from fencepost.errors import PayloadError
from fencepost.failure import exception_of
from fencepost.names import checked_name, checked_queue
from fencepost.records import Policy, StepCreated, StepEnded, pack, unpack
from fencepost.replay import interface
from fencepost.replay.divergence import asking as asked_from
from fencepost.replay.identity import stable_hash
from fencepost_store.events import EventType

P = ParamSpec("P")
R = TypeVar("R")
P2 = ParamSpec("P2")
R2 = TypeVar("R2")

RETRIES_MAX = 32_000
"""The log numbers starts in 15 bits (fencepost_store.events.TERMINAL_ORDINAL)."""


class StepDecorator(Protocol):
    """What ``step(...)`` returns: decorates async and plain functions alike."""

    @overload
    def __call__(self, fn: Callable[P2, Coroutine[Any, Any, R2]], /) -> Step[P2, R2]: ...
    @overload
    def __call__(self, fn: Callable[P2, R2], /) -> Step[P2, R2]: ...


@overload
def step(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Step[P, R]: ...
@overload
def step(fn: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *,
    retries: int = ...,
    timeout: Duration | None = ...,
    schedule_to_start: Duration | None = ...,
    schedule_to_close: Duration | None = ...,
    heartbeat_timeout: Duration | None = ...,
    non_retryable: Sequence[type[Exception] | str] = ...,
    queue: str | None = ...,
    name: str | None = ...,
    process: bool = ...,
    first_delay: float = ...,
    factor: float = ...,
    cap: float = ...,
    registry: registry.Registry | None = ...,
) -> StepDecorator: ...
def step(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    retries: int = 3,
    timeout: Duration | None = None,
    schedule_to_start: Duration | None = None,
    schedule_to_close: Duration | None = None,
    heartbeat_timeout: Duration | None = None,
    non_retryable: Sequence[type[Exception] | str] = (),
    queue: str | None = None,
    name: str | None = None,
    process: bool = False,
    first_delay: float = 1.0,
    factor: float = 2.0,
    cap: float = 300.0,
    registry: registry.Registry | None = None,
) -> Any:
    """Make a function a step.

    ``retries``: n retries are n + 1 executions that ended in an error. Bounds are seconds, a timedelta or a text
    (``"30s"``, ``"1h30m"``), and None is none: ``timeout`` of one attempt; ``schedule_to_close`` of all attempts and
    delays together, from the call on;
    ``schedule_to_start`` of the wait for the first attempt; ``heartbeat_timeout`` of an attempt's silence between two
    calls of ``current().heartbeat()``. Each raises StepTimeout in the workflow, whose ``which`` is its name.
    ``non_retryable``: exception classes, or their module-qualified names, that fail the step at once, as do those that
    inherit from them. ``queue``: None is the run's own. ``name``: what the log keeps, the function's name by default.
    Backoff: ``first_delay`` seconds, times ``factor`` per failure, at most ``cap``, full jitter. ``process``: the body
    runs in a process of its own, so the function must be importable (module level).

    Raises TypeError and ValueError for what cannot be a step, DuplicateName for a name that another function has.
    """
    policy = checked_policy(
        Policy(
            retries,
            first_delay,
            factor,
            cap,
            timeout=bound_of(timeout, "timeout"),
            schedule_to_start=bound_of(schedule_to_start, "schedule_to_start"),
            schedule_to_close=bound_of(schedule_to_close, "schedule_to_close"),
            heartbeat_timeout=bound_of(heartbeat_timeout, "heartbeat_timeout"),
            non_retryable=names_of(non_retryable),
        )
    )

    def decorate(body: Callable[..., Any]) -> Step[..., Any]:
        made = Step[..., Any](body, name=name, policy=policy, queue=queue, process=process)
        _registry_or_default(registry).add_step(made)
        return made

    return decorate if fn is None else decorate(fn)


def _registry_or_default(chosen: registry.Registry | None) -> registry.Registry:
    return registry.default if chosen is None else chosen


class Step(Generic[P, R]):
    """A step.

    Calling it returns a coroutine, whether the body is ``async def`` or ``def``: durable when awaited in a workflow,
    else the plain body.

    ``fn`` is the bare function; ``name``, ``queue`` and ``policy`` are what is recorded with a call; ``mode`` is how an
    executor runs the body.
    """

    __name__: str
    __qualname__: str

    def __init__(
        self,
        fn: Callable[P, Any],
        *,
        name: str | None = None,
        policy: Policy,
        queue: str | None = None,
        process: bool = False,
        arguments: Arguments | None = None,
    ) -> None:
        fn = function_of(fn, "step", name)
        if process:
            _check_importable(fn)
            _check_silent(policy)
        functools.update_wrapper(self, fn)
        coroutine_function.mark(self, fn)
        self.fn = fn
        self.name: str = fn.__name__ if name is None else checked_name(name, "step")
        self.policy = policy
        self.queue: str | None = None if queue is None else checked_queue(queue)
        self.is_async: bool = inspect.iscoroutinefunction(fn)
        self.mode: str = "process" if process else "async" if self.is_async else "thread"
        self.arguments: Arguments = arguments or Arguments(fn, self.name)

    if TYPE_CHECKING:
        # Declared so, because mypy gives up on gather() of what is declared Coroutine[Any, Any, R].
        async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
    else:

        def __call__(self, *args, **kwargs):
            return self._call(args, kwargs)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coroutine[Any, Any, R]:
        asking = interface.current()
        if asking is None:
            call = self._run_here(args, kwargs)
        else:
            # The id is taken now, not when the coroutine first runs: ids follow the order of calls in the code.
            # So is the line: a task of its own begins far from it.
            call = self._run_durably(asking, asking.new_id(self.name), args, kwargs, asked_from(2))
        # "coroutine 'charge' was never awaited" must name the step.
        named: Any = call
        named.__name__ = self.name
        named.__qualname__ = self.name
        return call

    def __hash__(self) -> int:
        # Not its address: the order of a set of steps is that of every process.
        return stable_hash(f"step {self.fn.__module__}.{self.fn.__qualname__}")

    def __repr__(self) -> str:
        return f"<step {self.name} at {registry.location(self.fn)}>"

    def with_options(
        self,
        *,
        retries: int | None = None,
        timeout: Duration | msgspec.UnsetType | None = msgspec.UNSET,
        schedule_to_start: Duration | msgspec.UnsetType | None = msgspec.UNSET,
        schedule_to_close: Duration | msgspec.UnsetType | None = msgspec.UNSET,
        heartbeat_timeout: Duration | msgspec.UnsetType | None = msgspec.UNSET,
        non_retryable: Sequence[type[Exception] | str] | None = None,
        queue: str | msgspec.UnsetType | None = msgspec.UNSET,
    ) -> Step[P, R]:
        """The same step with other options for the calls made through what is returned. What is not given stays.

        Of the bounds None is unbounded; ``queue=None``: the run's.
        """
        changes: dict[str, Any] = {}
        if retries is not None:
            changes["retries"] = retries
        if non_retryable is not None:
            changes["non_retryable"] = names_of(non_retryable)
        bounds = {
            "timeout": timeout,
            "schedule_to_start": schedule_to_start,
            "schedule_to_close": schedule_to_close,
            "heartbeat_timeout": heartbeat_timeout,
        }
        for name, bound in bounds.items():
            if not isinstance(bound, msgspec.UnsetType):
                changes[name] = bound_of(bound, name)
        policy = checked_policy(msgspec.structs.replace(self.policy, **changes))
        chosen = self.queue if isinstance(queue, msgspec.UnsetType) else queue
        process = self.mode == "process"
        return Step[P, R](
            self.fn, name=self.name, policy=policy, queue=chosen, process=process, arguments=self.arguments
        )

    @property
    def reference(self) -> tuple[str, str]:
        """Module and qualified name, by which another process finds the step (see process.py)."""
        return self.fn.__module__, self.fn.__qualname__

    def decode_args(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The recorded arguments, converted by annotation. Raises PayloadError, ArgumentError."""
        return self.arguments.decode(data)

    def encode_result(self, value: object, *, limit: int | None = None) -> bytes:
        """The step_completed payload. Raises PayloadError, PayloadTooLarge."""
        return payload.encode(value, self.arguments.result_type, path=f"result of {self.name}", limit=limit)

    def decode_result(self, data: bytes) -> R:
        """What ``encode_result`` was given, converted by annotation. Raises PayloadError."""
        return cast(R, payload.decode(data, self.arguments.result_type, path=f"result of {self.name}"))

    async def _run_durably(
        self,
        asking: interface.Asking,
        entity: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        source: tuple[CodeType | None, int],
    ) -> R:
        data = self.arguments.encode(args, kwargs)
        own = self.arguments.fingerprint
        created = StepCreated(self.name, data, self.queue, self.mode, self.policy, own)
        event = await asking.step(entity, pack(created), source)
        if event.type is EventType.step_completed:
            try:
                return self.decode_result(event.payload)
            except PayloadError as error:
                if asking.written_by(entity, event.attempt, own) != own:
                    asking.unfit(f"the result of step {entity} was written by other code: {error}")
                raise
        raise exception_of(unpack(event.payload, StepEnded).error)

    async def _run_here(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        self.arguments.bind(args, kwargs)
        body = cast(Callable[..., Any], self.fn)
        if self.is_async:
            return cast(R, await body(*args, **kwargs))
        return cast(R, await asyncio.to_thread(body, *args, **kwargs))


def checked_policy(policy: Policy) -> Policy:
    """The policy, if its values make sense. Raises TypeError, ValueError naming the field, the value and the bound."""
    retries = cast(object, policy.retries)
    if isinstance(retries, bool) or not isinstance(retries, int):
        raise TypeError(f"retries={retries!r}: must be a whole number, not {type(retries).__name__}")
    if not 0 <= retries <= RETRIES_MAX:
        raise ValueError(f"retries={retries}: must be between 0 and {RETRIES_MAX}")
    for field, least in (("first_delay", 0.0), ("factor", 1.0), ("cap", 0.0)):
        value: object = getattr(policy, field)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{field}={value!r}: must be a number, not {type(value).__name__}")
        if not (value >= least and math.isfinite(value)):
            raise ValueError(f"{field}={value}: must be a finite number, {least:g} or more")
    return policy


def names_of(classes: Sequence[type[Exception] | str]) -> tuple[str, ...]:
    """Exception classes by module-qualified name. Raises TypeError for what is neither a class nor a name."""
    if isinstance(classes, (str, type)):
        raise TypeError(f"non_retryable={classes!r}: must be a tuple or list of exception classes or their names")
    names: list[str] = []
    for one in classes:
        if isinstance(one, str):
            if "." not in one:
                raise TypeError(f"non_retryable: {one!r} has no module; write 'module.Class', or pass the class itself")
            names.append(one)
        elif _is_exception(one):
            names.append(name_of(one))
        else:
            raise TypeError(f"non_retryable: {one!r} is neither an exception class nor the name of one")
    return tuple(names)


def _is_exception(one: object) -> bool:
    return isinstance(one, type) and issubclass(one, Exception)


def _check_silent(policy: Policy) -> None:
    if policy.heartbeat_timeout is not None:
        raise ValueError(
            f"heartbeat_timeout={policy.heartbeat_timeout} with process=True: the other process has no way to send"
            " heartbeats; use timeout, or a `def` step, which runs in a thread"
        )


def _check_importable(fn: Callable[..., Any]) -> None:
    if "<locals>" in fn.__qualname__ or "<lambda>" in fn.__qualname__:
        raise TypeError(
            f"process=True needs a function at module level, not {registry.location(fn)}: "
            "the other process finds it by importing its module"
        )
