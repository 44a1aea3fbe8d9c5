"""The programs of examples/ as processes: in a folder of their own, with workers that die where a test says."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
SECONDS = 100
LEASES = {"FENCEPOST_LEASE_SECONDS": "1.5", "FENCEPOST_RENEWAL_SECONDS": "0.5", "FENCEPOST_IDLE_BLOCK_SECONDS": "0.5"}
"""Short: nobody tells of these workers' death, so the lease's end does."""


def copied(tmp_path: Path) -> Path:
    """The examples in a folder of their own, where programs and dev servers may leave their data."""
    return Path(shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns(".*", "__pycache__")))


def bare_environ() -> dict[str, str]:
    """An environment that names no servers."""
    return {name: os.environ[name] for name in ("HOME", "PATH")}


class Stage:
    """One folder of programs, one namespace of given servers, and the processes started there."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.environ = {**environ, **LEASES, "FENCEPOST_ENV": "test"}
        self.command("db", "migrate")

    def command(self, *arguments: str) -> str:
        """What the command line prints."""
        command = [sys.executable, "-m", "fencepost", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environ, check=False, capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def web(self, app: str) -> Generator[str]:
        """An ASGI app under uvicorn, at the URL that is given; ended by SIGTERM, which it must take well."""
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", app, "--port", "0"],
            cwd=self.folder,
            env=self.environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        try:
            said = next(line for line in process.stderr if "running on http" in line)
            yield next(word for word in said.split() if word.startswith("http"))
            process.terminate()
            _, errors = process.communicate(timeout=SECONDS)
            assert process.returncode in (0, -signal.SIGTERM), errors
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def program(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        """A program under way; its output comes with ``communicate``."""
        return subprocess.Popen(
            [sys.executable, name, *arguments],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def worker(self, module: str, fault: str = "", options: Sequence[str] = ()) -> Generator[subprocess.Popen[str]]:
        """A worker without a supervisor, from its start on; gone when the block is left. ``fault``: where it kills
        itself with SIGKILL, see fencepost.engine.faults."""
        process = subprocess.Popen(
            [sys.executable, "-m", "fencepost", "worker", module, "--no-supervisor", *options],
            cwd=self.folder,
            env={**self.environ, "TEST_FENCEPOST_FAULT": fault},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def play(self, module: str, fault: str, *arguments: str) -> str:
        """The program's output, with a worker that dies by kill -9 at the fault and another one after it."""
        program = self.program(f"{module}.py", *arguments)
        try:
            with self.worker(module, fault) as victim:
                assert victim.wait(SECONDS) == -signal.SIGKILL, victim.communicate()
            assert program.poll() is None, f"the program was over before the kill: {program.communicate()}"
            with self.worker(module):
                printed, errors = program.communicate(timeout=SECONDS)
        finally:
            program.kill()
            program.communicate()
        assert program.returncode == 0, errors
        return printed
