"""One worker process of a benchmark: ``python -m benchmarks.worker CONFIG-AS-JSON [PROFILE-FILE]``.

Answers each line on standard input with its tally as a line of JSON; drains when its input ends.
"""

from __future__ import annotations

import asyncio
import cProfile
import os
import sys

import msgspec

import benchmarks.flows
import benchmarks.stream_flows
from benchmarks import tally
from fencepost.authoring import registry
from fencepost.config import Config
from fencepost.engine.logs import configure_logs
from fencepost.engine.loops import run_loop
from fencepost.engine.worker import Worker


class Report(msgspec.Struct, frozen=True):
    """A worker's answer."""

    pid: int
    counts: dict[str, int]


async def serve(config: Config) -> None:
    """Run until standard input ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with Worker(config, registry.default, modules=(benchmarks.flows.__name__, benchmarks.stream_flows.__name__)):
        _say()
        while await reader.readline():
            _say()


def _say() -> None:
    report = Report(os.getpid(), dict(tally.tally))
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    sys.stdout.flush()


def main() -> None:
    """The process."""
    config = msgspec.json.decode(sys.argv[1].encode(), type=Config)
    configure_logs("text", "warning")
    tally.install()
    profile = cProfile.Profile() if len(sys.argv) > 2 else None
    if profile is not None:
        profile.enable()
    run_loop(serve(config), loop_named(os.environ.get("BENCH_LOOP", "auto")))
    if profile is not None:
        profile.disable()
        profile.dump_stats(sys.argv[2])


def loop_named(name: str) -> type[asyncio.AbstractEventLoop]:
    """``asyncio``, ``uvloop``, or ``auto``: uvloop where it is installed, as the command line does it."""
    if name == "asyncio":
        return asyncio.SelectorEventLoop
    try:
        import uvloop
    except ImportError:
        if name == "uvloop":
            raise
        return asyncio.SelectorEventLoop
    found: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return found


if __name__ == "__main__":
    main()
