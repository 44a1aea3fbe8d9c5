"""The demo as a user sees it: the whole of it, and what is left when it is stopped."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time

import msgspec
import pytest
from demo_process import DemoProcess

from fencepost.dev.demo.verdict import Document

GONE_SECONDS = 30
"""What a guard grants its server, and more."""
needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")


@needs_proc
def test_the_whole_demo_keeps_its_promises() -> None:
    """On real servers, with a worker killed in the middle; exit code 0, within a minute, nothing left behind."""
    demo = DemoProcess.start()
    code, output = demo.end()
    shown = "\n".join(demo.lines)
    assert code == 0, shown
    document = msgspec.json.decode(output, type=Document)
    facts, index, kill = document.facts, document.facts.index, document.facts.index.kill
    assert document.ok
    assert all(promise.kept for promise in document.promises)
    assert index.report == index.direct
    assert index.report.modules > 300
    assert index.steps > index.report.modules
    assert kill.exit_code == -9
    assert len(kill.in_flight) >= 2
    assert set(index.begun_again) == set(index.lost)
    assert all(starts[0] == kill.victim and len(starts) == 2 for starts in index.begun_again.values())
    assert [order.outcome.status for order in facts.orders] == ["shipped", "refunded"]
    assert facts.exit_codes == {"worker 1": 0, "worker 3": 0} or facts.exit_codes == {"worker 2": 0, "worker 3": 0}
    assert facts.seconds < 60
    for words in ("ran twice", "recovery", "commits", f"kill -9 of {kill.victim}", "retried 2 times", "came due"):
        assert words in shown
    assert max(len(line) for line in demo.lines) < 160
    assert len(demo.lines) < 80
    assert demo.leftovers() == []


@needs_proc
@pytest.mark.parametrize(
    ("words", "number", "times"),
    [
        ("starting an embedded", signal.SIGINT, 1),
        ("starting two worker", signal.SIGINT, 2),
        ("is killed", signal.SIGTERM, 1),
    ],
    ids=["Ctrl-C while servers start", "Ctrl-C twice while workers start", "SIGTERM in the middle of the run"],
)
def test_a_signal_at_any_moment_leaves_nothing(words: str, number: signal.Signals, times: int) -> None:
    """The exit code names the signal; a second Ctrl-C does not break the cleaning up."""
    demo = DemoProcess.start()
    demo.wait_for(words)
    demo.process.send_signal(number)
    demo.wait_for("stopping the servers")
    for _ in range(times - 1):
        demo.process.send_signal(number)
    code, output = demo.end()
    assert code == 128 + number, "\n".join(demo.lines)
    assert output == ""
    assert demo.lines[-1] == f"stopped by {number.name}; nothing is left behind"
    assert demo.leftovers() == []


@needs_proc
def test_kill_nine_of_the_demo_ends_workers_and_servers() -> None:
    """Even of one that is frozen. Only the temporary folder stays, for nobody is left to delete it."""
    demo = DemoProcess.start()
    demo.wait_for("is ready")
    folder = demo.folder
    workers = [int(line.rpartition("process ")[2].rstrip(")")) for line in demo.lines if "is ready" in line]
    os.kill(workers[0], signal.SIGSTOP)
    demo.process.kill()
    demo.process.communicate()
    deadline = time.monotonic() + GONE_SECONDS
    while demo.leftovers() != [str(folder)]:
        assert time.monotonic() < deadline, demo.leftovers()
        time.sleep(0.05)
    shutil.rmtree(folder)
