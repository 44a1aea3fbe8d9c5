"""A step's body in a process of its own: what travels there and back is bytes and text, never a pickled value of the
user's."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from typing import Any, cast

from fencepost import errors
from fencepost.authoring.context import StepContext, use_step_context
from fencepost.authoring.step import Step
from fencepost.failure import exception_of, failure_of
from fencepost.records import StepEnded, pack, unpack


def prepare(module: str) -> None:
    """Run in the other process before the body: import what the step is in. That may take its time, which is not the
    body's. Whatever goes wrong goes wrong once more, and is told, when the body is called.
    """
    with contextlib.suppress(BaseException):
        importlib.import_module(module)


def call_encoded(
    module: str, qualname: str, args: bytes, context: StepContext, fingerprint: bytes = b""
) -> tuple[bool | None, bytes]:
    """Run in the other process: the step's body with the recorded arguments. ``fingerprint``: of the step's signature
    in the process that asks.

    Returns True and the encoded result, or False and a packed StepEnded, or None and why this process cannot run it:
    its code was loaded from other files than the asking process has loaded. An ``async def`` body runs in a loop of its
    own. Raises nothing that the body raises, of whatever class: whoever asked decides by the record.
    """
    lack = _lack_here(module, qualname, args, fingerprint)
    if lack is not None:
        return None, lack.encode(errors="replace")
    try:
        step = find_step(module, qualname)
        positional, named = step.decode_args(args)
        with use_step_context(context):
            value: Any = step.fn(*positional, **named)
            if step.is_async:
                value = asyncio.run(value)
        return True, step.encode_result(value)
    except BaseException as error:  # noqa: BLE001 - the step's outcome, whatever it is
        return False, pack(StepEnded(failure_of(error)))


def _lack_here(module: str, qualname: str, args: bytes, fingerprint: bytes) -> str | None:
    """What keeps this process's code from running the step; None: nothing does, or it is the code that was called."""
    place = f"{module}.{qualname} in another process"
    try:
        step = find_step(module, qualname)
    except Exception as error:  # noqa: BLE001 - importing a module runs whatever it says
        return f"{place}: {type(error).__name__}: {error}"
    if step.arguments.fingerprint == fingerprint:
        return None
    try:
        step.decode_args(args)
    except (errors.ArgumentError, errors.PayloadError) as error:
        return f"{place} has another signature: {error}"
    return None


def outcome_of(answer: tuple[bool | None, bytes]) -> bytes:
    """The encoded result of an answer of ``call_encoded``. Raises the body's exception, rebuilt."""
    succeeded, data = answer
    if succeeded:
        return data
    raise exception_of(unpack(data, StepEnded).error)


def find_step(module: str, qualname: str) -> Step[..., Any]:
    """The step by reference, imported if need be. Raises StepNotRegistered if there is none.

    A step that is defined in a script run as ``__main__`` is not found: the other process has a main module of its own.
    """
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Step):
        way_out = "move it to a module that can be imported" if module == "__main__" else "do not replace the name"
        raise errors.StepNotRegistered(f"process=True: {module}.{qualname} is not a step in another process: {way_out}")
    return cast("Step[..., Any]", found)
