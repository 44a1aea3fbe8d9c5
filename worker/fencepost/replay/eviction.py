"""Throwing a live run away without a trace: cancel all, drain, close what refuses.

Measured: dropping the references leaks (anyio's tables hold their keys), and closing coroutines breaks TaskGroups and
cancel scopes. Cancelling runs the code's finally blocks; what they ask for raises Evicted.

Code may catch everything and go on (``while True: try: ... except: pass``). Then what it asks for raises no more, so
that it comes to rest in a wait that nothing ends; it is cancelled again, closed, and in the end abandoned there: kept
as it stands for as long as the process lives. To let go of it would run it once more, wherever the interpreter frees
it: in any thread, outside of any loop and budget, for ever.
"""

from __future__ import annotations

import contextlib
import ctypes
from types import FrameType
from typing import Any

from fencepost.replay.limits import ReplayBudgetExceeded, ReplayLimit
from fencepost.replay.loop import WorkflowLoop

ROUNDS_MAX = 10
"""Cancellations that code may swallow before its coroutines are closed by force."""


CALLBACKS_MIN, CALLBACKS_PER_TASK = 2_000, 50
"""What winding down may take: more than any code needs to leave by its ``finally`` blocks. What spins is closed."""


def wind_down(loop: WorkflowLoop, *, abandon: bool = False) -> list[str]:
    """End every task of the loop. Under a replay budget, code that outlasts it loses its task and nothing else. Answers
    where code stands that had to be abandoned. ``abandon``: do so with all of it, at once.
    """
    stuck: list[Any] = []
    if not abandon:
        with contextlib.suppress(ReplayBudgetExceeded):  # what is thrown away cannot be late
            loop.within(_cancel_all, loop)
        with contextlib.suppress(ReplayBudgetExceeded):
            loop.within(_close_by_force, loop, stuck)
    for task in loop.live_tasks():
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # pyright: ignore
        if abandon:
            stuck += _awaiting(task.get_coro())
    loop.discard()
    return _abandon(stuck)


def _cancel_all(loop: WorkflowLoop) -> None:
    loop.limit_drains(max(CALLBACKS_MIN, CALLBACKS_PER_TASK * len(loop.live_tasks())))
    for _ in range(ROUNDS_MAX):
        for task in loop.live_tasks():
            with contextlib.suppress(BaseException):  # what the task waits for may have a cancel() of the user's own
                task.cancel()
        loop.close_generators()
        try:
            loop.drain()
        except ReplayLimit:
            return  # spins under cancellation: by force
        if not loop.live_tasks():
            return


def _close_by_force(loop: WorkflowLoop, stuck: list[Any]) -> None:
    for task in loop.live_tasks():
        coro = task.get_coro()
        # Held here: what refuses is let go of by what awaits it, which ends by that refusal.
        stuck += _awaiting(coro)
        # It has refused cancellation and may refuse GeneratorExit. Nothing it asks for counts; what is left is memory.
        with contextlib.suppress(BaseException):
            coro.close()


def _awaiting(coro: object) -> list[Any]:
    """The coroutine, what it awaits, what that awaits, and so on."""
    chain: list[Any] = []
    while coro is not None and _frame(coro) is not None:
        chain.append(coro)
        names = ("cr_await", "gi_yieldfrom", "ag_await")
        coro = next((found for name in names if (found := getattr(coro, name, None)) is not None), None)
    return chain


def _abandon(stuck: list[Any]) -> list[str]:
    """Keep, for ever, what has refused to be closed: nothing of it is to run again. Answers where it stands."""
    left: list[str] = []
    for coro in stuck:
        frame = _frame(coro)
        if frame is not None:
            left.append(f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}")
            # One reference that nobody gives back, so that the interpreter's end does not run it either.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(coro))
    return left


def _frame(coro: object) -> FrameType | None:
    """Where it stands; None if it has ended, or is none of the interpreter's own."""
    frames = (getattr(coro, name, None) for name in ("cr_frame", "gi_frame", "ag_frame"))
    return next((frame for frame in frames if frame is not None), None)
