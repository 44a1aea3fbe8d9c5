"""The worker processes of the demo, and what is done to them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from fencepost.config import Config
from fencepost.dev.demo import worker
from fencepost.dev.demo.screen import Screen
from fencepost.engine.link import Ready
from fencepost.engine.process import ChildProcess, environment, told

FREEZE_SECONDS = 5.0
DRAIN_SECONDS = 20.0
LOOK_SECONDS = 0.002


class WorkerTrouble(Exception):
    """A worker process did not do as it was told. The message has the end of its log."""


class Member:
    """One worker process. ``owner``: its id in log and leases."""

    def __init__(self, label: str, child: ChildProcess, owner: str, log: Path) -> None:
        self.label = label
        self.owner = owner
        self.pid: int = child.pid
        self.log = log
        self._child = child

    async def freeze(self) -> None:
        """SIGSTOP, and wait until the kernel says that the process stands still. Raises WorkerTrouble."""
        self._child.signal(signal.SIGSTOP)
        try:
            async with asyncio.timeout(FREEZE_SECONDS):
                while not _stands_still(self.pid):  # noqa: ASYNC110 - the kernel tells nobody
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError as error:
            raise WorkerTrouble(f"{self.label} did not stop within {FREEZE_SECONDS:g} s of SIGSTOP") from error

    def thaw(self) -> None:
        """SIGCONT."""
        self._child.signal(signal.SIGCONT)

    async def kill(self) -> int:
        """SIGKILL; answers the exit code (-9) when the process is gone. Idempotent."""
        self._child.signal(signal.SIGKILL)
        code = await self._child.ended()
        self._child.close()
        return code

    async def drain(self) -> int:
        """SIGTERM; answers the exit code. One that hangs is killed, which shows in the code."""
        self._child.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                return await self._child.ended()
        except TimeoutError:
            return await self.kill()
        finally:
            self._child.close()


class Team:
    """All workers that were started. ``async with`` kills whoever is left at the end."""

    def __init__(self, config: Config, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._count = 0
        self.journal: Path = folder / "bodies.jsonl"
        self.members: list[Member] = []

    async def __aenter__(self) -> Team:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for member in list(self.members):
            await self.kill(member)

    async def hire(self) -> Member:
        """Start a worker and wait until it consumes. Raises WorkerTrouble."""
        self._count += 1
        label = f"worker {self._count}"
        log = self._folder / f"worker-{self._count}.log"
        order = worker.Order(self._config, str(self._folder), str(log), str(self.journal))
        # -P: nothing that happens to lie in the working folder is imported in place of a module of the library.
        argv = [sys.executable, "-P", "-m", worker.__name__]
        starting = asyncio.create_task(ChildProcess.start(argv, msgspec.json.encode(order), environment()))
        try:
            child = await asyncio.shield(starting)
        except asyncio.CancelledError:
            self.members.append(Member(label, await starting, "", log))
            raise
        member = Member(label, child, "", log)
        self.members.append(member)
        word = await child.word()
        if not isinstance(word, Ready):
            reason = word.message if word is not None else told(await child.ended())
            raise WorkerTrouble(f"{label} did not become ready: {reason}\n{tail(log)}")
        member.owner = word.owner
        return member

    async def kill(self, member: Member) -> int:
        """kill -9."""
        self.members.remove(member)
        return await member.kill()

    def show_logs(self, screen: Screen) -> None:
        """What the workers said last, for whoever has to find out what went wrong."""
        for log in sorted(self._folder.glob("worker-*.log")):
            screen.say(f"the end of {log.name}:")
            screen.say(tail(log))

    async def drain(self) -> dict[str, int]:
        """Tell all who are left to drain; answers their exit codes by label."""
        members, codes = list(self.members), dict[str, int]()
        for member, code in zip(members, await asyncio.gather(*(m.drain() for m in members)), strict=True):
            self.members.remove(member)
            codes[member.label] = code
        return codes


def tail(log: Path, lines: int = 20) -> str:
    """The end of a worker's log, for messages."""
    if not log.exists():
        return "(it logged nothing)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _stands_still(pid: int) -> bool:
    """True once all of the process has stopped. Never takes its exit code away from whoever waits for that."""
    if hasattr(os, "waitid"):
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG) is not None
    found, status = os.waitpid(pid, os.WUNTRACED | os.WNOHANG)  # macOS before Python 3.13
    return found == pid and os.WIFSTOPPED(status)
