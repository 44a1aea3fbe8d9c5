"""Guards of how user code ends and begins."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.hazards.registry import removal

from fencepost.authoring import process, registry, step
from fencepost.engine import bodies, body_processes, body_task, body_threads, loops
from fencepost.engine.patience import Patience
from fencepost.engine.tasks import WorkerTask
from fencepost.replay import loop as replay_loop

ENDS = "engine/test_ends_of_bodies.py"
THREADS = "engine/test_body_threads.py"


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


@removal("H141", guard="a lost thread is replaced", tests=[
    f"{THREADS}::test_h141_lost_threads_are_replaced_and_named",
])  # fmt: skip
def threads_are_counted(patch: pytest.MonkeyPatch) -> None:
    """A pool of as many threads as there are slots, as asyncio.to_thread has."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(8)

    async def run(self: Any, call: Any) -> Any:
        return await asyncio.wrap_future(pool.submit(call))

    patch.setattr(body_threads.BodyThreads, "run", run)


@removal("H141", guard="at the bound no attempt is begun", tests=[
    f"{THREADS}::test_h141_at_the_bound_def_steps_are_handed_back",
])  # fmt: skip
def bound_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    """Threads without end."""
    patch.setattr(body_threads.BodyThreads, "shortage", lambda self: "")


@removal("H141", guard="time counts from the body's first instruction", tests=[
    f"{THREADS}::test_h141_time_before_a_body_begins_is_not_its_own",
    f"{THREADS}::test_h141_bodies_wait_for_a_process_without_losing_time",
])  # fmt: skip
def waiting_counts(patch: pytest.MonkeyPatch) -> None:
    """As time of the body's."""
    real = Patience.watch

    def watch(self: Any, expire: Any) -> None:
        self.begin()
        real(self, expire)

    patch.setattr(Patience, "watch", watch)


@removal("H142", guard="what could not begin is handed back", tests=[
    f"{THREADS}::test_h142_a_shortage_before_the_body_uses_no_retry",
])  # fmt: skip
def shortages_are_errors(patch: pytest.MonkeyPatch) -> None:
    """Of the step's."""
    for module in (bodies, body_threads, body_processes):
        patch.setattr(module, "is_shortage", lambda error: False)


@removal("H142", guard="only what comes before the body is a shortage", tests=[
    f"{THREADS}::test_h142_the_same_error_of_the_body_itself_is_its_own",
])  # fmt: skip
def bodies_run_short(patch: pytest.MonkeyPatch) -> None:
    """By the error's class, whoever raised it."""
    from fencepost.engine.shortage import NotBegun, is_shortage

    real = bodies._raised

    def _raised(ports: Any, attempt: Any, patience: Any, aids: Any, body: Any, error: BaseException) -> Any:
        if is_shortage(error):
            raise NotBegun("short")
        return real(ports, attempt, patience, aids, body, error)

    patch.setattr(bodies, "_raised", _raised)


@removal("H143", guard="the engine has threads of its own", tests=[
    f"{THREADS}::test_h143_bodies_cannot_take_the_threads_of_the_engine",
])  # fmt: skip
def one_executor(patch: pytest.MonkeyPatch) -> None:
    """For everybody."""
    patch.delattr(loops.EngineParts, "run_in_executor")


DECORATED = "authoring/test_decorated.py"


@removal("H144", guard="a reload is another execution of the module", tests=[
    f"{DECORATED}::test_h144_one_def_makes_no_two_of_a_name",
    f"{DECORATED}::test_h144_a_factory_or_loop_makes_no_two_of_a_name",
    f"{DECORATED}::test_h144_two_defs_of_a_name_in_one_module_are_two_functions",
])  # fmt: skip
def same_place_is_the_same(patch: pytest.MonkeyPatch) -> None:
    """Module and qualified name say that a function is registered again."""
    patch.setattr(registry.Execution, "repeats", lambda self, before: True)


@removal("H144", guard="what is no function is refused", tests=[
    f"{DECORATED}::test_h144_what_is_no_function_is_refused_with_the_way_out",
    f"{DECORATED}::test_h144_a_method_in_the_body_of_its_class_is_refused_there",
])  # fmt: skip
def anything_is_a_step(patch: pytest.MonkeyPatch) -> None:
    """Whatever can be called."""
    patch.setattr(step, "function_of", lambda decorated, kind, name: decorated)


@removal("H144", guard="a process looks for the step's name", tests=[
    "authoring/test_process.py::test_h144_of_several_steps_of_one_def_each_runs_its_own",
])  # fmt: skip
def processes_look_for_functions(patch: pytest.MonkeyPatch) -> None:
    """For the first step of the module that has the function's place."""
    real = process.find_step
    patch.setattr(process, "find_step", lambda module, qualname, name: real(module, "double"))
