"""A step's body in a process of its own: what travels there and back is bytes and text, never a pickled value of the
user's."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import signal
from collections.abc import Generator
from typing import Any, cast

from fencepost import errors
from fencepost.authoring import registry
from fencepost.authoring.context import StepContext, use_step_context
from fencepost.authoring.step import Step
from fencepost.blocks import block
from fencepost.failure import exception_of, failure_of
from fencepost.records import StepEnded, pack, unpack


def prepare(module: str) -> None:
    """Run in the other process before the body: import what the step is in. That may take its time, which is not the
    body's. Whatever goes wrong goes wrong once more, and is told, when the body is called.
    """
    with contextlib.suppress(BaseException):
        importlib.import_module(module)


def call_encoded(
    module: str, qualname: str, args: bytes, context: StepContext, fingerprint: bytes = b"", name: str = ""
) -> tuple[bool | None, bytes]:
    """Run in the other process: the step's body with the recorded arguments. ``fingerprint``: of the step's signature
    in the process that asks. ``name``: the step's, where it may be another one than its function's.

    Returns True and the encoded result, or False and a packed StepEnded, or None and why this process cannot run it:
    its code was loaded from other files than the asking process has loaded. An ``async def`` body runs in a loop of its
    own. Raises nothing that the body raises, of whatever class: whoever asked decides by the record.
    """
    lack = _lack_here(module, qualname, args, fingerprint, name)
    if lack is not None:
        return None, lack.encode(errors="replace")
    code = errors.USER_ERROR
    try:
        step = find_step(module, qualname, name)
        try:
            positional, named = step.decode_args(args)
        except (errors.ArgumentError, errors.PayloadError):
            code = errors.PAYLOAD_ERROR
            raise
        with _signals_kept(), use_step_context(context):
            value: Any = step.fn(*positional, **named)
            if step.is_async:
                value = asyncio.run(value)
        try:
            return True, step.encode_result(value)
        except errors.PayloadError:
            code = errors.PAYLOAD_ERROR
            raise
    except BaseException as error:  # noqa: BLE001 - the step's outcome, whatever it is
        return False, pack(StepEnded(failure_of(error, code=code)))


@block
def _signals_kept() -> Generator[None]:
    """The process has other bodies after this one: an alarm that a body has left behind is not for them, nor are its
    handlers.
    """
    before = [(number, signal.getsignal(number)) for number in signal.valid_signals()]
    alarm, _ = signal.getitimer(signal.ITIMER_REAL)
    try:
        yield
    finally:
        if not alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before:
            if handler is not None and signal.getsignal(number) is not handler:  # None: not set from Python
                signal.signal(number, handler)


def _lack_here(module: str, qualname: str, args: bytes, fingerprint: bytes, name: str) -> str | None:
    """What keeps this process's code from running the step; None: nothing does, or it is the code that was called."""
    place = f"{module}.{qualname} in another process"
    try:
        step = find_step(module, qualname, name)
    except BaseException as error:  # noqa: BLE001 - importing a module runs whatever it says
        return f"{place}: {type(error).__name__}: {error}"
    if step.arguments.fingerprint == fingerprint:
        return None
    try:
        step.decode_args(args)
    except (errors.ArgumentError, errors.PayloadError) as error:
        return f"{place} has another signature: {error}"
    except BaseException:  # noqa: BLE001 - user code that reads arguments: it raises once more where that is told
        return None
    return None


def outcome_of(answer: tuple[bool | None, bytes]) -> bytes:
    """The encoded result of an answer of ``call_encoded``. Raises the body's exception, rebuilt."""
    succeeded, data = answer
    if succeeded:
        return data
    raise exception_of(unpack(data, StepEnded).error)


def find_step(module: str, qualname: str, name: str = "") -> Step[..., Any]:
    """The step by reference, imported if need be; with ``name`` the one of that name, for one function may be made
    several. Raises StepNotRegistered if there is none.

    A step that is defined in a script run as ``__main__`` is not found: the other process has a main module of its own.
    """
    scope = importlib.import_module(module)
    found: Any = scope
    for part in qualname.split("."):
        found = getattr(found, part, None)
    others = (*vars(scope).values(), registry.default.find_step(name)) if name else ()
    for one in (found, *others):
        if isinstance(one, Step) and (not name or one.name == name):
            return cast("Step[..., Any]", one)
    way_out = "move it to a module that can be imported" if module == "__main__" else "do not replace the name"
    told = f" called {name!r}" if name else ""
    raise errors.StepNotRegistered(
        f"process=True: {module}.{qualname} is not a step{told} in another process: {way_out}"
    )
