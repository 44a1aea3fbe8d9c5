"""The worker processes of a benchmark, and how they are asked for their counts."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path

import msgspec

from benchmarks.worker import Report
from fencepost.config import Config

START_SECONDS = 30.0


class Fleet:
    """``async with Fleet(config, 2)``: all are ready. ``profile``: a folder for one profile per worker."""

    def __init__(self, config: Config, size: int, *, loop: str = "auto", profile: Path | None = None) -> None:
        self._config = config
        self._size = size
        self._loop = loop
        self._profile = profile
        self._processes: list[asyncio.subprocess.Process] = []

    @property
    def pids(self) -> frozenset[int]:
        """The processes' ids."""
        return frozenset(process.pid for process in self._processes)

    async def __aenter__(self) -> Fleet:
        root = Path(__file__).parents[1]
        environment = {**os.environ, "BENCH_LOOP": self._loop}
        argv = [sys.executable, "-m", "benchmarks.worker", msgspec.json.encode(self._config).decode()]
        for number in range(self._size):
            extra = [] if self._profile is None else [str(self._profile / f"worker{number}.prof")]
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(
                *argv, *extra, stdin=pipe, stdout=pipe, env=environment, cwd=root, limit=1 << 20
            )
            self._processes.append(process)
        for process in self._processes:
            await _answer(process)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            try:
                await asyncio.wait_for(process.wait(), START_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()

    async def counts(self) -> list[Counter[str]]:
        """Each worker's tally now."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(b"\n")
        return [Counter((await _answer(process)).counts) for process in self._processes]


async def _answer(process: asyncio.subprocess.Process) -> Report:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
    if not line:
        raise RuntimeError(f"worker {process.pid} ended with exit code {await process.wait()} instead of answering")
    return msgspec.json.decode(line, type=Report)
