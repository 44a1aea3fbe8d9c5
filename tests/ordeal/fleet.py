"""Real worker processes under an ordeal: booted, killed, frozen, drained by the pid that was started, and read.

Workers write their logs to files, never to a pipe that a busy reader could let run full and so hold them up.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from tests.ordeal.ground import now

from fencepost.config import Config, field_names
from fencepost.dev.guard import death_signal

ROOT = Path(__file__).parents[2]
BOOT_SECONDS = 90.0
"""Generous: two cores start several interpreters at once."""
DRAIN_SECONDS = 60.0
BODIES = "TEST_ORDEAL_BODIES"
"""The file into which bodies write that they run, see bodies.py."""


class Stay(msgspec.Struct):
    """A time (microseconds) in which a process was not itself: frozen, or dying. ``until`` None: for ever."""

    kind: str
    since: int
    until: int | None = None


class Log:
    """A log file of JSON lines, read from where the last reading ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.counts: Counter[str] = Counter()
        self.ticks: Counter[str] = Counter()
        self.owners: list[str] = []
        self.lost: set[str] = set()
        self.bugs: list[str] = []

    def read(self) -> None:
        """Take in what has been written since."""
        with self._path.open("rb") as lines:
            lines.seek(self._offset)
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # being written, or cut off by a kill
                self._offset += len(line)
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            said: dict[str, Any] = msgspec.json.decode(line)
        except msgspec.DecodeError:  # a traceback of the interpreter's own
            self.counts["unreadable"] += 1
            return
        event = said.get("event", "")
        self.counts[event] += 1
        if event == "tick_handled":
            self.ticks[said["run"]] += 1
        elif event == "worker_started":
            self.owners.append(said["owner"])
        elif event in ("lease_lost", "server_trouble", "release_failed", "handed_back"):
            self.lost.add(said["key"])
        elif event == "handler_failed":
            self.bugs.append(f"{said['key']}: {said['error']}\n{said.get('trace', '')}")


class WorkerProcess:
    """One ``fencepost worker``. ``supervised``: with a supervisor over one worker process, else none. ``doomed``: we
    end it ourselves. ``stays``: what was done to it. ``name``: of its place, whoever fills it.
    """

    def __init__(self, config: Config, process: asyncio.subprocess.Process, log: Log, *, supervised: bool) -> None:
        self.config = config
        self.process = process
        self.log = log
        self.supervised = supervised
        self.doomed = False
        self.name = ""
        self.stays: list[Stay] = []

    @classmethod
    async def boot(
        cls, config: Config, module: str, log: Path, bodies: Path, *, supervised: bool = False, fault: str = ""
    ) -> WorkerProcess:
        """Start one; it consumes when this returns. ``fault``: see fencepost.engine.faults."""
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "TEST_FENCEPOST_FAULT": fault,
            BODIES: str(bodies),
            **_variables(config),
        }
        options = ["--processes", "1"] if supervised else ["--no-supervisor"]
        argv = ["-m", "fencepost.cli.main", "--log-format", "json", "--log-level", "debug", "worker", module, *options]
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *argv,
                cwd=ROOT,
                env=environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for us, who then end it
                preexec_fn=death_signal(signal.SIGKILL),  # and so is our own death
            )
        booted = cls(config, process, Log(log), supervised=supervised)
        try:
            assert process.stdout is not None
            line = await asyncio.wait_for(process.stdout.readline(), BOOT_SECONDS)
            assert line.startswith(b"ready"), f"the worker did not start; the end of its log:\n{_tail(log)}"
        except BaseException:
            await booted.end()
            raise
        return booted

    @property
    def alive(self) -> bool:
        """Whether it has not been seen to end."""
        return self.process.returncode is None

    def kill(self) -> None:
        """kill -9. Of a supervised one: the worker process, not the supervisor."""
        self.stays.append(Stay("kill", now()))
        if not self.supervised:
            self.doomed = True
            self._send(signal.SIGKILL)
            return
        for pid in _children(self.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.stays[-1].until = now()

    def freeze(self) -> None:
        """SIGSTOP."""
        self.stays.append(Stay("freeze", now()))
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._send(signal.SIGCONT)
        self.stays[-1].until = now()

    async def drain(self) -> int:
        """SIGTERM, and wait until it has handed everything back; its exit code."""
        self.doomed = True
        self.stays.append(Stay("drain", now()))
        self._send(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), DRAIN_SECONDS)

    async def end(self) -> None:
        """kill -9, if it lives, and wait. A supervised child drains when its supervisor is gone: it is ended first."""
        if self.alive and self.supervised:
            children = _children(self.process.pid)
            self._send(signal.SIGKILL)
            for pid in children:
                os.kill(pid, signal.SIGKILL)
        self._send(signal.SIGKILL)
        await self.process.wait()

    def _send(self, number: int) -> None:
        if self.alive:
            self.process.send_signal(number)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


def _variables(config: Config) -> dict[str, str]:
    """The settings that are not the default, as the environment has them."""
    usual = Config()
    found: dict[str, str] = {}
    for name in field_names():
        value: object = getattr(config, name)
        if value != getattr(usual, name):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)  # pyright: ignore[reportUnknownArgumentType]
            found[f"FENCEPOST_{name.upper()}"] = text
    return found


def _children(pid: int) -> list[int]:
    """None, if it has ended meanwhile."""
    if not Path(f"/proc/{pid}").exists():
        return []
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Fleet:
    """All worker processes of an ordeal, also those that have ended. ``workers``: the places, each with who is there
    now; one that dies of what it does is replaced, and counted in ``deaths``.
    """

    def __init__(self, config: Config, module: str, logs: Path) -> None:
        self.config = config
        self.module = module
        self.bodies = logs / f"{config.namespace}.bodies"
        self.workers: list[WorkerProcess] = []
        self.gone: list[WorkerProcess] = []
        self.deaths = 0
        self.died: list[str] = []
        self._logs = logs
        self._booted = 0
        self._watching: set[asyncio.Task[None]] = set()

    async def boot(self, *, supervised: bool = False, config: Config | None = None, name: str = "") -> WorkerProcess:
        """One more. ``config``: other than the fleet's, such as through another proxy."""
        self._booted += 1
        log = self._logs / f"{self.config.namespace}.{self._booted}.log"
        worker = await WorkerProcess.boot(config or self.config, self.module, log, self.bodies, supervised=supervised)
        worker.name = name
        self.workers.append(worker)
        watching = asyncio.create_task(self._watch(worker))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        return worker

    async def _watch(self, worker: WorkerProcess) -> None:
        await worker.process.wait()
        if worker in self.workers and not worker.doomed:
            worker.stays.append(Stay("death", now()))
            self.deaths += 1
            self.died.append(f"{worker.name or 'worker'} ended with exit code {worker.process.returncode}")
            self.workers.remove(worker)
            self.gone.append(worker)
            await self.boot(supervised=worker.supervised, config=worker.config, name=worker.name)

    async def bury(self, worker: WorkerProcess) -> None:
        """Take one that has ended, or ends now, out of its place."""
        worker.doomed = True
        await worker.end()
        if worker in self.workers:
            self.workers.remove(worker)
            self.gone.append(worker)

    @property
    def all(self) -> list[WorkerProcess]:
        """Living and dead."""
        return [*self.workers, *self.gone]

    def read(self) -> None:
        """Take in all logs."""
        for worker in self.all:
            worker.log.read()

    def count(self, event: str) -> int:
        """How often any worker has said this."""
        return sum(worker.log.counts[event] for worker in self.all)

    def owner(self, owner: str) -> WorkerProcess | None:
        """Whose id in the log that is."""
        return next((worker for worker in self.all if owner in worker.log.owners), None)

    async def end(self) -> None:
        """End all that live."""
        for task in list(self._watching):
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await asyncio.gather(*(worker.end() for worker in self.workers))
