"""What ``start`` was asked for, as a run to be created. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import uuid_utils

from fencepost import errors, payload, payload_codecs
from fencepost.authoring.workflow import Workflow
from fencepost.client.secret import with_secret
from fencepost.records import RunCreated, pack
from fencepost_store.protocol import NewRun

if TYPE_CHECKING:
    from fencepost.client.client import Connected

DEFAULT_QUEUE = "default"


@dataclass(frozen=True, slots=True)
class Asked:
    """``strict``: a key that is taken with other arguments is an error. ``decode``: of the run's result."""

    run: NewRun
    strict: bool
    decode: Callable[[bytes], Any]


def prepared(connected: Connected, workflow: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Asked:
    """``kwargs``: with the options key, queue and strict. Raises ArgumentError, PayloadError, PayloadTooLarge."""
    named = dict(kwargs)
    key: str | None = named.pop("key", None)
    queue: str | None = named.pop("queue", None)
    strict: bool = named.pop("strict", False)
    limit = connected.config.payload_bytes_max
    if isinstance(workflow, Workflow):
        found = cast("Workflow[..., Any]", workflow)
        with payload_codecs.using(connected.codecs):
            name, created = found.name, found.encode_input(args, named, limit=limit)
        lane, decode = queue or found.queue or DEFAULT_QUEUE, found.decode_result
    elif isinstance(workflow, str):
        with payload_codecs.using(connected.codecs):
            data = payload.encode([list(args), named], path=f"arguments of {workflow}", limit=limit)
        name, created = workflow, pack(RunCreated(data))
        lane, decode = queue or DEFAULT_QUEUE, payload.decode
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
    )
    return Asked(run, strict, decode)
