"""The process of a suspect on a machine that is short of something: nothing is left behind by one that cannot begin."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest
from engine_world import Member, World

from fencepost.engine.alone import Alone
from fencepost_queue.protocol import Delivery

DELIVERY = Delivery("default", "t:run", "A.1")


def _descriptors() -> set[tuple[str, str]]:
    """Number and what it is, of this process's pipes."""
    found: set[tuple[str, str]] = set()
    for number in os.listdir("/proc/self/fd"):
        place = Path("/proc/self/fd", number)
        if place.is_symlink() and "pipe:" in (target := str(place.readlink())):
            found.add((number, target))
    return found


def _alone() -> Alone:
    world = World()
    return Alone(Member(world, "A").shell, world.config, ())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not list descriptors")
@pytest.mark.parametrize("short_of", ["process", "pipe"])
async def test_a_suspect_s_process_that_cannot_begin_leaves_nothing_behind(
    short_of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither end of its pipe, nor the process itself where it is the pipe that fails. The next one would meet a
    greater shortage."""
    loop, spawned, children = asyncio.get_running_loop(), asyncio.create_subprocess_exec, list[Any]()

    async def spawn(*args: Any, **options: Any) -> Any:
        if short_of == "process":
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        children.append(await spawned(*args, **options))
        return children[-1]

    async def connect(*args: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(asyncio, "create_subprocess_exec", spawn)
    monkeypatch.setattr(loop, "connect_read_pipe", connect)
    alone, before = _alone(), _descriptors()
    for _ in range(2):
        with pytest.raises(OSError, match=r"temporarily unavailable|Too many open files"):
            await alone._child(DELIVERY, asyncio.Event())  # pyright: ignore[reportPrivateUsage]
    assert [child.returncode for child in children] == ([] if short_of == "process" else [-9, -9])
    for child in children:
        child.stdin.close()
    await asyncio.sleep(0)
    assert _descriptors() <= before
