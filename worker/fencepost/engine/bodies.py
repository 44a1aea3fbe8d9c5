"""Runs one attempt of a step's body and says what it came to. Knows nothing of messages, leases or logs.

async bodies run as they are in the worker's loop, sync bodies in a thread, ``process=True`` bodies in a process of
anyio's pool; each behind a task of its own (``body_task.py``). User code ends by a value, an exception or by being
stopped by the engine, and nothing else: a SystemExit or a CancelledError of its own is an exception of that attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import msgspec

from fencepost import errors, payload_codecs
from fencepost.authoring.context import StepContext, use_step_context
from fencepost.authoring.process import call_encoded
from fencepost.authoring.registry import RESERVED, Registry
from fencepost.authoring.retry import is_named, next_delay
from fencepost.authoring.step import Step
from fencepost.engine.aids import Aids
from fencepost.engine.body_processes import process_for
from fencepost.engine.body_task import BodyStopped, BodyTask, Carried, Ended, Raised, contained
from fencepost.engine.intercepting import Around
from fencepost.engine.patience import Patience
from fencepost.engine.ports import Ports
from fencepost.engine.shortage import NotBegun, is_shortage, told
from fencepost.engine.unfit import Unfit
from fencepost.failure import RETRY_SECONDS_MAX, exception_of, failure_of
from fencepost.failure_seals import as_recorded
from fencepost.records import Failure, StepCreated, StepEnded, pack, unpack
from fencepost_store.admission import Unstorable
from fencepost_store.events import EventType, NewEvent

STOP_SECONDS = 10.0
"""What a stopped body has to leave, where the caller does not say: a lease."""


class Attempt(msgspec.Struct, frozen=True):
    """One attempt to be run. ``token``: the delivery it is run under. ``failures``: how many attempts have ended in an
    error before it. ``left``: seconds until the step's schedule_to_close is over (None: it has none). ``previous``:
    details of an earlier attempt's heartbeat. ``of``, ``stamp``: what the step's creation and the attempt's start carry
    in the log.
    """

    run_id: str
    workflow: str
    entity: str
    number: int
    failures: int
    token: str
    created: StepCreated
    payload_bytes_max: int
    left: float | None = None
    previous: bytes | None = None
    of: int | None = None
    stamp: int | None = None


async def run_attempt(
    ports: Ports,
    registry: Registry,
    attempt: Attempt,
    aids: Aids,
    body: BodyTask | None = None,
    moved: Callable[[float], None] | None = None,
) -> NewEvent:
    """The fact that the attempt came to: step_completed, step_failed, or step_retrying. What it wrote to streams is in
    Postgres by then. ``body``: what the caller stops it by. ``moved``: see Patience.

    Whatever user code raises is the attempt's error. What gets out: cancellation of the calling task; BodyStopped, for
    a body that the caller has stopped; NotBegun, for one that never began; Unfit, where this worker's code cannot run
    it; StoreTrouble where the worker could not give the body the transaction it asked for.
    """
    step = registry.find_step(attempt.created.name)
    if step is None:
        raise Unfit(f"step {attempt.created.name!r} is not registered in this worker")
    patience = Patience(attempt.created.policy, attempt.left, moved)
    body = BodyTask(ports, STOP_SECONDS) if body is None else body
    context = aids.context(step, attempt, patience)
    patience.watch(lambda: body.stop("timeout"))
    body.overdue = partial(_overdue, ports, attempt, patience, aids)
    try:
        body.start(
            partial(_call, ports, registry, step, attempt, patience, aids, body, context),
            f"body {attempt.entity}",
            context,
        )
        ended = await body.ended()
    finally:
        patience.close()
    if isinstance(ended, Raised):
        return _raised(ports, attempt, patience, aids, body, ended.error)
    payload: bytes = ended.value
    return NewEvent(
        type=EventType.step_completed,
        entity=attempt.entity,
        attempt=attempt.number,
        dedupe=attempt.token,
        payload=payload,
        of=attempt.of,
    )


def crashed(attempt: Attempt, proofs: int) -> NewEvent:
    """The fact for a step that killed its process each time it was run alone."""
    message = f"step {attempt.created.name!r} killed its process {proofs} times when run alone"
    failure = Failure(
        type="fencepost.errors.StepCrashed",
        message=message,
        code=errors.STEP_CRASHED,
        retryable=False,
    )
    return _ended(attempt, EventType.step_failed, failure)


def outlived(attempt: Attempt, started: int) -> NewEvent:
    """The fact for a step that was started as often as the log can count."""
    failure = Failure(
        type="fencepost.errors.StepFailed",
        message=f"step {attempt.created.name!r} was started {started} times, and no log counts further",
        code=errors.LIMIT_EXCEEDED,
        retryable=False,
    )
    return _ended(msgspec.structs.replace(attempt, number=started), EventType.step_failed, failure)


def _overdue(ports: Ports, attempt: Attempt, patience: Patience, aids: Aids) -> NewEvent:
    """The fact for a body that blocks the loop beyond its time."""
    error = patience.overdue(attempt.created.name, attempt.number)
    return _error(ports, attempt, patience, aids, error, errors.STEP_TIMEOUT)


_STOPS = (StopIteration, StopAsyncIteration)


class _Ours(Exception):
    """An error of the engine's own dealings with the body, not of the body: never recognised by its type, for a body
    may raise the same (a client call in a step), and then it is the body's.
    """

    def __init__(self, error: Exception, code: str) -> None:
        super().__init__(str(error))
        self.error = error
        self.code = code


class _Recorded(Exception):
    """The body's error, as its own process has written it down."""

    def __init__(self, record: Failure) -> None:
        super().__init__()
        self.record = record


def _raised(
    ports: Ports, attempt: Attempt, patience: Patience, aids: Aids, body: BodyTask, error: BaseException
) -> NewEvent:
    """The fact for a body that did not return. Raises what is no fact about the step."""
    timed_out = body.reasons[:1] == ["timeout"]
    if isinstance(error, asyncio.CancelledError) and body.reasons and not timed_out:
        raise BodyStopped(body.reasons[0])
    if timed_out and isinstance(error, (asyncio.CancelledError, TimeoutError)):
        timeout = patience.error(attempt.created.name, attempt.number)
        timeout.__cause__ = error
        return _error(ports, attempt, patience, aids, timeout, errors.STEP_TIMEOUT)
    if isinstance(error, _Ours):
        if isinstance(error.error, (NotBegun, Unfit)):
            raise error.error
        return _error(ports, attempt, patience, aids, error.error, error.code)
    if (trouble := aids.trouble()) is not None:
        raise trouble from error
    if (misuse := aids.misuse()) is not None:
        return _error(ports, attempt, patience, aids, misuse, errors.USER_ERROR)
    if isinstance(error, _Recorded):
        return _error(ports, attempt, patience, aids, exception_of(error.record), error.record.code, error.record)
    return _error(ports, attempt, patience, aids, error, errors.USER_ERROR)


async def _call(
    ports: Ports,
    registry: Registry,
    step: Step[..., Any],
    attempt: Attempt,
    patience: Patience,
    aids: Aids,
    body: BodyTask,
    context: StepContext,
) -> bytes:
    """In the body's task: the encoded result. Raises what the body raises, as it is or as Carried or _Recorded."""
    interceptors = registry.step_interceptors
    around = None
    if interceptors and not step.name.startswith(RESERVED):  # our own body and arguments are not the user's
        around = Around(interceptors, step, attempt, context, patience, body)
    if step.mode == "process":
        payload = await _in_process(step, attempt.created.args, patience, aids, context, around)
    else:
        payload = await _here(ports, step, attempt, patience, body, context, around)
    if len(payload) > attempt.payload_bytes_max:
        raise _Ours(_too_large(step, payload, attempt.payload_bytes_max), errors.PAYLOAD_ERROR)
    await aids.seal()
    return payload


def _too_large(step: Step[..., Any], payload: bytes, limit: int) -> errors.PayloadTooLarge:
    return errors.PayloadTooLarge(
        f"result of {step.name}: {len(payload)} bytes, more than payload_bytes_max = {limit};"
        " return a reference (a key, a path, a URL) instead of the data",
        size=len(payload),
        limit=limit,
    )


async def _here(
    ports: Ports,
    step: Step[..., Any],
    attempt: Attempt,
    patience: Patience,
    body: BodyTask,
    context: StepContext,
    around: Around | None,
) -> bytes:
    try:
        args, kwargs = step.decode_args(attempt.created.args)
    except (errors.PayloadError, errors.ArgumentError) as error:
        raise _Ours(error, errors.PAYLOAD_ERROR) from error
    except Exception as error:
        if is_shortage(error):
            raise _Ours(NotBegun(told(error)), "") from error
        raise
    try:
        with use_step_context(context):
            if around is not None:
                patience.begin()
                value = await around(lambda: _run(ports, step, args, kwargs, patience), _as_raised, args, kwargs)
            else:
                value = await _run(ports, step, args, kwargs, patience)
    except BaseException:
        if context.streams is not None and not body.reasons:
            with contextlib.suppress(errors.FencepostError, Unstorable):  # the body's own error is the one to tell
                await context.streams.finish()
        raise
    if context.streams is not None:
        await context.streams.finish()
    try:
        return step.encode_result(value)
    except errors.PayloadError as error:
        raise _Ours(error, errors.PAYLOAD_ERROR) from error


def _run(
    ports: Ports, step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], patience: Patience
) -> Awaitable[Any]:
    """To be awaited at once."""
    if not step.is_async:
        return _in_thread(ports, step, args, kwargs, patience)
    patience.begin()
    running: Awaitable[Any] = step.fn(*args, **kwargs)
    return running


def _as_raised(error: BaseException) -> BaseException:
    """What an interceptor sees of a body's end that cannot be raised through a coroutine as it is, was written down
    elsewhere, or is the engine's. A body that could not be begun has not ended: for that it is cancelled.
    """
    if isinstance(error, _Ours):
        return asyncio.CancelledError(str(error)) if isinstance(error.error, (NotBegun, Unfit)) else error.error
    if isinstance(error, Carried) and isinstance(error.error, Exception) and not isinstance(error.error, _STOPS):
        return error.error
    return exception_of(error.record) if isinstance(error, _Recorded) else error


async def _in_thread(
    ports: Ports, step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], patience: Patience
) -> Any:
    carried = contextvars.copy_context()

    def call() -> Ended:
        patience.begin()
        return contained(partial(carried.run, step.fn, *args, **kwargs))

    try:
        ended: Ended = await ports.run_thread(call)
    except NotBegun as missing:
        raise _Ours(missing, "") from missing
    if isinstance(ended, Raised):
        raise Carried(ended.error)
    if inspect.iscoroutine(ended.value):
        ended.value.close()
        raise TypeError(
            f"step {step.name!r} is a plain function and returned a coroutine, which nobody awaits: make the function"
            " `async def`, and the wrapper of a decorator between it and @step as well"
        )
    return ended.value


async def _in_process(
    step: Step[..., Any], args: bytes, patience: Patience, aids: Aids, context: StepContext, around: Around | None
) -> bytes:
    if around is None:
        return payload_codecs.current().coded(await _sent(step, args, patience, aids, context))

    async def there() -> Any:
        return step.decode_result(await _sent(step, args, patience, aids, context))

    patience.begin()
    with use_step_context(context):
        value = await around(there, _as_raised)
    try:
        return step.encode_result(value)
    except errors.PayloadError as error:
        raise _Ours(error, errors.PAYLOAD_ERROR) from error


async def _sent(step: Step[..., Any], args: bytes, patience: Patience, aids: Aids, context: StepContext) -> bytes:
    """The result of a body in another process, encoded and without a codec."""
    try:
        args = payload_codecs.current().opened(args)  # the other process has no keys
    except errors.PayloadError as error:
        raise _Ours(error, errors.PAYLOAD_ERROR) from error
    module, qualname = step.reference
    try:
        async with process_for(module) as process:
            patience.begin()
            there = replace(context, deadline=aids.deadline(patience))
            succeeded, data = await process(
                partial(call_encoded, module, qualname, args, there, step.arguments.fingerprint, step.name)
            )
    except NotBegun as missing:
        raise _Ours(missing, "") from missing
    except anyio.BrokenWorkerProcess as error:
        died = errors.StepCrashed(f"the process of step {step.name!r} died before the body ended")
        died.__cause__ = error
        raise _Ours(died, errors.STEP_CRASHED) from error
    if succeeded is None:
        raise _Ours(Unfit(data.decode(errors="replace")), "")
    if not succeeded:
        raise _Recorded(unpack(data, StepEnded).error)
    answer: bytes = data
    return answer


def _error(
    ports: Ports,
    attempt: Attempt,
    patience: Patience,
    aids: Aids,
    error: BaseException,
    code: str,
    record: Failure | None = None,
) -> NewEvent:
    """Retry or fail: n retries are n+1 executions that ended in an error (H69). A retry that would begin after the
    step's time is none: the step fails with this error, which says more than that time is over.
    """
    aids.raised = error
    failure = failure_of(error, code=code)
    if record is not None and type(error) is errors.StepFailed:
        failure = as_recorded(failure, record)
    policy = attempt.created.policy
    if is_named(error, failure.type, policy.non_retryable):
        failure = msgspec.structs.replace(failure, retryable=False)
    if code == errors.STEP_CRASHED:
        # A step's own process that died may live next time (memory); only proofs in solitude say that it never will.
        failure = msgspec.structs.replace(failure, retryable=True)
    delay = next_delay(attempt.failures + 1, policy, failure, ports.uniform)
    if delay is None or not patience.leaves(delay):
        return _ended(attempt, EventType.step_failed, failure)
    due_in = max(0, int(min(delay, RETRY_SECONDS_MAX) * 1_000_000))  # a policy's cap may be any number
    return _ended(attempt, EventType.step_retrying, failure, due_in=due_in)


def _ended(attempt: Attempt, event_type: EventType, failure: Failure, due_in: int | None = None) -> NewEvent:
    return NewEvent(
        type=event_type,
        entity=attempt.entity,
        attempt=attempt.number,
        dedupe=attempt.token,
        due_in=due_in,
        payload=pack(StepEnded(error=failure)),
        of=attempt.of,
    )
