"""What stands inside the payloads of events: records in msgpack behind one codec byte, opaque to the store.

A user's value inside a record (arguments, a result, a signal's payload) is ``bytes`` as ``payload.encode`` made it,
with a codec byte of its own, so that a
record can be read without knowing the user's types or keys.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

RECORD_TAG = b"\x01"
"""First byte of a payload that is a msgpack record of this module (user values have tags of their own, see
payload.py).
"""


FINGERPRINT = b"\xa2fp"
"""How the name of a fingerprint stands in a record: a record without these bytes has none, and need not be decoded."""


class Policy(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a step is run, as recorded when it was asked for. Seconds; None: unbounded.

    ``timeout``: of one attempt. ``schedule_to_start``: from the call to the first start. ``schedule_to_close``: from
    the call to the end, with all attempts and delays. ``heartbeat_timeout``: how long an attempt may be silent.
    ``non_retryable``: module-qualified names of exception classes; they and what inherits from them fail the step.
    """

    retries: int = 3
    first_delay: float = 1.0
    factor: float = 2.0
    cap: float = 300.0
    timeout: float | None = None
    schedule_to_start: float | None = None
    schedule_to_close: float | None = None
    heartbeat_timeout: float | None = None
    non_retryable: tuple[str, ...] = ()


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """A place in the user's code that an exception passed: file, line and function."""

    file: str
    line: int
    name: str


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """An exception on its way through the log.

    ``type``: module-qualified class name. ``code``: whose fault it is (USER_ERROR, RUNTIME_ERROR, STEP_CRASHED,
    LIMIT_EXCEEDED, ...). ``args``: the exception's args as a
    user value, None if they could not be encoded. ``retryable`` False: raised as Fatal, or refused by its nature.
    ``cause`` and ``context``: the chain, as Python has it.
    ``attributes``: of the instance's ``__dict__`` what could be encoded, each a user value. ``exceptions``: the
    members of an exception group. ``sealed``: where values are encrypted, the user value ``[message, traceback]``; both
    are empty here then (``failure.told`` puts them back). ``frames``: those of the traceback that are the user's,
    outermost first; they hold places and no values, so they stay readable. ``bases``: the names of the class's bases.
    ``typed``: which attributes, and whether the args, are encoded by their annotation. ``left_out``: what was not
    recorded, in words. ``held``: attributes that are exceptions. ``number``: this one's among those of the tree (the
    first has none), and ``ref`` the number of the one that it is, which stands elsewhere. ``classes``: of attributes
    and args (``args[0]``) that have fields, or are of an Enum, the class, for readers that know of no annotation.
    """

    type: str
    message: str
    code: str = "USER_ERROR"
    traceback: str = ""
    args: bytes | None = None
    retryable: bool = True
    retry_after: float | None = None
    suppress_context: bool = False
    cause: Failure | None = None
    context: Failure | None = None
    attributes: dict[str, bytes] = {}
    exceptions: tuple[Failure, ...] = ()
    sealed: bytes | None = None
    frames: tuple[Frame, ...] = ()
    bases: tuple[str, ...] = ()
    typed: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    held: dict[str, Failure] = {}
    number: int = 0
    ref: int = 0
    classes: dict[str, str] = {}


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a run comes from that no client has started; empty fields: not so.

    Of a child: ``parent``, the id of the run that asked for it, ``entity``, its id in that run's log, ``queue``, where
    that run's turns are done, and ``root``, the first run above it that is nobody's child. Of a run that goes on for
    another: ``previous``, that one's id, and ``first``, the id of the first run of the chain.
    """

    parent: str = ""
    entity: str = ""
    queue: str = ""
    root: str = ""
    previous: str = ""
    first: str = ""


TIMEOUT, QUEUE = "timeout", "queue"
"""Options of a workflow that whoever starts a run by name may leave to the workflow's code."""


class RunCreated(msgspec.Struct, frozen=True, omit_defaults=True):
    """``input``: the user value ``[args, kwargs]``. ``timeout``: seconds (None: unbounded). ``secret``: random bytes in
    hex, drawn by the client once; what the default tokens of hooks are derived from. ``origin``: None for a run that a
    client has started. ``open``: options that the starter has left to the workflow's code, TIMEOUT and QUEUE: the first
    turn settles them in run_started. ``fingerprint``: of the signature that encoded the input (see
    authoring/fingerprint.py; empty here and below: not known, as of a start by name). ``build``: of a starter that has
    named the workflow only. ``own``: never recorded; whoever reads the input is of that build."""

    input: bytes
    attributes: dict[str, str] = {}
    timeout: float | None = None
    secret: str = ""
    origin: Origin | None = None
    open: tuple[str, ...] = ()
    fingerprint: bytes = msgspec.field(default=b"", name="fp")
    build: str = ""
    own: bool = False


class RunStarted(msgspec.Struct, frozen=True, omit_defaults=True):
    """The worker (its process id string) and the build of the first turn. ``timeout``, ``queue``: what its code has
    settled of the options that run_created leaves open (None: not open, or for the timeout, unbounded). ``input``: the
    run's input with its code's defaults, where the starter named the workflow only (empty: as in run_created).
    """

    worker: str
    build: str = ""
    timeout: float | None = None
    queue: str | None = None
    input: bytes = b""


class StepCreated(msgspec.Struct, frozen=True, omit_defaults=True):
    """``args``: the user value ``[args, kwargs]``. ``queue``: None = the run's. ``mode``: async, thread or process.
    ``fingerprint``: of the step's signature where it was called."""

    name: str
    args: bytes
    queue: str | None = None
    mode: str = "async"
    policy: Policy = Policy()
    fingerprint: bytes = msgspec.field(default=b"", name="fp")


class StepStarted(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who runs the attempt. ``fingerprint``: of the step's signature there, if it is another than the caller's."""

    worker: str
    fingerprint: bytes = msgspec.field(default=b"", name="fp")


class StepEnded(msgspec.Struct, frozen=True, omit_defaults=True):
    """step_failed and step_retrying: the error of the attempt."""

    error: Failure


class WaitCreated(msgspec.Struct, frozen=True, omit_defaults=True):
    """``name``: sleep, timeout or timer: what the code called."""

    name: str


class HookCreated(msgspec.Struct, frozen=True, omit_defaults=True):
    """``name``: the payload type's name, for people. ``metadata``: a user value for senders (None: none was given).
    ``http``: webhooks may reach it. ``respond``: seconds that senders wait for the workflow's answer (None: there is
    none). ``fingerprint``: of the payload's type."""

    name: str
    metadata: bytes | None = None
    http: bool = False
    respond: float | None = None
    fingerprint: bytes = msgspec.field(default=b"", name="fp")


class HookDisposed(msgspec.Struct, frozen=True, omit_defaults=True):
    """hook_disposed, where payloads were left that nobody has taken, by their seqs; else its payload is empty."""

    untaken: tuple[int, ...] = ()


class Answered(msgspec.Struct, frozen=True, omit_defaults=True):
    """The marker of an answer to a payload: ``value`` is a user value, ``status`` that of HTTP."""

    value: bytes
    status: int = 200


CANCEL, ABANDON, TERMINATE = "cancel", "abandon", "terminate"
PARENT_CLOSE = (CANCEL, ABANDON, TERMINATE)
"""What becomes of an open child when its parent ends."""


class ChildCreated(msgspec.Struct, frozen=True, omit_defaults=True):
    """``name``: of the workflow. ``args``: the user value ``[args, kwargs]``. ``run``: the child's run id. ``queue``:
    None = the parent's. ``timeout``: of the child's whole run, seconds (None: unbounded). ``key``: its start key.
    ``fingerprint``: of the workflow's signature where it was called."""

    name: str
    args: bytes
    run: str
    queue: str | None = None
    parent_close: str = CANCEL
    timeout: float | None = None
    key: str | None = None
    fingerprint: bytes = msgspec.field(default=b"", name="fp")


class ChildCancelRequested(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why."""

    reason: str = ""


class ChildEnded(msgspec.Struct, frozen=True, omit_defaults=True):
    """child_failed. ``status``: failed, cancelled or terminated, as the child's run. ``error``: of one that failed.
    ``reason``: of the request that ended the others."""

    status: str
    error: Failure | None = None
    reason: str = ""


class HandedOver(msgspec.Struct, frozen=True):
    """A hook that goes over to the run that goes on: its token, its entity here, and the seqs of its payloads that are
    not taken."""

    token: str
    entity: str
    seqs: tuple[int, ...] = ()


class RunContinued(msgspec.Struct, frozen=True, omit_defaults=True):
    """run_continued. ``run``: the id of the run that goes on. ``args``: its user value ``[args, kwargs]``.
    ``attributes``: what it begins with, as in RunCreated. ``hooks``: what it inherits. ``fingerprint``: of the
    workflow's signature."""

    run: str
    args: bytes
    attributes: dict[str, str] = {}
    fingerprint: bytes = msgspec.field(default=b"", name="fp")
    hooks: tuple[HandedOver, ...] = ()


class RunFailed(msgspec.Struct, frozen=True, omit_defaults=True):
    """run_failed: ``error.code`` says whose fault it was."""

    error: Failure


class CancelRequested(msgspec.Struct, frozen=True, omit_defaults=True):
    """``grace``: microseconds from the event's ``at`` until the engine terminates the run (None: never)."""

    reason: str = ""
    grace: int | None = None


class RunStopped(msgspec.Struct, frozen=True, omit_defaults=True):
    """run_cancelled and run_terminated. ``reason``: of the request."""

    reason: str = ""


_decoders: dict[type, msgspec.msgpack.Decoder[msgspec.Struct]] = {}
_encoder = msgspec.msgpack.Encoder()
R = TypeVar("R", bound=msgspec.Struct)


def pack(record: msgspec.Struct) -> bytes:
    """The record as an event's payload."""
    return RECORD_TAG + _encoder.encode(record)


def unpack(payload: bytes, kind: type[R]) -> R:
    """The record in an event's payload. Raises msgspec.DecodeError or msgspec.ValidationError (a log written by
    something else).
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    if payload[:1] != RECORD_TAG:
        raise msgspec.ValidationError(f"payload is not a record: first byte {payload[:1]!r}, expected {RECORD_TAG!r}")
    return decoder.decode(memoryview(payload)[1:])  # type: ignore[return-value]
