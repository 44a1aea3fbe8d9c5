"""Real worker processes for kill tests: started, frozen, watched, ended by the pid that was started."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from fencepost.config import Config

FOLDER = Path(__file__).parent
START_SECONDS = 60.0
"""Generous: two cores start several interpreters at once."""


class WorkerProcess:
    """One ``fencepost worker`` without a supervisor: nobody tells of its death, so recovery waits for its lease."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._ready = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls, config: Config, fault: str = "", *options: str, module: str = "kill_flows", folder: Path = FOLDER
    ) -> WorkerProcess:
        """Start one; it is ready when this returns. ``fault``: see fencepost.engine.faults."""
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "FENCEPOST_DATABASE_URL": config.database_url,
            "FENCEPOST_REDIS_URL": config.redis_url,
            "FENCEPOST_NAMESPACE": config.namespace,
            "FENCEPOST_ENV": "test",
            "TEST_FENCEPOST_FAULT": fault,
            "FENCEPOST_LEASE_SECONDS": str(config.lease_seconds),
            "FENCEPOST_RENEWAL_SECONDS": str(config.renewal_seconds),
            "FENCEPOST_IDLE_BLOCK_SECONDS": str(config.idle_block_seconds),
            "FENCEPOST_RECONCILE_PERIOD_SECONDS": str(config.reconcile_period_seconds),
            "FENCEPOST_REPLAY_BUDGET_SECONDS": str(config.replay_budget_seconds),
            "PYTHONUNBUFFERED": "1",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "fencepost.cli.main",
            "worker",
            module,
            *(options or ("--no-supervisor",)),
            cwd=folder,
            env=environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        worker = cls(process)
        await asyncio.wait_for(worker._ready.wait(), START_SECONDS)
        assert process.returncode is None, "\n".join(worker.lines)
        return worker

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip())
            if "worker_started" in self.lines[-1]:
                self._ready.set()
        self._ready.set()

    def send(self, number: int) -> None:
        """Send a signal to the process that was started here."""
        if self.process.returncode is None:
            self.process.send_signal(number)

    async def death(self) -> float:
        """Wait until the process is gone; the monotonic time at which that was seen."""
        await self.process.wait()
        return time.monotonic()

    async def end(self) -> None:
        """SIGKILL, and wait."""
        self.send(signal.SIGKILL)
        await self.process.wait()
        self._reading.cancel()


@asynccontextmanager
async def worker(
    config: Config, fault: str = "", *options: str, module: str = "kill_flows", folder: Path = FOLDER
) -> AsyncGenerator[WorkerProcess]:
    """A worker process that is gone when the block is left."""
    started = await WorkerProcess.start(config, fault, *options, module=module, folder=folder)
    try:
        yield started
    finally:
        await started.end()


@asynccontextmanager
async def standby(config: Config) -> AsyncGenerator[WorkerProcess]:
    """A worker that is ready and then frozen, so that it cannot take what another is to die of; SIGCONT wakes it."""
    async with worker(config) as started:
        started.send(signal.SIGSTOP)
        yield started
