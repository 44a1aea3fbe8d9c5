"""What ``start`` was asked for, as a run to be created. Nothing is sent here."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import uuid_utils

from fencepost import errors, payload, payload_codecs
from fencepost.attributes import given_at_start
from fencepost.authoring.arguments import Arguments
from fencepost.authoring.workflow import Workflow
from fencepost.client.secret import with_secret
from fencepost.durations import Duration, seconds_of
from fencepost.names import checked_queue
from fencepost.records import QUEUE, TIMEOUT, RunCreated, pack
from fencepost.replay.starting import DEFAULT_QUEUE
from fencepost_store.protocol import NewRun, RunStatus

if TYPE_CHECKING:
    from fencepost.client.client import Connected

PAGE_MAX = 100_000
"""Runs of one list: all of them are in memory at once."""

T = TypeVar("T")
KeyReuse = Literal["never", "failed", "ended"]

REUSABLE: dict[str, tuple[RunStatus, ...]] = {
    "never": (),
    "failed": (RunStatus.failed, RunStatus.cancelled, RunStatus.terminated),
    "ended": (RunStatus.completed, RunStatus.failed, RunStatus.cancelled, RunStatus.terminated),
}
"""Which runs give their start key to a new one. A run that has continued as new has not ended: its chain goes on."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Asked:
    """``strict``: a key that is taken with other arguments is an error. ``decode``: of the run's result.
    ``arguments``: the workflow's signature (None: only its name is known)."""

    run: NewRun
    strict: bool
    decode: Callable[[bytes], Any]
    arguments: Arguments | None = None


def prepared(connected: Connected, workflow: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Asked:
    """``kwargs``: with the options of ``start``. Raises ArgumentError, BadAttribute, PayloadError, PayloadTooLarge."""
    named = dict(kwargs)
    key: str | None = named.pop("key", None)
    if key is not None:
        checked_key(key)
    queue: str | None = named.pop("queue", None)
    if queue is not None:
        given(lambda: checked_queue(queue))
    strict: bool = named.pop("strict", False)
    reusable = reusable_of(named.pop("key_reuse", "never"), key)
    attributes = given_at_start(named.pop("attributes", None))
    start_in, start_at = start_of(named.pop("delay", None), named.pop("start_at", None))
    limit = connected.config.payload_bytes_max
    if isinstance(workflow, Workflow):
        found = cast("Workflow[..., Any]", workflow)
        with payload_codecs.using(connected.codecs):
            name, created = found.name, found.encode_input(args, named, attributes=attributes, limit=limit)
        lane, decode = queue or found.queue or DEFAULT_QUEUE, found.decode_result
        arguments: Arguments | None = found.arguments
    elif isinstance(workflow, str):
        with payload_codecs.using(connected.codecs):
            data = payload.encode([list(args), named], path=f"arguments of {workflow}", limit=limit)
        left = (TIMEOUT,) if queue else (TIMEOUT, QUEUE)  # to the code that has the first turn
        name, created = workflow, pack(RunCreated(data, attributes, open=left, build=connected.config.build))
        lane, decode, arguments = queue or DEFAULT_QUEUE, payload.decode, None
    else:
        raise errors.ArgumentError(
            f"start() takes a workflow or its name, not {workflow!r}; decorate it with @workflow"
        )
    run = NewRun(
        run_id=str(uuid_utils.uuid7()),
        workflow=name,
        queue=lane,
        payload=with_secret(created),
        grace=int(connected.config.grace_seconds * 1_000_000),
        key=key,
        attributes=attributes,
        start_in=start_in,
        start_at=start_at,
        near=int(connected.config.near_horizon_seconds * 1_000_000),
        reusable=reusable,
    )
    return Asked(run, strict, decode, arguments)


def named_workflow(workflow: Any) -> tuple[str, Callable[[bytes], Any]]:
    """The workflow's name, and what decodes its results. Raises ArgumentError."""
    if isinstance(workflow, Workflow):
        found = cast("Workflow[..., Any]", workflow)
        return found.name, found.decode_result
    if not isinstance(workflow, str) or not workflow:
        raise errors.ArgumentError(f"workflow = {workflow!r}: must be a workflow or its name")
    return workflow, payload.decode


def check_page(workflow: object, parent: object, limit: object, before: object) -> None:
    """What ``list`` is asked for. Raises ArgumentError."""
    if workflow is not None and not isinstance(workflow, str):
        name = getattr(workflow, "name", "fulfil")
        raise errors.ArgumentError(f"workflow = {workflow!r}: must be a workflow's name, such as {name!r}")
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= PAGE_MAX:
        raise errors.ArgumentError(f"limit = {limit!r}: must be a whole number from 1 to {PAGE_MAX:,} runs")
    for field, value in (("parent", parent), ("before", before)):
        if value is None:
            continue
        try:
            uuid.UUID(cast(Any, value))
        except (ValueError, AttributeError, TypeError):
            raise errors.ArgumentError(f"{field} = {value!r}: must be the id of a run") from None


def checked_key(key: object) -> str:
    """The start key, if it can be one. Raises ArgumentError."""
    if not isinstance(key, str):
        raise errors.ArgumentError(
            f"key = {key!r}: a start key is a text, not {type(key).__name__}; such as key={f'order-{key}'!r}"
        )
    if not key:
        raise errors.ArgumentError("key = '': a start key has at least one character; leave key= out for none")
    return key


def reusable_of(key_reuse: object, key: str | None) -> tuple[RunStatus, ...]:
    """The states for a ``key_reuse``. Raises ArgumentError."""
    if not isinstance(key_reuse, str) or key_reuse not in REUSABLE:
        raise errors.ArgumentError(f"key_reuse = {key_reuse!r}: must be one of {', '.join(map(repr, REUSABLE))}")
    if key is None and key_reuse != "never":
        raise errors.ArgumentError(f"key_reuse = {key_reuse!r} says when a key is free again, and there is no key=")
    return REUSABLE[key_reuse]


def given(check: Callable[[], T]) -> T:
    """What a check of an option comes to, with its error as a caller's. Raises ArgumentError."""
    try:
        return check()
    except (TypeError, ValueError) as error:
        raise errors.ArgumentError(str(error)) from None


def start_of(delay: Duration | None, start_at: datetime | None) -> tuple[int | None, int | None]:
    """Microseconds from now, and an instant in microseconds since the epoch; at most one of them. Both are measured by
    the database clock, never by ours. Raises ArgumentError."""
    if delay is not None and start_at is not None:
        raise errors.ArgumentError("delay and start_at are two ways to say one thing: give one of them")
    if start_at is not None:
        if not isinstance(cast(object, start_at), datetime):
            raise errors.ArgumentError(
                f"start_at = {start_at!r}: must be an aware datetime, not {type(start_at).__name__}; such as"
                " datetime.now(UTC) + timedelta(hours=2), or say delay='2h'"
            )
        if start_at.tzinfo is None:
            raise errors.ArgumentError(f"start_at = {start_at!r} has no time zone; use datetime.now(UTC) and the like")
        return None, (start_at - _EPOCH) // timedelta(microseconds=1)
    if delay is None:
        return None, None
    return round(given(lambda: seconds_of(delay, "delay")) * 1_000_000), None


def same_input(arguments: Arguments | None, first: bytes, second: bytes) -> bool:
    """Whether two inputs of runs are one call: as recorded, or as the workflow's signature completes it (H165)."""
    # Encrypted values have other bytes each time.
    if payload.opened(first, "the first run's arguments") == payload.opened(second, ""):
        return True
    if arguments is None:
        return False
    try:
        return arguments.same_call(first, second)
    except (errors.ArgumentError, errors.PayloadError):  # the first call does not fit the signature, so it is another
        return False
