"""Guards of how user code ends and begins."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.hazards.registry import removal

from fencepost.engine import bodies, body_task, loops
from fencepost.engine.tasks import WorkerTask
from fencepost.replay import loop as replay_loop

ENDS = "engine/test_ends_of_bodies.py"


@removal("H139", guard="what a body raises is received as a value", tests=[
    f"{ENDS}::test_h139_user_code_may_end_in_any_way_anywhere",
])  # fmt: skip
def exits_get_out(patch: pytest.MonkeyPatch) -> None:
    """Of the body's task, as of any other."""

    async def _run(self: Any, code: Any, context: Any) -> None:
        self._begun = True
        try:
            ended: Any = body_task.Value(await code())
        except Exception as error:  # noqa: BLE001
            ended = body_task.Raised(error)
        self._end.set_result(ended)

    patch.setattr(body_task.BodyTask, "_run", _run)


@removal("H139", guard="the loop goes on until its main task is done", tests=[
    f"{ENDS}::test_h139_user_code_may_end_in_any_way_anywhere",
])  # fmt: skip
def exits_end_the_loop(patch: pytest.MonkeyPatch) -> None:
    """As asyncio.run does."""
    patch.setattr(loops, "_run_to_end", lambda loop, task: loop.run_until_complete(task))


@removal("H139", guard="a workflow's callback ends nobody", tests=[
    f"{ENDS}::test_h139_user_code_may_end_in_any_way_anywhere",
])  # fmt: skip
def workflows_exit(patch: pytest.MonkeyPatch) -> None:
    """What its callbacks raise leaves the loop."""

    def raised(self: Any, handle: Any, error: BaseException) -> None:
        raise error

    patch.setattr(replay_loop.WorkflowLoop, "_callback_raised", raised)


@removal("H140", guard="the engine knows by its own note that it has stopped a body", tests=[
    f"{ENDS}::test_h140_a_body_cancels_itself_or_all_tasks_of_the_loop",
])  # fmt: skip
def cancelled_is_stopped(patch: pytest.MonkeyPatch) -> None:
    """A CancelledError is the engine's, whoever asked for it."""
    real = bodies._raised

    def _raised(ports: Any, attempt: Any, patience: Any, aids: Any, body: Any, error: BaseException) -> Any:
        if isinstance(error, asyncio.CancelledError):
            raise body_task.BodyStopped("lost")
        return real(ports, attempt, patience, aids, body, error)

    patch.setattr(bodies, "_raised", _raised)


@removal("H140", guard="tasks of the engine are not for bodies to cancel", tests=[
    f"{ENDS}::test_h140_a_body_cancels_itself_or_all_tasks_of_the_loop",
])  # fmt: skip
def anybody_cancels(patch: pytest.MonkeyPatch) -> None:
    """As asyncio's own tasks."""
    patch.setattr(WorkerTask, "cancel", lambda self, msg=None: asyncio.Task.cancel(self, msg))


@removal("H140", guard="a body that does not leave is left behind", tests=[
    f"{ENDS}::test_h140_a_body_that_does_not_leave_is_left_behind_and_named",
])  # fmt: skip
def bodies_are_waited_for(patch: pytest.MonkeyPatch) -> None:
    """For as long as they like."""
    patch.setattr(body_task.BodyTask, "_leave_behind", lambda self: None)
