"""The records of failures have the exception itself, for error trackers, and each formatter prints it once."""

from __future__ import annotations

import io
import json
import logging
import traceback
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World
from tests.log_lines import captured
from tests.logs.test_library_logging import fresh_logging

from fencepost import errors, step, workflow
from fencepost.engine.logs import configure_logs

MARK = "a message that stands nowhere else"


class Refused(Exception):
    """Of the user's."""


def failing(kind: str) -> list[logging.LogRecord]:
    """Records of a run whose step fails alike in two attempts."""
    records: list[logging.LogRecord] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    async def main() -> None:
        world = World()

        async def in_the_loop(n: int) -> int:
            raise Refused(MARK)

        def in_a_thread(n: int) -> int:
            raise Refused(MARK)

        code: Any = in_the_loop if kind == "async" else in_a_thread
        body: Any = step(registry=world.registry, name="body", retries=1, first_delay=1.0)(code)

        @workflow(registry=world.registry)
        async def flow() -> None:
            await body(1)

        async with world.worker("A") as a:
            with pytest.raises(errors.RunFailed):
                await (await world.start(flow)).result(60)
        assert a.shell.raised == {}, "its frames would be kept"

    root, handler = logging.getLogger("fencepost"), Keeping()
    root.addHandler(handler)
    try:
        run(main)
    finally:
        root.removeHandler(handler)
    return [record for record in records if record.__dict__["event"] in ("attempt_failed", "run_failed")]


def thrown(record: logging.LogRecord) -> BaseException:
    assert record.exc_info is not None
    assert record.exc_info[1] is not None
    return record.exc_info[1]


@pytest.mark.parametrize("kind", ["async", "def"])
def test_a_record_has_the_exception_with_its_frames(kind: str) -> None:
    """Of both attempts, the repeated one too, and of the run."""
    records = failing(kind)
    assert [record.__dict__["event"] for record in records] == ["attempt_failed", "attempt_failed", "run_failed"]
    for record in records:
        assert type(thrown(record)) is Refused
        assert record.exc_info is not None
        assert record.exc_info[2] is not None
    names = {frame.name for frame in traceback.extract_tb(thrown(records[0]).__traceback__)}
    assert names & {"in_the_loop", "in_a_thread"}
    assert "flow" in {frame.name for frame in traceback.extract_tb(thrown(records[2]).__traceback__)}


def test_a_formatter_of_the_applications_prints_a_traceback_once() -> None:
    """A repeated failure says where it stands instead."""
    first, second, run_failed = (logging.Formatter("%(message)s").format(record) for record in failing("async"))
    assert (first.count("raise Refused(MARK)"), run_failed.count("raise Refused(MARK)")) == (1, 1)
    assert run_failed.count("await body(1)") == 1
    assert "engine/bodies.py" not in first + run_failed
    assert "Traceback" not in second
    assert "its traceback stands below an earlier line" in second


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_commands_formats_print_it_once(form: Any) -> None:
    """As they did before there was an exception beside it."""
    with fresh_logging() as stream:
        assert isinstance(stream, io.StringIO)
        configure_logs(form, "info", stream)
        failing("async")
    said = stream.getvalue()
    assert (said.count("raise Refused(MARK)"), said.count("await body(1)")) == (2, 1), said
    assert "earlier line" not in said
    if form == "json":
        lines = [json.loads(line) for line in said.splitlines()]
        failed = [line for line in lines if line["event"] in ("attempt_failed", "run_failed")]
        assert [("trace" in line, "exception" in line, "exc_info" in line) for line in failed] == [
            (True, False, False),
            (False, False, False),
            (True, False, False),
        ]


def test_a_bug_of_ours_has_its_exception_too() -> None:
    """``handler_failed``."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> None:
            return None

        bug = ZeroDivisionError(MARK)

        async def broken(*args: Any, **kwargs: Any) -> Any:
            raise bug

        with captured() as lines:
            async with world.worker("A") as a:
                a.shell.log.append = broken  # type: ignore[method-assign]
                with pytest.raises(errors.ResultTimeout):
                    await (await world.start(flow)).result(5)
        found = [line for line in lines if line["event"] == "handler_failed"]
        assert found
        assert found[0]["exc_info"] is bug

    run(main)
