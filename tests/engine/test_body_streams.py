"""What ``process=True`` bodies say comes out of the worker, and how much they say holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import anyio
import pytest
import talking_steps
from engine_world import World

from fencepost import Step, workflow
from fencepost.authoring.context import StepContext
from fencepost.authoring.process import call_encoded
from fencepost.engine import body_processes, loops
from fencepost.engine.logs import Logs

Captured = pytest.CaptureFixture[str]


def logs_as(monkeypatch: pytest.MonkeyPatch, logs: Logs | None) -> None:
    """How the worker logs."""
    monkeypatch.setattr(body_processes, "configured_logs", lambda: logs)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """In a worker's loop, with an end."""
    loops.run_loop(asyncio.wait_for(main(), 90))


async def called(step: Step[..., Any], *args: Any) -> Any:
    """The step's body in a process of the pool."""
    context = StepContext("run", f"{step.name}#1", "flow", 1)
    data = step.arguments.encode(args, {})
    function = partial(call_encoded, *step.reference, data, context, step.arguments.fingerprint, step.name)
    async with body_processes.process_for(step.reference[0]) as process:
        succeeded, answer = await process(function)
    assert succeeded, answer
    return step.decode_result(answer)


async def heard(captured: Captured, last: str) -> list[str]:
    """All lines on standard error up to one with ``last`` in it: they come on their own, and may come behind the
    result."""
    said = ""
    while last not in said or not said.endswith("\n"):
        await asyncio.sleep(0.001)
        said += captured.readouterr().err
    return said.splitlines()


def test_what_a_body_in_a_process_says_comes_out_of_the_worker(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """In the worker's form and from its level on; by loggers, by print, by a program, past Python."""
    logs_as(monkeypatch, Logs("text", "info"))

    async def main() -> None:
        world = World()
        world.registry.add_step(talking_steps.says_it_all)

        @workflow(registry=world.registry)
        async def flow() -> int:
            return await talking_steps.says_it_all(7)

        async with world.worker("A"):
            assert await (await world.start(flow)).result(60) == 7
            lines = await heard(capsys, "child of 7")
        text = "\n".join(lines)
        assert "info    info of 7 logger=shop.reports" in text
        assert "warning warning of 7 logger=shop.reports" in text
        assert "info    structured order=7" in text
        assert "by fencepost's logger of 7" in text
        assert "debug of 7" not in text
        assert {"printed of 7", "error of 7", "descriptor of 7", "child of 7"} <= set(lines)

    run(main)


@pytest.mark.parametrize(
    ("logs", "warning"), [(Logs("json", "warning"), '{"event": "warning of 3"'), (None, "warning of 3")]
)
def test_a_process_logs_as_its_worker_does(
    logs: Logs | None, warning: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """Its form and level; where the worker has configured nothing, what Python does by itself."""
    logs_as(monkeypatch, logs)

    async def main() -> None:
        assert await called(talking_steps.says_it_all, 3) == 3
        lines = await heard(capsys, "child of 3")
        assert [line for line in lines if line.startswith(warning)]
        assert "info of 3" not in "\n".join(lines)

    run(main)


def test_a_body_that_says_much_is_not_held_up(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """More than a pipe and its reader's buffer hold; every line of it comes."""
    logs_as(monkeypatch, None)

    async def main() -> None:
        assert await called(talking_steps.says_much, 10_000) == 10_000
        lines = await heard(capsys, "009999 ")
        assert [int(line[:6]) for line in lines] == list(range(10_000))

    run(main)


def test_a_program_that_a_body_runs_is_not_in_the_way(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """It reads an empty standard input and not the worker's next call; what it prints is no answer of the body's."""
    logs_as(monkeypatch, None)

    async def main() -> None:
        for _ in range(2):
            assert await called(talking_steps.runs_a_program) == 0
            assert "p" * 1000 in await heard(capsys, "ppp")

    run(main)


def test_the_last_words_of_a_process_that_dies_are_heard(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """They say why."""
    logs_as(monkeypatch, Logs("text", "info"))

    async def main() -> None:
        with pytest.raises(anyio.BrokenWorkerProcess):
            await called(talking_steps.says_and_dies, 5)
        assert "last words of 5" in (await heard(capsys, "last words of 5"))[-1]

    run(main)
