"""Throwing a live run away without a trace: cancel all, drain, close what refuses.

Measured: dropping the references leaks (anyio's tables hold their keys), and closing coroutines breaks TaskGroups and cancel scopes. Cancelling runs the
code's finally blocks; what they ask for raises Evicted.
"""

from __future__ import annotations

from fencepost.replay.limits import ReplayLimit
from fencepost.replay.loop import WorkflowLoop

ROUNDS_MAX = 10
"""Cancellations that code may swallow before its coroutines are closed by force."""


def wind_down(loop: WorkflowLoop) -> None:
    """End every task of the loop. Raises what the replay budget raises."""
    loop.enter()
    try:
        for _ in range(ROUNDS_MAX):
            tasks = loop.live_tasks()
            for task in tasks:
                task.cancel()
            loop.close_generators()
            try:
                loop.drain()
            except ReplayLimit:
                break  # spins under cancellation: by force, below
            if not loop.live_tasks():
                break
        _close_by_force(loop)
    finally:
        loop.discard()
        loop.leave()


def _close_by_force(loop: WorkflowLoop) -> None:
    for task in loop.live_tasks():
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # pyright: ignore
        coro = task.get_coro()
        try:
            coro.close()  # type: ignore[union-attr]  # pyright: ignore
        except BaseException:  # noqa: BLE001, S110  # it has refused cancellation and GeneratorExit; nothing it asks for counts, and the memory is all that is left
            pass
