"""What a step's body can know about itself, and say about itself."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager
from contextvars import Context, ContextVar, Token
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar, overload

import msgspec

from fencepost import payload, payload_codecs
from fencepost.authoring.stream_port import StepStreams
from fencepost.blocks import block
from fencepost.errors import NotInWorkflow, NotSupportedHere

T = TypeVar("T")

HEARTBEAT_BYTES_MAX = 65_536
"""Of a heartbeat's details: they are written again and again, and are to say where to go on, not what was done."""


class Abandoned:
    """A flag that is raised once, from any thread: nobody waits for the attempt's result any more. ``reason``: why, see
    ``StepContext.cancel_reason``.
    """

    __slots__ = ("raised", "reason")

    def __init__(self) -> None:
        self.raised: bool = False
        self.reason: str | None = None


class Transactions(Protocol):
    """Where the body's transaction comes from."""

    def begin(self) -> AbstractAsyncContextManager[Any]:
        """A block with a connection."""
        ...


@dataclass(frozen=True, slots=True)
class StepContext:
    """The attempt that is running. ``attempt`` counts starts of the body: 1, 2, ... ``queue``: where its message came
    from. ``deadline``: when its time is over by ``timeout`` or ``schedule_to_close``, an aware datetime by the clock of
    Postgres (None: never). The rest is for those who run bodies: ``pulse`` takes heartbeats from any thread,
    ``previous`` is what an earlier attempt has left, ``transactions`` is what ``transaction()`` uses,
    ``streams`` what ``stream`` goes through (None in another process), ``codecs`` what details are written with (None:
    those in force where they are given).
    """

    run_id: str
    step_id: str
    workflow: str
    attempt: int
    abandoned: Abandoned = field(default_factory=Abandoned, repr=False, compare=False)
    queue: str = ""
    deadline: datetime | None = None
    pulse: Callable[[bytes | None], None] | None = field(default=None, repr=False, compare=False)
    previous: bytes | None = field(default=None, repr=False, compare=False)
    transactions: Transactions | None = field(default=None, repr=False, compare=False)
    streams: StepStreams | None = field(default=None, repr=False, compare=False)
    codecs: payload_codecs.Codecs | None = field(default=None, repr=False, compare=False)

    @property
    def cancelled(self) -> bool:
        """True once nobody waits for this attempt's result any more: its run was cancelled or has ended, the workflow
        gave the step up, its timeout is over, or the worker has lost it. A ``def`` body runs in a thread that nothing
        can stop: look here between two pieces of work, and return. An ``async def`` body gets a CancelledError where it
        waits, a ``process=True`` body's process is killed.
        """
        return self.abandoned.raised

    @property
    def cancel_reason(self) -> str | None:
        """Why ``cancelled`` is True: ``timeout`` (a bound of the attempt is over), ``withdrawn`` (the workflow gave the
        step up, or its run was cancelled or has ended), ``lost`` (another worker may run it by now), ``draining`` (the
        worker stops; the step is begun again elsewhere). None while it is False.
        """
        return self.abandoned.reason

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this step, and for no other step: hand it to services that can recognise a
        repeated request.
        """
        return f"{self.run_id}:{self.step_id}"

    def heartbeat(self, details: object = msgspec.UNSET) -> None:
        """Say that the body lives: with ``heartbeat_timeout`` it must do so more often than that.

        ``details`` are kept for the next attempt, should this one not end; without them those that were given last
        stand. At most 65,536 bytes encoded. They are written in the background, at most once per
        ``heartbeat_write_seconds``: after a crash the next attempt has those of at most so long ago, after an error
        of the body the last. Returns at once; call it from the loop or from a thread. Raises PayloadError,
        PayloadTooLarge, NotSupportedHere (in a ``process=True`` step).
        """
        if self.pulse is None:
            raise NotSupportedHere(
                f"heartbeat() in step {self.step_id}: a process=True step has no way to its worker;"
                " make it a `def` step, which runs in a thread, and start the process yourself"
            )
        if details is msgspec.UNSET:
            self.pulse(None)
        else:
            path = f"heartbeat of {self.step_id}"
            with payload_codecs.using(self.codecs or payload_codecs.current()):
                data = payload.encode(details, path=path, limit=HEARTBEAT_BYTES_MAX)
            self.pulse(data)

    @overload
    def heartbeat_details(self) -> Any: ...
    @overload
    def heartbeat_details(self, as_type: type[T]) -> T | None: ...
    def heartbeat_details(self, as_type: Any = Any) -> Any:
        """The details that an earlier attempt gave to ``heartbeat`` last, converted to the type; None if there are
        none. Raises PayloadError.
        """
        if self.previous is None:
            return None
        with payload_codecs.using(self.codecs or payload_codecs.current()):
            return payload.decode(self.previous, as_type, path=f"heartbeat details of {self.step_id}")


_context: ContextVar[StepContext | None] = ContextVar("fencepost_step", default=None)


def current() -> StepContext:
    """The running step's context, in its body, in tasks it starts and in threads started by asyncio.to_thread.

    Raises NotInWorkflow elsewhere.
    """
    found = _context.get()
    if found is None:
        raise NotInWorkflow(
            "current() is for the body of a step that runs for a workflow: "
            "in a workflow or a test there is none (fencepost.testing.step_context sets one)"
        )
    return found


def current_or_none() -> StepContext | None:
    """The running step's context, if there is one."""
    return _context.get()


def current_in(context: Context) -> StepContext | None:
    """The step's context that is current in there, if there is one."""
    return context.get(_context)


class use_step_context:
    """Make the context current inside the block: for executors (tests have fencepost.testing.step_context)."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: StepContext) -> None:
        self._context: StepContext = context

    def __enter__(self) -> StepContext:
        self._token: Token[StepContext | None] = _context.set(self._context)
        return self._context

    def __exit__(self, *error: object) -> None:
        _context.reset(self._token)


@block
def hide_step_context() -> Generator[None]:
    """Inside the block the engine works for itself, in a task of the body's."""
    token = _context.set(None)
    try:
        yield
    finally:
        _context.reset(token)
