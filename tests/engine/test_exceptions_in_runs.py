"""Exceptions of the user's from a step through the log into the workflow and to the client. On a virtual clock."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World
from tests.authoring.failure_zoo import Annotated, Frozen, Handle, Kind, ResponseError

from fencepost import ChildFailed, RunFailed, errors, hook, step, workflow
from fencepost.authoring.context import use_step_context
from fencepost.failure import exception_of, failure_of
from fencepost.testing import step_context


@pytest.mark.parametrize("kind", ["async", "def"])
@pytest.mark.parametrize("error", [Frozen(3), ResponseError(Handle("u"), (), status=5)], ids=["frozen", "response"])
def test_h169_except_the_class_catches_what_a_step_raised(kind: str, error: Exception) -> None:
    """In the turn that it happens, and in another worker's replay."""

    async def main() -> None:
        world = World()

        async def work() -> None:
            raise error

        def work_in_a_thread() -> None:
            raise error

        fails: Any = step(registry=world.registry, retries=1, first_delay=1.0, name="work")(
            work if kind == "async" else work_in_a_thread
        )
        seen: list[str] = []

        @workflow(registry=world.registry)
        async def flow() -> str:
            try:
                await fails()
            except (Frozen, ResponseError) as caught:
                seen.append(f"{type(caught).__name__} {caught}")
            async with hook(int, token="t") as signal:
                await signal
            return seen[-1]

        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(60)
        async with world.worker("B"):
            await world.client().resume("t", 1)
            assert await started.result(60) == f"{type(error).__name__} {error}"
        assert len(seen) == 2
        assert len(set(seen)) == 1

    run(main)


def test_the_runs_own_error_keeps_message_class_and_cause() -> None:
    """For the client that asks for the result: a stand-in where it has to be one."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry, retries=0)
        async def work() -> None:
            raise ResponseError(Handle("http://x"), (), status=404)

        @workflow(registry=world.registry)
        async def flow() -> None:
            try:
                await work()
            except ResponseError as error:
                raise Frozen(7) from error

        async with world.worker("A"):
            with pytest.raises(errors.RunFailed) as caught:
                await (await world.start(flow)).result(60)
        failed = caught.value
        assert type(failed.__cause__) is Frozen
        assert failed.message == str(Frozen(7))
        assert isinstance(failed.__cause__.__cause__, ResponseError)
        assert str(failed.__cause__.__cause__) == "404 of http://x"

    run(main)


def test_h170_except_star_sees_the_body_s_error_and_the_steps() -> None:
    """A child's TaskGroup: its group crosses two logs on its way to the parent."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry, retries=0)
        async def work() -> None:
            raise Annotated(Kind.soft, None, None, None)  # type: ignore[arg-type]  # pyright: ignore

        @workflow(registry=world.registry)
        async def child() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(work())  # type: ignore[arg-type]  # pyright: ignore
                try:
                    await asyncio.sleep(100)
                finally:
                    raise KeyError("body")

        @workflow(registry=world.registry)
        async def parent() -> list[str]:
            seen: list[str] = []
            try:
                await child()
            except ChildFailed as failed:
                try:
                    raise failed.__cause__ or failed
                except* KeyError as group:
                    seen += [repr(one) for one in group.exceptions]
                except* Annotated as group:
                    seen += [repr(one.kind) for one in group.exceptions if isinstance(one, Annotated)]
            return sorted(seen)

        async with world.worker("A"):
            assert await (await world.start(parent)).result(600) == ["<Kind.soft: 's'>", "KeyError('body')"]

    run(main)


def test_h169_a_frozen_exception_leaves_a_test_of_a_step_as_it_is() -> None:
    """``fencepost.testing.step_context`` is a block around the user's code, too."""
    with pytest.raises(Frozen), step_context():
        raise Frozen(3)
    again = exception_of(failure_of(Frozen(3)))
    with pytest.raises(Frozen), step_context() as test, use_step_context(test.context):
        raise again


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SystemExit(9), "builtins.SystemExit: 9"),
        (SystemExit(), "builtins.SystemExit"),
        (KeyboardInterrupt(), "builtins.KeyboardInterrupt"),
        (asyncio.CancelledError("c"), "asyncio.exceptions.CancelledError: c"),
    ],
    ids=repr,
)
def test_what_would_act_on_the_loop_is_named_once(error: BaseException, text: str) -> None:
    """In the workflow, in the run's end, in the client."""

    async def main() -> None:
        world = World()

        async def work() -> None:
            raise error

        fails: Any = step(registry=world.registry, retries=0, name="work")(work)

        @workflow(registry=world.registry)
        async def flow() -> None:
            await fails()

        async with world.worker("A"):
            started = await world.start(flow)
            with pytest.raises(RunFailed) as failed:
                await started.result(60)
        assert str(failed.value).endswith(f"failed (USER_ERROR): {text}")
        assert str(failed.value.__cause__) == text
        shown = "".join(traceback.format_exception(failed.value))
        assert f"{text}\n" in shown
        name = text.partition(":")[0]
        assert f"{name}: {name}" not in shown

    run(main)
