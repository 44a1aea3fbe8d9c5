"""Replay is the same function in every process: other addresses, other hash seeds, other heap."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import msgspec
import pytest
from replay_digests import PLANTS, digests
from replay_shapes import CANCELLED, SHAPES, check
from replay_world import World

from fencepost_store.events import Event

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def logs() -> dict[str, list[Event]]:
    """One recorded log per shape."""
    recorded: dict[str, list[Event]] = {}
    for name, flow in SHAPES.items():
        seed, cancel_at = zlib.crc32(name.encode()) + 9, 9 if name in CANCELLED else None
        world = World(flow, seed, cancel_at=cancel_at, crashes=False)  # what differs is to show in the other processes
        recorded[name] = world.run()
        check(name, recorded[name])
    return recorded


@pytest.fixture(scope="module")
def log_file(logs: dict[str, list[Event]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The logs on disk."""
    path = tmp_path_factory.mktemp("logs") / "logs.msgpack"
    path.write_bytes(msgspec.msgpack.encode(logs))
    return path


def elsewhere(log_file: Path, processes: int, mode: str) -> list[dict[str, str]]:
    """The digests of that many fresh processes, each with a hash seed of its own, two at a time."""
    paths = os.pathsep.join([str(HERE), *(p for p in sys.path if p)])
    found: list[dict[str, str]] = []
    for start in range(0, processes, 2):
        running = [
            subprocess.Popen(
                [sys.executable, str(HERE / "replay_digests.py"), str(log_file), mode],
                env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": str(seed * 101 + 1)},
                stdout=subprocess.PIPE,
                text=True,
            )
            for seed in range(start, min(start + 2, processes))
        ]
        for process in running:
            out, _ = process.communicate(timeout=100)
            assert process.returncode == 0
            found.append(json.loads(out))
    return found


def differing(found: list[dict[str, str]]) -> set[str]:
    """The shapes on which the processes do not agree."""
    return {name for name in found[0] if len({one[name] for one in found}) > 1}


def test_h28_other_processes_replay_every_prefix_to_the_same_decisions(
    logs: dict[str, list[Event]], log_file: Path
) -> None:
    """Four fresh processes, two of which feed event by event, and this one: equal digests for every shape."""
    here = digests(logs, one_by_one=True)
    found = [*elsewhere(log_file, 2, "batched"), *elsewhere(log_file, 2, "single"), here]
    assert not [text for text in here.values() if text.startswith("diverged")]
    assert differing(found) == set()


def test_h28_each_order_guard_is_needed(logs: dict[str, list[Event]], log_file: Path) -> None:
    """With one guard taken out, each shape that needs it differs or diverges in at least one of four processes."""
    needed = [(plant, shape) for plant, shapes in PLANTS.items() for shape in shapes]
    here = digests({shape: logs[shape] for _, shape in needed}, one_by_one=True)
    found = elsewhere(log_file, 4, "plants")
    for plant, shape in needed:
        assert [one for one in found if one[f"{plant} {shape}"] != here[shape]], (plant, shape)
