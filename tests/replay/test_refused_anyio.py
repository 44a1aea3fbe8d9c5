"""H34: anyio's ways past the loop are refused inside a workflow, also those that begin without it."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_process
import pytest
from anyio._backends._asyncio import AsyncIOBackend
from replay_world import Bench, W

from fencepost.replay.asyncio_patches import HARMLESS
from fencepost.replay.limits import WorkflowRestriction

REFUSED = sorted(name for name in dir(AsyncIOBackend) if not name.startswith("_") and name not in HARMLESS)


@pytest.mark.parametrize("name", REFUSED)
def test_h34_every_method_of_anyios_backend_that_is_not_harmless_is_refused(name: str) -> None:
    """What a new version of anyio adds is refused until it is looked at."""

    async def flow(w: W) -> object:
        with pytest.raises(WorkflowRestriction, match="do this in a step"):
            getattr(AsyncIOBackend, name)()
        return None

    assert Bench(flow).asked() == ["run_completed"]


def test_h34_the_list_of_what_is_harmless_has_no_unknown_name() -> None:
    """And what is refused holds what it is for."""
    assert {name for name in HARMLESS if not hasattr(AsyncIOBackend, name)} == set()
    assert {"connect_unix", "create_unix_listener", "run_sync_in_worker_thread", "open_process"} <= set(REFUSED)


def portal() -> Any:
    """A loop in another thread."""
    with anyio.from_thread.start_blocking_portal() as made:
        return made


async def reads(pair: tuple[socket.socket, socket.socket]) -> None:
    """A descriptor."""
    await anyio.wait_readable(pair[0])


WAYS: dict[str, Callable[[str], Any]] = {
    "connect_tcp": lambda path: anyio.connect_tcp("127.0.0.1", 1),
    "connect_unix": anyio.connect_unix,
    "create_unix_listener": lambda path: anyio.create_unix_listener(path + "2"),
    "create_unix_datagram_socket": lambda path: anyio.create_unix_datagram_socket(local_path=path + "3"),
    "open_file": anyio.open_file,
    "to_process": lambda path: anyio.to_process.run_sync(print),
    "run_process": lambda path: anyio.run_process("true"),
    "portal": lambda path: portal(),
    "provider": lambda path: anyio.from_thread.BlockingPortalProvider().__enter__(),
    "wait_readable": lambda path: reads(socket.socketpair()),
    "signals": lambda path: anyio.open_signal_receiver(signal.SIGINT).__enter__(),
}


@pytest.mark.parametrize("name", sorted(WAYS))
def test_h34_unix_sockets_portals_and_processes_are_refused_with_the_way_out(name: str, tmp_path: Path) -> None:
    """Against a socket that is really there."""
    path = str(tmp_path / "s")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    async def flow(w: W) -> object:
        with pytest.raises(WorkflowRestriction, match="do this in a step"):  # noqa: PT012  # some of them begin at the await
            made = WAYS[name](path)
            if asyncio.iscoroutine(made) or hasattr(made, "__await__"):
                await made
        return None

    assert Bench(flow).asked() == ["run_completed"]
    server.close()


def test_outside_a_workflow_anyio_is_as_it_was() -> None:
    """While its backend is patched."""

    async def main() -> int:
        with anyio.from_thread.start_blocking_portal() as made:
            return made.call(int, "7") + await anyio.to_thread.run_sync(int, "8")

    assert anyio.run(main) == 15
