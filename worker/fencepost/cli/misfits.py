"""After a reload of ``fencepost dev``: which open runs the new code does not fit."""

from __future__ import annotations

import asyncio
import os
import sys

import click

from fencepost.config import Config

SECONDS_MAX = 60.0
"""What a look may take: code that never comes to rest would replay for ever."""


class Misfits:
    """Replays the open runs in a process of its own, so that neither the supervisor loads the code nor the worker
    waits. Silent where all fit; what is under way when ``dev`` ends is left.
    """

    def __init__(self, config: Config, modules: tuple[str, ...]) -> None:
        self._command = (sys.executable, "-m", "fencepost", "replay", "--open", *(f"--module={m}" for m in modules))
        self._environ = {
            **os.environ,
            "FENCEPOST_DATABASE_URL": config.database_url,
            "FENCEPOST_REDIS_URL": config.redis_url,
            "FENCEPOST_NAMESPACE": config.namespace,
        }
        self._looking: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Look now, in the background; a look at the code before is given up."""
        if self._looking is not None:
            self._looking.cancel()
        self._looking = asyncio.create_task(self._look(), name="misfits")

    async def _look(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(SECONDS_MAX):
                said, _ = await process.communicate()
        except TimeoutError:
            click.echo(f"open runs could not be replayed against this code within {SECONDS_MAX:g} s", err=True)
            return
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == 1 and said:
            click.echo("open runs that this code does not fit:\n" + said.decode(errors="replace").rstrip())
