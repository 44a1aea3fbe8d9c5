"""The clock of a worker's loop."""

from __future__ import annotations

import asyncio
import time
import types

import pytest

from fencepost.engine import loops
from fencepost.replay import asyncio_patches
from fencepost.replay.everywhere import stock


def test_asyncios_loop_asks_the_system_itself() -> None:
    """Not by way of what workflow code sees, which would cost each timer of the worker a call into Python."""
    asyncio_patches.install()
    loop = loops.new_loop(asyncio.SelectorEventLoop)
    try:
        assert loop.time is stock(time.monotonic)  # type: ignore[comparison-overlap]
        assert isinstance(loop.time, types.BuiltinFunctionType)
        assert abs(loop.time() - time.monotonic()) < 60
    finally:
        loop.close()


def test_uvloop_keeps_its_own() -> None:
    """It shows the time of the loop's iteration."""
    uvloop = pytest.importorskip("uvloop")
    loop = loops.new_loop(uvloop.Loop)
    try:
        assert "time" not in vars(type(loop))
    finally:
        loop.close()
