"""The supervisor over children that are small scripts: what it starts again, when it gives up, what it passes on."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from tests.cli.terminal import alive, eventually

from fencepost.engine import supervisor as module
from fencepost.engine.link import Failed, Ready
from fencepost.engine.process import ChildProcess, environment
from fencepost.engine.supervisor import Hooks, Outcome, Supervisor

PRELUDE = """
import json, os, signal, socket, sys, time
link = socket.socket(fileno=os.dup(0))
order = link.makefile().readline().strip()
def ready(**more):
    link.sendall(json.dumps({"type": "ready", "owner": str(os.getpid()), **more}).encode() + b"\\n")
def failed(code, message):
    link.sendall(json.dumps({"type": "failed", "code": code, "message": message}).encode() + b"\\n")
def wait():
    while True:
        signal.pause()
def tries():
    # One append each, and the place where one's own ended: two children that start at once never get the same number.
    file = os.open(order, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(file, b"x")
    return os.lseek(file, 0, os.SEEK_CUR)
"""
DRAINS = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"


class Watched:
    """A supervisor with what it told its owner."""

    def __init__(
        self, script: str, folder: Path, *, processes: int = 1, drain_seconds: float = 5.0, reload: bool = False
    ):
        self.expired: list[str] = []
        self.ready: asyncio.Queue[Ready] = asyncio.Queue()
        self.change = asyncio.Event()
        self.watched: list[dict[str, int]] = []
        self.supervisor = Supervisor(
            (sys.executable, "-S", "-c", PRELUDE + script),
            str(folder / "tries").encode(),
            Hooks(self._expire, self._all_ready, self.ready.put_nowait, self._changed if reload else None),
            processes=processes,
            drain_seconds=drain_seconds,
            uniform=lambda: 0.0,
        )
        self.task = asyncio.create_task(self.supervisor.run())

    async def _expire(self, owner: str) -> None:
        self.expired.append(owner)

    def _all_ready(self, words: list[Ready]) -> None:
        for word in words:
            self.ready.put_nowait(word)

    async def _changed(self, files: dict[str, int]) -> str:
        self.watched.append(files)
        await self.change.wait()
        self.change.clear()
        return "a.py"

    async def outcome(self) -> Outcome:
        """How it ended."""
        return await asyncio.wait_for(self.task, 30)

    async def next_ready(self) -> int:
        """The process that is ready now."""
        return int((await asyncio.wait_for(self.ready.get(), 30)).owner)


async def gone(pid: int) -> None:
    """Wait until the process has ended."""
    while alive(pid):  # noqa: ASYNC110 - no event for a process that the supervisor waits for
        await asyncio.sleep(0.01)


async def test_a_dead_child_is_replaced_and_its_owner_expired(tmp_path: Path) -> None:
    """kill -9 of the child; then the end drains the new one."""
    watched = Watched(DRAINS + "ready(); wait()", tmp_path)
    first = await watched.next_ready()
    os.kill(first, signal.SIGKILL)
    second = await watched.next_ready()
    assert watched.expired == [str(first)]
    watched.supervisor.stop()
    assert await watched.outcome() == Outcome()
    assert second != first
    assert watched.expired == [str(first)], "a drained child has handed back what it had"


async def test_a_child_that_ends_by_itself_well_is_replaced_too(tmp_path: Path) -> None:
    """Nobody asked it to; it handed everything back, so nothing is expired."""
    watched = Watched(DRAINS + "n = tries(); ready(); sys.exit(0) if n == 1 else wait()", tmp_path)
    await watched.next_ready()
    await watched.next_ready()
    watched.supervisor.stop()
    assert (await watched.outcome(), watched.expired) == (Outcome(), [])


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("failed(4, 'no server'); sys.exit(4)", Outcome(4, "no server")),
        ("sys.exit(7)", Outcome(1, "a worker process ended with exit code 7 while it was starting")),
        ("os.kill(os.getpid(), 9)", Outcome(1, "a worker process ended with signal 9 while it was starting")),
        (
            "link.sendall(b'nonsense\\n'); sys.exit(3)",
            Outcome(1, "a worker process ended with exit code 3 while it was starting"),
        ),
    ],
)
async def test_it_gives_up_if_no_child_was_ever_ready(tmp_path: Path, script: str, outcome: Outcome) -> None:
    """With the child's own words where it had some; the other children are ended."""
    watched = Watched(f"n = tries()\nif n > 1:\n    wait()\n{script}", tmp_path, processes=2)
    assert await watched.outcome() == outcome


async def test_it_goes_on_if_a_replacement_cannot_start(tmp_path: Path) -> None:
    """What was ready once may be so again: a server comes back, code is mended."""
    script = "n = tries()\nif n in (2, 3):\n    failed(4, 'no server'); sys.exit(4)\nready(); wait()"
    watched = Watched(DRAINS + script, tmp_path)
    os.kill(await watched.next_ready(), signal.SIGKILL)
    await watched.next_ready()
    assert (tmp_path / "tries").read_text() == "xxxx"
    watched.supervisor.stop()
    assert await watched.outcome() == Outcome()


async def test_restarts_are_spaced_out_and_jittered(tmp_path: Path) -> None:
    """Twice as long each time, up to a bound, by half at random."""
    watched = Watched(DRAINS + "ready(); wait()", tmp_path)
    delay = watched.supervisor._restart_delay  # pyright: ignore[reportPrivateUsage]
    assert [delay(n) for n in range(4)] == [0.05, 0.1, 0.2, 0.4]
    assert delay(100) == module.RESTART_SECONDS_MAX / 2
    await watched.next_ready()
    watched.supervisor.stop()
    await watched.outcome()


async def test_a_child_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time to drain; what it held is expired, and the exit code says so."""
    monkeypatch.setattr(module, "HANG_SECONDS", 0.1)
    watched = Watched("signal.signal(signal.SIGTERM, signal.SIG_IGN); ready(); wait()", tmp_path, drain_seconds=0.1)
    pid = await watched.next_ready()
    watched.supervisor.stop()
    assert (await watched.outcome()).code == 1
    assert watched.expired == [str(pid)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_signals_stop_it(tmp_path: Path, number: signal.Signals) -> None:
    """Whichever is sent, children get SIGTERM; the signals are as before afterwards."""
    watched = Watched(DRAINS + "ready(); wait()", tmp_path)
    await watched.next_ready()
    before = signal.getsignal(number)
    os.kill(os.getpid(), number)
    assert await watched.outcome() == Outcome()
    assert signal.getsignal(number) != before


async def test_a_frozen_child_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says again and again that it is alive is left alone; one that falls silent is killed."""
    monkeypatch.setattr(module, "SILENT_SECONDS", 1.0)
    beat = 'for _ in range(400):\n    link.sendall(b\'{"type": "alive"}\\n\'); time.sleep(0.05)\n'
    watched = Watched(f"{DRAINS}ready()\n{beat}", tmp_path)
    first = await watched.next_ready()
    await asyncio.sleep(1.5)  # longer than its silence would have been borne
    assert alive(first)
    os.kill(first, signal.SIGSTOP)
    second = await watched.next_ready()
    assert (watched.expired, alive(first)) == ([str(first)], False)
    assert second != first
    watched.supervisor.stop()
    assert await watched.outcome() == Outcome()


async def test_the_watchdog_is_fed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the supervisor, at half the interval; children are not told that there is one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "100000")
        watched = Watched(f"{DRAINS}ready(workflows=[*os.environ]); wait()", tmp_path)
        word = await asyncio.wait_for(watched.ready.get(), 30)
        assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(word.workflows)
        heard: list[bytes] = []
        while heard.count(b"WATCHDOG=1") < 3:
            heard.append(await asyncio.wait_for(asyncio.get_running_loop().sock_recv(ear, 1000), 30))
        watched.supervisor.stop()
        assert await watched.outcome() == Outcome()


async def test_the_second_stop_kills(tmp_path: Path) -> None:
    """At once, whatever the time to drain."""
    watched = Watched("signal.signal(signal.SIGTERM, signal.SIG_IGN); ready(); wait()", tmp_path, drain_seconds=600)
    pid = await watched.next_ready()
    watched.supervisor.stop()
    watched.supervisor.stop()
    assert "second signal" in (await watched.outcome()).message
    assert watched.expired == [str(pid)]


async def test_changed_code_replaces_the_child(tmp_path: Path) -> None:
    """It drains, and another one starts; that is no crash."""
    watched = Watched(DRAINS + "ready(files={'a.py': 1}); wait()", tmp_path, reload=True)
    first = await watched.next_ready()
    watched.change.set()
    assert await watched.next_ready() != first
    assert watched.expired == []
    watched.supervisor.stop()
    assert await watched.outcome() == Outcome()
    assert watched.watched == [{"a.py": 1}, {"a.py": 1}]


async def test_broken_code_is_waited_for(tmp_path: Path) -> None:
    """A replacement that cannot be loaded waits for the next change instead of trying again and again."""
    script = "n = tries()\nif n == 2:\n    failed(2, 'SyntaxError'); sys.exit(2)\nready(files={'a.py': n}); wait()"
    watched = Watched(DRAINS + script, tmp_path, reload=True)
    await watched.next_ready()
    watched.change.set()
    await asyncio.to_thread(eventually, lambda: len(watched.watched) == 2)
    assert (tmp_path / "tries").read_text() == "xx"
    watched.change.set()
    await watched.next_ready()
    watched.supervisor.stop()
    assert await watched.outcome() == Outcome()


async def test_the_first_environment_is_for_first_children_only(tmp_path: Path) -> None:
    """A fault that is to end one process does not end all that come after it."""
    script = DRAINS + "ready(workflows=[os.environ.get('MARK', '')]); wait()"
    watched = Watched(script, tmp_path)
    watched.task.cancel()
    await asyncio.wait({watched.task})
    words: asyncio.Queue[Ready] = asyncio.Queue()

    async def expire(owner: str) -> None:
        return None

    supervisor = Supervisor(
        (sys.executable, "-S", "-c", PRELUDE + script),
        b"",
        Hooks(expire, lambda found: words.put_nowait(found[0]), words.put_nowait),
        processes=1,
        drain_seconds=5,
        first_environ={"MARK": "x"},
    )
    task = asyncio.create_task(supervisor.run())
    first = await asyncio.wait_for(words.get(), 30)
    os.kill(int(first.owner), signal.SIGKILL)
    second = await asyncio.wait_for(words.get(), 30)
    assert (first.workflows, second.workflows) == (("x",), ("",))
    supervisor.stop()
    await task


async def test_cancelling_it_leaves_no_child(tmp_path: Path) -> None:
    """Whoever cancels the supervisor wants an end now."""
    watched = Watched("signal.signal(signal.SIGTERM, signal.SIG_IGN); ready(); wait()", tmp_path)
    pid = await watched.next_ready()
    watched.task.cancel()
    await asyncio.wait({watched.task})
    await asyncio.to_thread(eventually, lambda: not alive(pid))


async def test_last_words_count(tmp_path: Path) -> None:
    """A child that was ready and then says why it ends: both are known, also if something it forked lives on."""
    script = "ready(); failed(4, 'gone')\nif os.fork() == 0:\n    time.sleep(60)\nsys.exit(4)"
    child = await ChildProcess.start((sys.executable, "-S", "-c", PRELUDE + script), b"", environment())
    assert isinstance(await child.word(), (Ready, Failed))
    assert await child.ended() == 4
    assert child.ready is not None
    assert child.failed == Failed(4, "gone")
    child.close()
    os.killpg(child.pid, signal.SIGKILL)


async def test_h151_a_child_that_drains_unasked_is_bounded_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread still says that it is alive, and it consumes no more. The supervisor's own end is no failure then."""
    monkeypatch.setattr(module, "HANG_SECONDS", 0.1)
    script = f"""
first = tries() == 1
{DRAINS}
ready()
while first:
    link.sendall(b'{{"type": "draining"}}\\n{{"type": "alive"}}\\n')
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(0.1)
wait()
"""
    watched = Watched(script, tmp_path, drain_seconds=0.1)
    first = await watched.next_ready()
    second = await watched.next_ready()
    assert first != second
    await gone(first)
    watched.supervisor.stop()
    assert await watched.outcome() == Outcome()


async def test_h151_a_drain_that_nobody_asked_for_keeps_no_place_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body has signalled its own process, and others take drain_seconds to end: another process consumes meanwhile.
    When all is to end, the one that drains is not hurried, and the supervisor waits for it.
    """
    monkeypatch.setattr(module, "UNASKED_SECONDS", 0.05)
    script = f"""
first = tries() == 1
{DRAINS}
ready()
if first:
    link.sendall(b'{{"type": "draining"}}\\n')
    signal.signal(signal.SIGTERM, lambda *_: os._exit(5))  # it has had its signal: another one means "now"
    while not os.path.exists(order + ".done"):
        time.sleep(0.01)
    sys.exit(0)
wait()
"""
    watched = Watched(script, tmp_path, drain_seconds=20)
    first = await watched.next_ready()
    second = await watched.next_ready()
    assert first != second
    assert alive(first)
    watched.supervisor.stop()
    await gone(second)
    assert alive(first)
    (tmp_path / "tries.done").touch()
    assert await watched.outcome() == Outcome()
    assert not alive(first)


async def test_h151_a_signal_to_all_processes_of_a_service_starts_no_other_one(tmp_path: Path) -> None:
    """The child drains before the supervisor has heard of its own signal."""
    script = 'tries(); ready()\nlink.sendall(b\'{"type": "draining"}\\n\')\nwait()'
    watched = Watched(DRAINS + script, tmp_path, drain_seconds=20)
    first = await watched.next_ready()
    while not watched.supervisor._children[0].draining.is_set():  # noqa: ASYNC110  # pyright: ignore[reportPrivateUsage]
        await asyncio.sleep(0.01)
    watched.supervisor.stop()
    assert await watched.outcome() == Outcome()
    assert not alive(first)
    assert (tmp_path / "tries").read_text() == "x"
