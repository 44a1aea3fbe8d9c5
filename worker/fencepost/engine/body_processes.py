"""Processes for ``process=True`` bodies: anyio's pool, with a limit of the engine's own, so that a body's time begins
when it has a process and not while it waits for one.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_process
from anyio.lowlevel import RunVar

from fencepost.authoring.process import prepare
from fencepost.blocks import async_block
from fencepost.engine.body_streams import adopt, read_all
from fencepost.engine.logs import Logs, configured_logs
from fencepost.engine.shortage import NotBegun, is_shortage, told

T = TypeVar("T")

_limiter: RunVar[anyio.CapacityLimiter] = RunVar("_fencepost_processes")


@async_block
async def process_for(module: str) -> AsyncGenerator[Callable[[Callable[[], Any]], Any]]:
    """A process that has imported the step's module, as far as that can be imported. Raises NotBegun, and
    BrokenWorkerProcess where the import ended it.
    """
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(os.cpu_count() or 2)
        _limiter.set(limiter)
    async with limiter:
        unlimited = anyio.CapacityLimiter(math.inf)

        async def run(function: Callable[..., T], *args: Any) -> T:
            try:
                return await anyio.to_process.run_sync(function, *args, cancellable=True, limiter=unlimited)
            finally:
                read_all()

        try:
            await run(adopt, configured_logs())
            await run(_adopted, configured_logs(), partial(prepare, module))
        except Exception as error:
            if is_shortage(error):
                raise NotBegun(told(error)) from error
            raise

        async def call(function: Callable[[], T]) -> T:
            return await run(_adopted, configured_logs(), function)

        yield call


def _adopted(logs: Logs | None, function: Callable[[], T]) -> T:
    """Run in the other process, which may be another one than that of the call before: the pool decides."""
    adopt(logs)
    return function()
