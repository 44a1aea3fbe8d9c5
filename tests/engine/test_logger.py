"""``fencepost.logger``: each line of a workflow once, whatever is replayed; and whose it is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import pytest
from engine_virtual import run
from engine_world import Crashed, World

import fencepost
from fencepost import current, hook, logger, step, workflow


class Kept(logging.Handler):
    """The records of ``fencepost.code``, whatever other tests have done to the loggers above it."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    own = logging.getLogger("fencepost.code")
    handler = Kept()
    own.addHandler(handler)
    before = own.level
    own.setLevel(logging.INFO)
    monkeypatch.setattr(own, "disabled", False)
    monkeypatch.setattr(logging.root.manager, "disable", 0)
    yield handler
    own.setLevel(before)
    own.removeHandler(handler)


def test_a_workflows_lines_come_once_over_a_crash_and_development_checks(kept: Kept) -> None:
    """Replayed by another worker from the beginning, and twice per turn by check_replay."""

    async def main() -> None:
        world = World(check_replay=True)

        @step(registry=world.registry)
        async def work(n: int) -> int:
            logger.info("body %d", n)
            return n

        @workflow(registry=world.registry)
        async def flow() -> int:
            logger.info("begins")
            total = await work(1)
            logger.info("first is %d", total)
            async with hook(int, token="go") as go:
                total += await go
            logger.info("gone on")
            total += await work(2)
            logger.warning("ends with %d", total, extra={"total": total})
            return total

        async with world.worker("A") as first:
            started = await world.start(flow)
            await asyncio.sleep(3)
            with contextlib.suppress(Crashed):
                first.crash()
        async with world.worker("B"):
            await world.client().resume("go", 10)
            assert await started.result(60) == 13
        records = kept.records
        assert [record.getMessage() for record in records] == [
            "begins",
            "body 1",
            "first is 1",
            "gone on",
            "body 2",
            "ends with 13",
        ]
        assert {vars(record)["run_id"] for record in records} == {started.id}
        assert {vars(record)["workflow"] for record in records} == {"flow"}
        assert [vars(record).get("step_id") for record in records] == [None, "work#1", None, None, "work#2", None]
        assert vars(records[-1])["total"] == 13

    run(main)


def test_outside_it_is_a_plain_logger(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        fencepost.get_logger("shop").info("open")
    assert [(record.name, record.getMessage()) for record in caplog.records] == [("shop", "open")]


@pytest.mark.parametrize(("ends", "reason"), [("timeout", "timeout"), ("withdrawn", "withdrawn")])
def test_a_body_hears_why_it_is_cancelled(ends: str, reason: str) -> None:
    async def main() -> None:
        world = World()
        heard: list[tuple[bool, str | None, tuple[object, ...]]] = []

        @step(registry=world.registry, retries=0, timeout=5 if ends == "timeout" else None)
        async def waits() -> None:
            assert current().cancel_reason is None
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                heard.append((current().cancelled, current().cancel_reason, error.args))
                raise

        @workflow(registry=world.registry)
        async def flow() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if ends == "timeout" else 5):
                    await waits()

        async with world.worker("A"):
            await (await world.start(flow)).result(60)
        assert heard == [(True, reason, (reason,))]

    run(main)
