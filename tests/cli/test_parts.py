"""The small parts below the commands: logs, output, faults on order, the files of a project, the link."""

from __future__ import annotations

import io
import json
import logging
import socket
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from tests.cli.terminal import write_flows

from fencepost.authoring.registry import Registry
from fencepost.cli.event_text import detail, event_json
from fencepost.cli.output import iso, plain, printable, span
from fencepost.engine import faults
from fencepost.engine.link import Failed, ParentLink, Ready, read_word
from fencepost.engine.loading import LoadError, changed_at, load_modules, project_files
from fencepost.engine.logs import Format, configure_logs
from fencepost.records import RunStarted, pack
from fencepost.telemetry import note
from fencepost_store.events import Event, EventType


@pytest.mark.parametrize("form", ["text", "json"])
def test_logs_of_ours_and_of_user_code_look_alike(form: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each, the same fields, tracebacks included."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own: handlers of others are left alone
    stream = io.StringIO()
    configure_logs(form, "info", stream)
    note("leases_expired", owner="a b", count=2)
    note("hint_failed", channel="x", error="below the level")
    logging.getLogger("shop").warning("low on %s", "paper")
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("shop").exception("broken")
    lines = stream.getvalue().splitlines()
    if form == "json":
        ours, theirs, trace = (json.loads(line) for line in lines)
        assert (ours["event"], ours["owner"], ours["level"]) == ("leases_expired", "a b", "info")
        assert (theirs["event"], theirs["logger"], theirs["level"]) == ("low on paper", "shop", "warning")
        assert "ValueError: no" in trace["exception"]
    else:
        assert lines[0].split(" ", 1)[1] == 'info    leases_expired owner="a b" count=2'
        assert lines[1].split(" ", 1)[1] == "warning low on paper logger=shop"
        assert lines[-1] == "ValueError: no"
    assert "\x1b" not in stream.getvalue(), "colour belongs on a terminal"


def test_configuring_logs_twice_prints_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second time replaces the first."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    stream = io.StringIO()
    configure_logs("text", "info", stream)
    configure_logs("text", "info", stream)
    logging.getLogger("shop").warning("once")
    assert stream.getvalue().count("once") == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\x00\xff", {"$bytes": "AP8="}),
        ({1: (2, {3}), "d": timedelta(seconds=1)}, {"1": [2, [3]], "d": "0:00:01"}),
        (datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=1))), "2026-01-02T02:00:00.000Z"),
        (float("inf"), "inf"),
        (2**80, 2**80),
    ],
)
def test_values_in_what_json_knows(value: object, expected: object) -> None:
    """Whatever user code put into a run can be shown."""
    assert plain(value) == expected
    json.dumps(plain(value), allow_nan=False)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0012, "0.001 s"), (59.94, "59.9 s"), (61, "1 min 1 s"), (90_061, "1 d 1 h"), (-3, "-3.000 s"), (3600, "1 h")],
)
def test_spans_for_people(seconds: float, expected: str) -> None:
    """Two units at most."""
    assert span(seconds) == expected


def test_printable_keeps_text_and_shows_control() -> None:
    """Escapes are shown, not sent."""
    assert printable("café ✓") == "café ✓"
    assert printable("a\x1b[2Jb\n") == "a\\x1b[2Jb\\n"


def test_an_event_of_another_codec_is_shown_as_bytes() -> None:
    """Encrypted, or of a newer version: no reason to show nothing of the rest."""
    event = Event(3, EventType.step_completed, "a#1", 1, 1_000_000, None, None, "w", b"\x09secret")
    assert event_json(event)["payload"] == {"$bytes": "CXNlY3JldA=="}
    assert detail(event) == '{"$bytes": "CXNlY3JldA=="}'
    started = Event(2, EventType.run_started, "", 0, 1_000_000, None, None, None, pack(RunStarted("w1", "b7")))
    assert detail(started) == "worker w1, build b7"
    assert event_json(started)["at"] == iso(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))


@pytest.mark.parametrize("spec", ["a:1", "a:0:kill", "a:x:kill", "a:1:explode", ""])
def test_a_fault_that_makes_no_sense(spec: str) -> None:
    """A typing error in a test must not be a test that passes."""
    with pytest.raises(ValueError, match="point:n:action"):
        faults.fault_of(spec)


def test_a_fault_strikes_at_the_nth_call_of_its_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and nowhere else."""
    sent: list[int] = []

    def kill(pid: int, number: int) -> None:
        sent.append(number)

    monkeypatch.setattr(faults.os, "kill", kill)
    fault = faults.fault_of("settle.before:2:stop")
    for name in ("settle.before", "append.before", "settle.before", "settle.before"):
        fault(name)
    assert sent == [faults.ACTIONS["stop"]]


def test_the_files_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded, below the working folder, not hidden, not installed; with the time of their last change."""
    monkeypatch.chdir(tmp_path)
    name = write_flows(tmp_path)
    registry = Registry()
    load_modules([name], registry)
    found = project_files()
    assert found == {str(tmp_path / f"{name}.py"): (tmp_path / f"{name}.py").stat().st_mtime_ns}
    monkeypatch.chdir(Path(sys.prefix).parent)
    assert not [file for file in project_files() if "site-packages" in file]
    assert changed_at([str(tmp_path / "gone.py")]) == {str(tmp_path / "gone.py"): 0}


def test_a_broken_module_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that ``dev`` knows what to watch for the cure."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows_broken.py").write_text("def f(:\n")
    with pytest.raises(LoadError) as caught:
        load_modules(["flows_broken"], Registry())
    assert str(tmp_path / "flows_broken.py") in caught.value.files


def test_words_on_the_link() -> None:
    """Both survive the way; anything else is no word."""
    for word in (Ready("o", ("w",), ("s",), {"a.py": 2}), Failed(4, "no server", {"a.py": 2})):
        assert read_word(msgspec.json.encode(word)) == word
    with pytest.raises(msgspec.DecodeError):
        read_word(b'{"type": "other"}')


def test_the_end_of_the_parent_is_noticed() -> None:
    """By the end of the stream, whatever ended it; telling a dead parent is no error."""
    ours, theirs = socket.socketpair()
    link = ParentLink(theirs)
    ours.sendall(b"the order\n")
    assert link.order() == b"the order\n"
    gone = threading.Event()
    link.watch(gone.set)
    assert not gone.is_set()
    link.tell(Ready("unread"))
    ours.close()
    assert gone.wait(10)
    link.tell(Ready("to nobody"))
    theirs.close()


def test_why_says_what_the_code_of_others_lacks() -> None:
    """A message that some code has refused: how many kinds of it, and the last one's reason."""
    from fencepost.cli.runs_why import _message_text  # pyright: ignore[reportPrivateUsage]
    from fencepost_queue.protocol import Peeked

    lack = "step 'added' is not registered in this worker"
    refused = Peeked("default", "s:1:added#1", "ready", None, 0, 0, 0, False, False, None, 2, lack)
    told = _message_text(refused)
    assert told.startswith("step added#1: ready, and left to other code: 2 kind(s) of code cannot do it")
    assert lack in told
    waiting = Peeked("default", "s:1:added#1", "ready", None, 0, 0, 0, False, False, None)
    assert "a worker that serves queue 'default' takes it next" in _message_text(waiting)
