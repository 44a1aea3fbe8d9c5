"""Runs one attempt of a step's body and says what it came to. Knows nothing of messages, leases or logs.

async bodies run as they are in the worker's loop, sync bodies in a thread, ``process=True`` bodies in a process of
anyio's pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import anyio.to_process
import msgspec

from fencepost import errors, payload_codecs
from fencepost.authoring.context import StepContext, use_step_context
from fencepost.authoring.interceptors import StepCall, around
from fencepost.authoring.process import call_encoded, outcome_of
from fencepost.authoring.registry import Registry
from fencepost.authoring.retry import is_named, next_delay
from fencepost.authoring.step import Step
from fencepost.engine.aids import Aids
from fencepost.engine.patience import Patience
from fencepost.engine.ports import Ports
from fencepost.failure import RETRY_SECONDS_MAX, failure_of
from fencepost.records import Failure, StepCreated, StepEnded, pack
from fencepost_store.admission import Unstorable
from fencepost_store.events import EventType, NewEvent


class Attempt(msgspec.Struct, frozen=True):
    """One attempt to be run. ``token``: the delivery it is run under. ``failures``: how many attempts have ended in an
    error before it. ``left``: seconds until the step's schedule_to_close is over (None: it has none). ``previous``:
    details of an earlier attempt's heartbeat.
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


async def run_attempt(ports: Ports, registry: Registry, attempt: Attempt, aids: Aids) -> NewEvent:
    """The fact that the attempt came to: step_completed, step_failed, or step_retrying. What it wrote to streams is in
    Postgres by then. Cancellation of the calling task gets out, and StoreTrouble where the worker could not give the
    body the transaction it asked for.
    """
    step = registry.find_step(attempt.created.name)
    if step is None:
        message = (
            f"step {attempt.created.name!r} is not registered in this worker;"
            " start the worker with the module that defines it"
        )
        failure = Failure(
            type="fencepost.errors.StepNotRegistered",
            message=message,
            code=errors.RUNTIME_ERROR,
            retryable=False,
        )
        return _ended(attempt, EventType.step_failed, failure)
    patience = Patience(attempt.created.policy, attempt.left)
    try:
        payload = await _call(ports, registry, step, attempt, patience, aids)
    except asyncio.CancelledError as cancelled:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # The body cancelled itself: that is its own error, as any other exception.
        return _error(ports, attempt, patience, cancelled, errors.USER_ERROR)
    except _Ours as ours:
        return _error(ports, attempt, patience, ours.error, ours.code)
    except Exception as error:
        if (trouble := aids.trouble()) is not None:
            raise trouble from error
        return _error(ports, attempt, patience, error, errors.USER_ERROR)
    finally:
        patience.close()
    return NewEvent(
        type=EventType.step_completed,
        entity=attempt.entity,
        attempt=attempt.number,
        dedupe=attempt.token,
        payload=payload,
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


class _Ours(Exception):
    """An error of the engine's own dealings with the body, not of the body: never recognised by its type, for a body
    may raise the same (a client call in a step), and then it is the body's.
    """

    def __init__(self, error: Exception, code: str) -> None:
        super().__init__(str(error))
        self.error = error
        self.code = code


async def _call(
    ports: Ports, registry: Registry, step: Step[..., Any], attempt: Attempt, patience: Patience, aids: Aids
) -> bytes:
    """The encoded result. Raises what the body raises, StepTimeout, PayloadError."""
    context = aids.context(step, attempt, patience)
    try:
        async with patience.limit:
            if step.mode == "process":
                payload = await _in_process(registry, step, attempt, context)
            else:
                payload = await _here(ports, registry, step, attempt, context)
            if len(payload) > attempt.payload_bytes_max:
                raise _Ours(_too_large(step, payload, attempt.payload_bytes_max), errors.PAYLOAD_ERROR)
            await aids.seal()
    except asyncio.CancelledError:
        context.abandoned.raised = True  # for a thread that goes on
        raise
    except TimeoutError as error:
        context.abandoned.raised = True
        if not patience.limit.expired():
            raise
        timeout = patience.error(attempt.created.name, attempt.number)
        timeout.__cause__ = error
        raise _Ours(timeout, errors.STEP_TIMEOUT) from error
    return payload


def _too_large(step: Step[..., Any], payload: bytes, limit: int) -> errors.PayloadTooLarge:
    return errors.PayloadTooLarge(
        f"result of {step.name}: {len(payload)} bytes, more than payload_bytes_max = {limit};"
        " return a reference (a key, a path, a URL) instead of the data",
        size=len(payload),
        limit=limit,
    )


async def _here(
    ports: Ports, registry: Registry, step: Step[..., Any], attempt: Attempt, context: StepContext
) -> bytes:
    try:
        args, kwargs = step.decode_args(attempt.created.args)
    except (errors.PayloadError, errors.ArgumentError) as error:
        raise _Ours(error, errors.PAYLOAD_ERROR) from error
    try:
        with use_step_context(context):
            if registry.step_interceptors:
                call = _step_call(step, attempt, context, args, kwargs)
                value = await around(registry.step_interceptors, call, lambda: _run(ports, step, args, kwargs))
            else:
                value = await _run(ports, step, args, kwargs)
    except Exception:
        if context.streams is not None:
            with contextlib.suppress(errors.FencepostError, Unstorable):  # the body's own error is the one to tell
                await context.streams.finish()
        raise
    if context.streams is not None:
        await context.streams.finish()
    try:
        return step.encode_result(value)
    except errors.PayloadError as error:
        raise _Ours(error, errors.PAYLOAD_ERROR) from error


async def _run(ports: Ports, step: Step[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    if step.is_async:
        return await step.fn(*args, **kwargs)
    carried = contextvars.copy_context()
    return await ports.run_thread(functools.partial(carried.run, step.fn, *args, **kwargs))


def _step_call(
    step: Step[..., Any],
    attempt: Attempt,
    context: StepContext,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> StepCall:
    return StepCall(
        run_id=attempt.run_id,
        workflow=attempt.workflow,
        step_id=attempt.entity,
        step=step.name,
        attempt=attempt.number,
        queue=context.queue,
        args=args,
        kwargs=kwargs or {},
    )


async def _in_process(registry: Registry, step: Step[..., Any], attempt: Attempt, context: StepContext) -> bytes:
    interceptors = registry.step_interceptors
    if not interceptors:
        return payload_codecs.current().coded(await _sent(step, attempt.created.args, context))

    async def proceed() -> Any:
        return step.decode_result(await _sent(step, attempt.created.args, context))

    with use_step_context(context):
        value = await around(interceptors, _step_call(step, attempt, context), proceed)
    try:
        return step.encode_result(value)
    except errors.PayloadError as error:
        raise _Ours(error, errors.PAYLOAD_ERROR) from error


async def _sent(step: Step[..., Any], args: bytes, context: StepContext) -> bytes:
    """The result of a body in another process, encoded and without a codec."""
    try:
        args = payload_codecs.current().opened(args)  # the other process has no keys
    except errors.PayloadError as error:
        raise _Ours(error, errors.PAYLOAD_ERROR) from error
    call = functools.partial(call_encoded, step.fn.__module__, step.fn.__qualname__, args, context)
    try:
        answer = await anyio.to_process.run_sync(call, cancellable=True)
    except anyio.BrokenWorkerProcess as error:
        died = errors.StepCrashed(f"the process of step {step.name!r} died before the body ended")
        died.__cause__ = error
        raise _Ours(died, errors.STEP_CRASHED) from error
    return outcome_of(answer)


def _error(ports: Ports, attempt: Attempt, patience: Patience, error: BaseException, code: str) -> NewEvent:
    """Retry or fail: n retries are n+1 executions that ended in an error (H69). A retry that would begin after the
    step's time is none: the step fails with this error, which says more than that time is over.
    """
    failure = failure_of(error, code=code)
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
    )
