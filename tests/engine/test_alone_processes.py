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
from fencepost.engine.shortage import NotBegun
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


def _alone(*modules: str) -> Alone:
    world = World()
    return Alone(Member(world, "A").shell, world.config, modules)


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
        with pytest.raises(NotBegun, match=r"temporarily unavailable|Too many open files"):
            await alone._child(DELIVERY, asyncio.Event())  # pyright: ignore[reportPrivateUsage]
    assert [child.returncode for child in children] == ([] if short_of == "process" else [-9, -9])
    for child in children:
        child.stdin.close()
    await asyncio.sleep(0)
    assert _descriptors() <= before


@pytest.mark.parametrize("missing", [errno.EAGAIN, errno.EMFILE, errno.ENOMEM, errno.ENOENT])
async def test_h142_a_suspect_whose_process_cannot_be_had_is_handed_back(
    missing: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No bug, no proof and no crash: the message waits, longer each time, and other workers may have it."""
    world = World()
    member = Member(world, "A")
    alone, queue = Alone(member.shell, world.config, ()), member.shell.queue

    async def spawn(*args: Any, **options: Any) -> Any:
        raise OSError(missing, os.strerror(missing))

    monkeypatch.setattr(asyncio, "create_subprocess_exec", spawn)
    delays: list[int] = []

    async def release(delivery: Delivery, delay_ms: int = 0, *, proof: bool = False) -> bool:
        assert not proof
        delays.append(delay_ms)
        return True

    monkeypatch.setattr(queue, "release", release)
    for _ in range(6):
        member.shell.keeper.hold(DELIVERY, member.shell.ports.monotonic())
        await alone(DELIVERY)
    assert len(delays) == 6
    assert delays[0] >= 500
    assert delays[-1] >= 16_000, "half of what the delay may be by then, at least"
    said = [record.getMessage() for record in caplog.records]
    assert sum("body_not_begun" in line and os.strerror(missing) in line for line in said) == 6
    assert not any("handler_failed" in line for line in said)


async def test_h205_a_process_that_ends_before_user_code_begins_is_no_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here in the import of a module: nobody knows whose fault that is. It is said what became of it."""
    (tmp_path / "deadly.py").write_text("import os\nos._exit(9)\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotBegun, match="ended with code 9 before user code began"):
        await _alone("deadly")._child(DELIVERY, asyncio.Event())  # pyright: ignore[reportPrivateUsage]
