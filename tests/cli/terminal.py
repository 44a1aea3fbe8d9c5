"""Terminals in which the command line runs: in this process for what is said and how it ends, as real processes for
what starts, dies and is killed.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from click.testing import CliRunner, Result

from fencepost.cli.main import cli

PATIENCE_SECONDS = 30.0
"""How long a test waits for a line or an end before it fails: a bound, not a measure."""

FLOWS = '''
import asyncio
import dataclasses
import os
import time
from pathlib import Path

from fencepost import hook, sleep, step, workflow


@dataclasses.dataclass
class Order:
    id: int
    note: str = ""


@step
async def double(number: int) -> int:
    return number * 2


@step(retries=0)
async def boom() -> int:
    raise ValueError("no luck")


@step(retries=5, first_delay=3600.0, cap=3600.0)
async def flaky() -> int:
    raise RuntimeError("not yet")


@step
async def held(folder: str) -> int:
    """Says who it is, then waits until it may go on."""
    with open(Path(folder) / "began", "a") as began:
        began.write(f"{os.getpid()} {time.time()}\\n")
    while not (Path(folder) / "go").exists():
        await asyncio.sleep(0.02)
    return os.getpid()


@workflow
async def fulfil(order: Order) -> int:
    return await double(order.id)


@workflow
async def fails() -> int:
    return await boom()


@workflow
async def retries() -> int:
    return await flaky()


@workflow
async def naps() -> None:
    await sleep(100_000)


@workflow
async def approve(name: str) -> object:
    async with hook(dict, token=f"approve:{name}") as signal:
        return await signal


@workflow
async def holds(folder: str) -> int:
    return await held(folder)
'''


class Live:
    """A running command: its lines as they come, its end."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.seen: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._open = 2
        for stream in (process.stdout, process.stderr):
            threading.Thread(target=self._pump, args=(stream,), daemon=True).start()

    def _pump(self, stream: Iterator[str]) -> None:
        for line in stream:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_for(self, text: str) -> str:
        """The next line, on either stream, that has the text."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line with {text!r} in time; seen: {self.text}") from None
            if line is None:
                self._open -= 1
                assert self._open, f"ended without a line with {text!r}; seen: {self.text}"
                continue
            self.seen.append(line)
            if text in line:
                return line

    def end(self) -> int:
        """Wait for the end; all lines are in ``seen`` then."""
        code = self.process.wait(PATIENCE_SECONDS)
        while self._open:
            line = self._lines.get(timeout=PATIENCE_SECONDS)
            if line is None:
                self._open -= 1
            else:
                self.seen.append(line)
        return code

    def send(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    @property
    def text(self) -> str:
        """What was said so far."""
        return "\n".join(self.seen)


class Terminal:
    """A folder with an environment, in which commands run."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        self.live: list[Live] = []

    def __call__(self, *args: str, **more: str) -> Result:
        """Run a command in this process."""
        before = Path.cwd()
        os.chdir(self.folder)
        clean: dict[str, str | None] = {name: None for name in os.environ if name.startswith("FENCEPOST_")}
        try:
            return CliRunner().invoke(cli, list(args), env={**clean, **self.environ, **more})
        finally:
            os.chdir(before)

    def command(self, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "fencepost", *args],
            cwd=self.folder,
            env=self._environ(more),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def start(self, *args: str, **more: str) -> Live:
        """Start a command that goes on."""
        return self.start_below((), *args, **more)

    def start_below(self, above: Sequence[str], *args: str, **more: str) -> Live:
        """As ``start``, by another command that runs it."""
        process = subprocess.Popen(
            [*above, sys.executable, "-u", "-m", "fencepost", *args],
            cwd=self.folder,
            env=self._environ(more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        live = Live(process)
        self.live.append(live)
        return live

    def close(self) -> None:
        """End what a failed test has left."""
        for live in self.live:
            if live.process.poll() is None:
                live.process.kill()
            live.process.wait(PATIENCE_SECONDS)

    def _environ(self, more: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FENCEPOST_")}
        return {**kept, **self.environ, **more}


def eventually(look: Callable[[], object]) -> None:
    """Wait until something that has no signal of its own is so. Fails when the patience is over."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not look():
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def write_flows(folder: Path, text: str = FLOWS) -> str:
    """A project's module in the folder, under a name that no other test of this process has imported."""
    name = f"flows_{uuid.uuid4().hex[:12]}"
    (folder / f"{name}.py").write_text(text)
    return name


@contextlib.contextmanager
def terminal_in(folder: Path, environ: dict[str, str]) -> Generator[Terminal]:
    """A terminal that leaves nothing behind."""
    made = Terminal(folder, environ)
    try:
        yield made
    finally:
        made.close()


def stop(live: Live) -> None:
    """End a worker as an operator does, and see that it ends well."""
    live.send(signal.SIGTERM)
    assert live.end() == 0, live.text
