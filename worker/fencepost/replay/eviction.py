"""Throwing a live run away without a trace: cancel all, drain, close what refuses.

Measured: dropping the references leaks (anyio's tables hold their keys), and closing coroutines breaks TaskGroups and
cancel scopes. Cancelling runs the code's finally blocks; what they ask for raises Evicted.
"""

from __future__ import annotations

import contextlib

from fencepost.replay.limits import ReplayBudgetExceeded, ReplayLimit
from fencepost.replay.loop import WorkflowLoop

ROUNDS_MAX = 10
"""Cancellations that code may swallow before its coroutines are closed by force."""


def wind_down(loop: WorkflowLoop) -> None:
    """End every task of the loop. Under a replay budget, code that outlasts it loses its task and nothing else."""
    with contextlib.suppress(ReplayBudgetExceeded):  # what is thrown away cannot be late
        loop.within(_cancel_all, loop)
    with contextlib.suppress(ReplayBudgetExceeded):
        loop.within(_close_by_force, loop)
    loop.discard()


def _cancel_all(loop: WorkflowLoop) -> None:
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


def _close_by_force(loop: WorkflowLoop) -> None:
    for task in loop.live_tasks():
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # pyright: ignore
        coro = task.get_coro()
        # It has refused cancellation and may refuse GeneratorExit. Nothing it asks for counts; what is left is memory.
        with contextlib.suppress(BaseException):
            coro.close()
