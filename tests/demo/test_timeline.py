"""Timelines and what is read off a log, on logs made by hand."""

from __future__ import annotations

import io
from typing import Any, cast

from fencepost.client import Run
from fencepost.dev.demo.act_order import overlap, slept
from fencepost.dev.demo.history import History
from fencepost.dev.demo.screen import Screen
from fencepost.dev.demo.timeline import WIDTH, draw
from fencepost.records import StepCreated, StepStarted, WaitCreated, pack
from fencepost_store.events import Event, EventType

SECOND = 1_000_000


class Log:
    """Builds a history event by event; ``at`` in seconds."""

    def __init__(self) -> None:
        self.history = History(cast("Run[Any]", Handle()))
        self.add(EventType.run_created, 0)

    def add(self, kind: EventType, at: float, entity: str = "", attempt: int = 0, payload: bytes = b"") -> None:
        """The next event."""
        seq = len(self.history.events) + 1
        self.history.apply(Event(seq, kind, entity, attempt, int(at * SECOND), None, None, None, payload))

    def created(self, entity: str, at: float) -> None:
        """A step is asked for."""
        self.add(EventType.step_created, at, entity, payload=pack(StepCreated(entity.partition("#")[0], b"")))

    def started(self, entity: str, at: float, attempt: int = 1, by: str = "a") -> None:
        """An attempt begins."""
        self.add(EventType.step_started, at, entity, attempt, pack(StepStarted(by)))

    def completed(self, entity: str, at: float, attempt: int = 1) -> None:
        """An attempt ends well."""
        self.add(EventType.step_completed, at, entity, attempt)


class Handle:
    """As much of a run's handle as a history made by hand needs."""

    id = "run"


def crowd(count: int) -> Log:
    """Steps side by side, one of which is begun again by another worker; then a sleep."""
    log = Log()
    for number in range(count):
        log.created(f"work#{number}", 0)
    for number in range(count):
        log.started(f"work#{number}", 1, by="a")
    log.started("work#0", 3, attempt=2, by="b")
    log.completed("work#0", 4, attempt=2)
    for number in range(1, count):
        log.completed(f"work#{number}", 2 + number / count)
    log.add(EventType.wait_created, 4, "sleep#1", payload=pack(WaitCreated("sleep")))
    log.add(EventType.wait_completed, 8, "sleep#1")
    log.add(EventType.run_completed, 8)
    return log


def test_parallel_steps_share_a_line() -> None:
    """Hundreds of steps are one line, drawn from the first start to the last end."""
    lines = draw(crowd(500).history, [(2 * SECOND, "kill")])
    assert len(lines) == 4
    head, work, mark, sleep = lines
    assert head.endswith("8.00 s")
    assert work.startswith("work x 500")
    assert work.endswith("500 steps in parallel, 1 begun twice")
    assert work.count("=") == WIDTH * 3 // 8 + 1
    assert mark.split() == ["X", "kill"]
    assert mark.index("X") - work.index("=") == round(WIDTH / 8)
    assert sleep.startswith("sleep#1")
    assert sleep.endswith("came due")
    assert sleep.count("=") == WIDTH / 2


def test_few_steps_have_a_line_each() -> None:
    """With what happened to each."""
    lines = draw(crowd(2).history)
    assert [line.split()[0] for line in lines[1:]] == ["work#1", "work#0", "sleep#1"]
    assert lines[2].endswith("begun twice")


def test_a_log_that_is_still_going_on_can_be_drawn() -> None:
    """What has not ended says so or reaches to where it has come."""
    log = Log()
    log.created("work#1", 1)
    log.add(EventType.hook_created, 2, "hook#1")
    assert draw(log.history)[-1].endswith("never ended")


def test_what_was_lost_and_what_is_in_flight() -> None:
    """In flight: begun by this worker, not ended. Lost: begun by this worker, ended by another start."""
    log = Log()
    for entity in ("kept#1", "lost#1", "open#1", "other#1"):
        log.created(entity, 0)
    for entity in ("kept#1", "lost#1", "open#1"):
        log.started(entity, 1, by="a")
    log.started("other#1", 1, by="b")
    assert [step.entity for step in log.history.in_flight("a")] == ["kept#1", "lost#1", "open#1"]
    assert log.history.lost("a") == []
    log.completed("kept#1", 2)
    log.started("lost#1", 2, attempt=2, by="b")
    log.completed("lost#1", 3, attempt=2)
    log.completed("other#1", 3)
    assert [step.entity for step in log.history.in_flight("a")] == ["open#1"]
    assert [step.entity for step in log.history.lost("a")] == ["lost#1"]
    assert log.history.lost("b") == []


def test_overlap_and_sleep_are_read_off_the_log() -> None:
    """One after the other is no overlap; a timeout is no sleep."""
    log = Log()
    for number, (begin, end) in enumerate([(1, 3), (2, 4), (4, 5)]):
        log.created(f"work#{number}", 0)
        log.started(f"work#{number}", begin)
        log.completed(f"work#{number}", end)
    assert overlap(log.history.named("work")) == 2
    assert overlap(log.history.named("work")[1:]) == 1
    assert overlap([]) == 0
    log.add(EventType.wait_created, 5, "timeout#1", payload=pack(WaitCreated("timeout")))
    log.add(EventType.wait_completed, 6, "timeout#1")
    assert slept(log.history) is None
    log.add(EventType.hook_received, 6, "hook#1")
    log.add(EventType.wait_created, 6.25, "sleep#1", payload=pack(WaitCreated("sleep")))
    log.add(EventType.wait_completed, 8.5, "sleep#1")
    assert slept(log.history) == 2.5  # from what the code was told, whose time is its clock


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def test_the_screen_draws_over_its_bar_on_a_terminal_only() -> None:
    """No control character ever goes into a file or a pipe."""
    for stream in (io.StringIO(), Terminal()):
        screen = Screen(stream)
        screen.progress(1, 3, "modules")
        screen.say("done")
        assert ("\x1b" in stream.getvalue()) is stream.isatty()
        assert stream.getvalue().endswith("done\n")
    assert stream.getvalue().count("\x1b[K") == 2
