"""Which failures a worker logs, at which level, and how often with a traceback. On a virtual clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from engine_flows import land_signal, race_flow
from engine_virtual import run
from engine_world import World
from tests.log_lines import captured

from fencepost import Fatal, errors, payload_codecs, step, workflow
from fencepost.engine.failing import STEPS_MAX
from fencepost.payload_codecs import Codecs


def lines_of(lines: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == event]


def test_a_traceback_is_logged_once_per_failure_and_again_when_it_is_another() -> None:
    """Two attempts fail alike, the third elsewhere, the fourth as the third: four warnings, two tracebacks. Another
    run of the same code has its own.
    """

    async def main() -> None:
        world = World()
        count = iter(range(8))

        @step(registry=world.registry, retries=3, first_delay=1.0)
        async def flaky() -> None:
            if next(count) % 4 < 2:
                raise ValueError("one")
            raise KeyError("other")

        @workflow(registry=world.registry)
        async def flow() -> None:
            await flaky()

        with captured() as lines:
            async with world.worker("A"):
                for _ in range(2):
                    with pytest.raises(errors.RunFailed):
                        await (await world.start(flow)).result(600)
        attempts = lines_of(lines, "attempt_failed")
        assert [(line["attempt"], "trace" in line) for line in attempts] == [
            (1, True),
            (2, False),
            (3, True),
            (4, False),
        ] * 2
        assert {line["log_level"] for line in attempts} == {"warning"}
        assert [line["step"] for line in attempts] == ["flaky#1"] * 8
        assert attempts[0]["error"] == "builtins.ValueError: one"
        assert attempts[0]["at"].endswith(f"test_failures_logged.py:{flaky.fn.__code__.co_firstlineno + 3}")
        assert attempts[0]["then"].startswith("again in")
        assert attempts[3]["then"] == "the step fails"
        assert "raise ValueError" in attempts[0]["trace"]
        assert "engine/bodies.py" not in attempts[0]["trace"]
        runs = lines_of(lines, "run_failed")
        assert [(line["log_level"], line["workflow"], line["code"]) for line in runs] == [
            ("warning", "flow", "USER_ERROR")
        ] * 2
        assert "await flaky()" in runs[0]["trace"]

    run(main)


def test_every_way_to_fail_is_logged() -> None:
    """Fatal, a time-out, a result that cannot be encoded, a step that this worker does not have, workflow code itself,
    and an end that the engine gives.
    """

    async def main() -> None:
        world = World(events_max=60)

        @step(registry=world.registry)
        async def fatal() -> None:
            raise Fatal("no use")

        @step(registry=world.registry, retries=0, timeout=1.0)
        async def slow() -> None:
            await asyncio.sleep(5)

        @step(registry=world.registry, retries=0)
        async def odd() -> Any:
            return object()

        @step(registry=world.registry, retries=0)
        async def fine() -> None:
            return None

        @workflow(registry=world.registry)
        async def flow() -> None:
            for call in (fatal, slow, odd):
                with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is: the log lines are what is tested
                    await call()
            raise RuntimeError("at the end")

        @workflow(registry=world.registry)
        async def endless() -> None:
            while True:
                await fine()

        with captured() as lines:
            async with world.worker("A"):
                for one in (flow, endless):
                    with pytest.raises(errors.RunFailed):
                        await (await world.start(one)).result(600)
        assert [line["step"] for line in lines_of(lines, "attempt_failed")] == ["fatal#1", "slow#1", "odd#1"]
        failed = lines_of(lines, "run_failed")
        assert [line["code"] for line in failed] == ["USER_ERROR", "LIMIT_EXCEEDED"]
        assert failed[0]["at"].startswith(("tests/", "/")) or "test_failures_logged.py" in failed[0]["at"]

    run(main)


def test_a_failure_is_logged_by_the_worker_that_records_it_and_a_caught_one_fails_no_run() -> None:
    """One line among two workers, and none of a run."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry, retries=0)
        async def broken() -> None:
            raise ValueError("x")

        @workflow(registry=world.registry)
        async def flow() -> str:
            try:
                await broken()
            except ValueError:
                return "caught"
            return ""

        with captured() as lines:
            async with world.worker("A"), world.worker("B"):
                assert await (await world.start(flow)).result(60) == "caught"
                await asyncio.sleep(100)
        assert len(lines_of(lines, "attempt_failed")) == 1
        assert lines_of(lines, "run_failed") == []

    run(main)


def test_of_encrypted_errors_a_line_has_the_class_and_the_place() -> None:
    """What stands encrypted in the log is not written readable next to it."""

    class Hides(Codecs):
        @property
        def hides(self) -> bool:
            return True

    async def main() -> None:
        world = World()

        @step(registry=world.registry, retries=0)
        async def broken() -> None:
            raise ValueError("pass-word")

        @workflow(registry=world.registry)
        async def flow() -> None:
            await broken()

        with captured() as lines, payload_codecs.using(Hides()):
            async with world.worker("A"):
                with pytest.raises(errors.RunFailed, match="pass-word"):
                    await (await world.start(flow)).result(60)
        failed = [*lines_of(lines, "attempt_failed"), *lines_of(lines, "run_failed")]
        assert len(failed) == 2
        assert "pass-word" not in repr(failed)
        assert all(line["error"].startswith("builtins.ValueError") and line["at"] for line in failed)

    run(main)


def test_a_worker_remembers_a_bounded_number_of_failures() -> None:
    """Steps that are tried again for years, one after the other."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry, retries=1, first_delay=1.0)
        async def flaky() -> None:
            raise ValueError("x")

        @workflow(registry=world.registry)
        async def flow() -> None:
            await flaky()

        async with world.worker("A") as a:
            a.shell.failures.update({str(n): "" for n in range(STEPS_MAX + 5)})
            with pytest.raises(errors.RunFailed):
                await (await world.start(flow)).result(60)
            assert len(a.shell.failures) <= STEPS_MAX

    run(main)


def test_a_lost_fence_is_seen_at_info() -> None:
    """On a busy system an operator sees contention without debug lines."""

    async def main() -> None:
        world = World()

        flow = race_flow(world)
        with captured() as lines:
            async with world.worker("A") as a:
                await asyncio.sleep(1)
                started = await world.start(flow)
                await asyncio.sleep(50)
                a.at("append.before", a.seen["append.before"] + 1, lambda: land_signal(world, "t", 7))
                assert await started.result(200) == "drained 7"
        assert {line["log_level"] for line in lines_of(lines, "fence_conflict")} == {"info"}

    run(main)
