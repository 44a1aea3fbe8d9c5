"""Exceptions on their way through the log: ``failure_of`` writes one down, ``exception_of`` raises it from the grave.

What survives: type, message, traceback text, args and instance attributes (``__notes__`` among them) as far as they can
be encoded, by their annotation where there is one; the cause and context chain, the members of exception groups, and
that two of these were one object. Everything is bounded, so that no exception can poison a log; what was left out is
named in a note.

A class is found again only among modules that are already imported; nothing is imported because a log says so. Its
``__init__`` and ``__new__`` are not called again if they are written in Python, for they were written to be called with
something else than ``args``: the instance is made, and args and attributes are put back, as ``copy`` does it. Where
that does not say what was recorded, a stand-in does (``failure_classes.py``), which ``except TheClass`` catches; what
is of no class that is here becomes StepFailed with the type's name, message and traceback.

Retries: ``Fatal`` (not retryable) and ``Retry`` (own delay) count if the exception that left the body is one, or is a
group with such a member. Deeper in the cause chain they are history: ``except Fatal: raise Other() from fatal`` is the
user's decision to raise something else.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import cast

import msgspec

from fencepost import errors
from fencepost.child_errors import ChildFailed
from fencepost.failure_classes import name_of
from fencepost.failure_reading import Reader
from fencepost.failure_seals import cut, opened, sealed, told
from fencepost.failure_writing import NODES_MAX, RECORD_BYTES_MAX, RemoteTraceback, Writer, members_of
from fencepost.records import Failure

__all__ = [
    "DEPTH_MAX",
    "NODES_MAX",
    "RECORD_BYTES_MAX",
    "RETRY_SECONDS_MAX",
    "RemoteTraceback",
    "cut",
    "exception_of",
    "failure_of",
    "opened",
    "run_code",
    "sealed",
    "told",
]

DEPTH_MAX = 16
"""Exceptions in one cause chain; what is deeper is cut. Python's own chains are rarely longer than 5."""
RETRY_SECONDS_MAX = 100 * 366 * 24 * 3600.0
"""Of a Retry's delay: a hundred years, which the store can still add to an instant."""


def failure_of(exc: BaseException, *, code: str = errors.USER_ERROR) -> Failure:
    """The exception as a record.

    ``code`` says whose fault it is; under some codes nothing is retryable. Never raises for what exc is made of.
    """
    try:
        record = Writer(_traceback).write(exc, DEPTH_MAX)
    except BaseException as error:  # noqa: BLE001 - a class of the user's whose own attributes raise: the failure is told
        record = Failure(name_of(type(exc)), f"<writing it down raised {type(error).__qualname__}>")
    leaves = list(_leaves(exc))
    fatal = code in errors.NOT_RETRYABLE_CODES or any(issubclass(type(leaf), errors.Fatal) for leaf in leaves)
    retries = [cast(errors.Retry, leaf) for leaf in leaves if issubclass(type(leaf), errors.Retry)]
    delays = [delay for leaf in retries if (delay := _delay(leaf)) is not None]
    return msgspec.structs.replace(record, code=code, retryable=not fatal, retry_after=max(delays, default=None))


def exception_of(record: Failure) -> BaseException:
    """The exception that the record stands for, with its chain, and the recorded traceback as a note. Never raises."""
    try:
        return Reader().read(record, DEPTH_MAX)
    except BaseException as error:  # noqa: BLE001 - a class of the user's that breaks what every class has
        message = f"{record.message} <making it again raised {type(error).__qualname__}>"
        return errors.StepFailed(message, type=record.type, traceback=record.traceback, code=record.code)


def run_code(exc: BaseException) -> str:
    """The code under which an exception that left a workflow ends its run: what the engine itself caused keeps its
    name, the rest is USER_ERROR.
    """
    kind = type(exc)  # isinstance asks the instance too, whose __class__ may raise what it likes
    if issubclass(kind, (errors.StepFailed, ChildFailed)):
        code = cast(errors.StepFailed | ChildFailed, exc).code
        if code in errors.CODES:
            return code
    return errors.PAYLOAD_ERROR if issubclass(kind, errors.PayloadError) else errors.USER_ERROR


def _leaves(exc: BaseException) -> Iterator[BaseException]:
    stack = [exc]
    for _ in range(10_000):  # a group cannot contain itself, but may be wide
        if not stack:
            return
        top = stack.pop()
        if members := members_of(top):
            stack.extend(members)
        else:
            yield top


def _delay(leaf: errors.Retry) -> float | None:
    """The delay that it asks for, as far as one can be kept: ``after`` is an attribute, and may have been set since."""
    after: object = leaf.after
    if not isinstance(after, (int, float)) or not after >= 0:
        return None
    return float(min(after, RETRY_SECONDS_MAX))


def _traceback(exc: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(exc), exc, exc.__traceback__, chain=False))
    except BaseException as error:  # noqa: BLE001 - as above
        return "".join(traceback.format_tb(exc.__traceback__)) + f"<not formatted: {type(error).__qualname__}>"
