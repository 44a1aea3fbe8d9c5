"""One child of a supervisor: the process, and our end of the link to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence

import msgspec

from fencepost.engine.hash_seed import seeded
from fencepost.engine.link import Alive, Draining, Failed, Ready, read_word
from fencepost.engine.watchdog import SYSTEMD

LOOKS = 10
"""How often a child is looked at in the time that it may be silent."""

LAST_WORD_SECONDS = 0.5
"""A dead child's last words are in the socket already. Its end of the stream may not come, if something it has forked
lives on with a copy of the socket: hence a bound.
"""


class ChildProcess:
    """A started child. Ended by its own doing or by ``signal``; dropping our end of the link makes it drain."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.pid: int = process.pid
        self.ready: Ready | None = None
        self.failed: Failed | None = None
        self.draining: asyncio.Event = asyncio.Event()
        self._process = process
        self._writer = writer
        self._spoke = asyncio.Event()
        self._words = 0
        self._reading = asyncio.create_task(self._read(reader), name=f"words of {process.pid}")

    @classmethod
    async def start(cls, argv: Sequence[str], order: bytes, environ: Mapping[str, str]) -> ChildProcess:
        """Start the process and give it its order. It is a session of its own, so that Ctrl-C in a terminal reaches
        the supervisor only.
        """
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=theirs.fileno(), env=environ, start_new_session=True
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        writer.write(order + b"\n")
        return cls(process, reader, writer)

    async def word(self) -> Ready | Failed | None:
        """The child's first word, or None if it ended without one."""
        ended = asyncio.create_task(self._process.wait())
        spoke = asyncio.create_task(self._spoke.wait())
        try:
            await asyncio.wait({ended, spoke}, return_when=asyncio.FIRST_COMPLETED)
            if not spoke.done():
                await asyncio.wait({self._reading}, timeout=LAST_WORD_SECONDS)
        finally:
            ended.cancel()
            spoke.cancel()
        return self.failed or self.ready

    async def ended(self) -> int:
        """Wait for the end; answers the exit code, negative for a signal's number. Then ``failed`` is what it said."""
        code = await self._process.wait()
        await asyncio.wait({self._reading}, timeout=LAST_WORD_SECONDS)
        return code

    async def silent(self, seconds: float) -> None:
        """Return when the child has said nothing for so long."""
        await silence(lambda: self._words, seconds)

    def signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def close(self) -> None:
        """Let go of the link. Idempotent."""
        self._reading.cancel()
        self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                try:
                    word = read_word(line)
                except msgspec.DecodeError:  # not by us: nothing that the link knows
                    continue
                self._words += 1
                if isinstance(word, Alive):
                    continue
                if isinstance(word, Draining):
                    self.draining.set()
                    continue
                if isinstance(word, Ready):
                    self.ready = word
                else:
                    self.failed = word
                self._spoke.set()


async def silence(words: Callable[[], int], seconds: float) -> None:
    """Return when the number of words has not changed for so long, as far as this process itself has run: what stops
    the whole machine, or a loop that was blocked here, is nobody's silence.
    """
    known, quiet, look = words(), 0, seconds / LOOKS
    while quiet < LOOKS:
        await asyncio.sleep(look)
        known, quiet = (known, quiet + 1) if words() == known else (words(), 0)


def told(code: int) -> str:
    """An exit code in words."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def environment(first: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, with additions, the hash seed of all processes, and without what systemd says to this
    process alone."""
    kept = {name: value for name, value in os.environ.items() if name not in SYSTEMD}
    return seeded({**kept, **(first or {})})
