"""What a ``process=True`` body says: its process's log lines and output come out of the worker's standard error.

anyio's pool talks to its processes over their standard input and output, and gives them a standard error that nobody
reads. So what a body says is lost, what it writes past Python's streams (a program that it starts, a C library) blocks
it as soon as the pipe is full, and a program that it starts may read or write in the middle of the pool's messages.
Here the process moves the pool's two descriptors away, and this process reads the third.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import sys
from functools import partial
from typing import Any

import anyio
import anyio.to_process
from anyio.abc import ByteReceiveStream, Process
from anyio.lowlevel import RunVar

from fencepost.engine.logs import Logs, configure_logs, enable_loggers
from fencepost.standard_streams import secure

LINE_BYTES_MAX = 1 << 16
"""What is longer than this without an end of line is passed on in pieces."""

_readers: RunVar[dict[Process, asyncio.Task[None]]] = RunVar("_fencepost_body_streams")
_adopted: list[Logs | None] = []


# --- in the body's process --------------------------------------------------------------------------------------------


def adopt(logs: Logs | None) -> None:
    """Run in the other process before all else. ``logs``: how the worker logs, None if it has not said so: then the
    user's own configuration is all that there is, as in the worker. Idempotent.
    """
    if not _adopted:
        _move_messages()
        secure(daemon=True)
    if _adopted != [logs] and logs is not None:
        configure_logs(logs.form, logs.level)
    _adopted[:] = [logs]
    enable_loggers()


def _move_messages() -> None:
    """The pool's messages get descriptors of their own, which no program inherits. Standard input is empty from now
    on, and standard output is standard error: the messages' own was never the user's.
    """
    for number, stream, mode in ((0, sys.__stdin__, "rb"), (1, sys.__stdout__, "wb")):
        binary: Any = None if stream is None else stream.buffer
        raw: Any = getattr(binary, "raw", binary)  # under -u what is written is not buffered
        if raw is not None and raw.fileno() == number:
            raw.__init__(os.dup(number), mode)  # FileIO is opened anew in place: the pool holds the object around it
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)


# --- in the worker ----------------------------------------------------------------------------------------------------


def read_all() -> None:
    """Have the standard error of each of the pool's processes read that nobody reads yet."""
    try:
        readers = _readers.get()
    except LookupError:
        readers = dict[Process, asyncio.Task[None]]()
        _readers.set(readers)
    # There is no other way to the pool's processes.
    pool: set[Process] = anyio.to_process._process_pool_workers.get(set[Process]())  # pyright: ignore[reportPrivateUsage]
    for process in pool - readers.keys():
        if process.stderr is not None:
            task = asyncio.get_running_loop().create_task(
                _pass_on(process.stderr),
                name=f"output of process {process.pid}",
                context=contextvars.Context(),  # not that of the body which is the first to use it
            )
            readers[process] = task
            task.add_done_callback(partial(_ended, readers, process))


def _ended(readers: dict[Process, asyncio.Task[None]], process: Process, _: asyncio.Task[None]) -> None:
    readers.pop(process, None)


async def _pass_on(stream: ByteReceiveStream) -> None:
    """Until the process has ended. Whole lines, so that those of several processes do not mix."""
    rest = b""
    try:
        with contextlib.suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            while True:
                lines, end, rest = (rest + await stream.receive()).rpartition(b"\n")
                _write(lines + end)
                if len(rest) > LINE_BYTES_MAX:
                    _write(rest + b"\n")
                    rest = b""
    finally:
        if rest:
            _write(rest + b"\n")


def _write(data: bytes) -> None:
    # Standard error may be closed, or full. Whether or not the line can be said, the process must be read.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(data.decode("utf-8", "backslashreplace"))
