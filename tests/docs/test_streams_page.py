"""What docs/streams.md shows works as it stands."""

from __future__ import annotations

import re
import sys
import types
from typing import Any

import pytest
from tests.docs.markdown import blocks, read
from tests.engine.engine_virtual import run
from tests.engine.engine_world import World

import fencepost
from fencepost.authoring import registry
from fencepost.config import Config

PAGE = read("docs/streams.md")


def programs(world: World, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The page's modules by file name, registered in the world."""
    monkeypatch.setattr(registry, "default", world.registry)
    found: dict[str, dict[str, Any]] = {}
    for block in blocks(PAGE, "python"):
        match = re.match(r"# (\w+)\.py\n", block)
        assert match is not None, block
        module = types.ModuleType(match[1])
        monkeypatch.setitem(sys.modules, match[1], module)  # a dataclass looks its module up
        exec(block, module.__dict__)
        found[match[1]] = module.__dict__
    return found


def test_the_first_program_prints_its_labels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``main`` as it stands, but for the servers of its client."""

    async def main() -> None:
        world = World()
        labels = programs(world, monkeypatch)["labels"]

        class Here:
            async def __aenter__(self) -> fencepost.Client:
                return world.client()

            async def __aexit__(self, *exc: object) -> None:
                return None

        labels["Client"] = Here
        async with world.worker("A"):
            await labels["main"]()

    run(main)
    told = [line for line in capsys.readouterr().out.splitlines() if not re.match(r"\d{4}-", line)]  # but for logs
    assert told == ["parcel 0", "parcel 1", "parcel 2", "3"]


@pytest.mark.parametrize(
    ("module", "workflow", "argument", "name", "chunks", "result"),
    [
        ("loud", "loud", ["a", "b"], "loud", ["A", "B"], 2),
        ("copying", "copies", ["a", "b", "c"], "lines", ["a", "b", "c"], 0),
        ("progress", "squares", 3, "progress", ["1 of 3", "2 of 3", "3 of 3"], 5),
    ],
)
def test_the_other_programs(
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    workflow: str,
    argument: object,
    name: str,
    chunks: list[str],
    result: int,
) -> None:
    async def main() -> None:
        world = World()
        flows = programs(world, monkeypatch)[module]
        async with world.worker("A"):
            started = await world.start(flows[workflow], argument)
            assert [chunk async for chunk in started.stream(name, str)] == chunks
            assert await started.result(60) == result

    run(main)


def test_copying_skips_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the page says: killed after its first chunks, the step goes on behind them."""

    async def main() -> None:
        world = World()
        flows = programs(world, monkeypatch)["copying"]
        lines = [f"line {n}" for n in range(2_500)]  # more than a buffer, so that a part is there when the worker dies
        async with world.worker("A") as a:
            a.crash_at("stream.after", 3)
            started = await world.start(flows["copies"], lines)
            await a.crashed.wait()
            await a.end()
            async with world.worker("B"):
                assert 0 < await started.result(600) < len(lines)
                assert [chunk async for chunk in started.stream("lines", str)] == lines

    run(main)


def test_numbers_of_the_page_are_the_code_s() -> None:
    """Limits, by their names."""
    config = Config()
    assert f"`stream_buffer_bytes_max` ({config.stream_buffer_bytes_max >> 20} MiB)" in PAGE
    assert f"`payload_bytes_max` ({config.payload_bytes_max >> 20} MiB)" in PAGE
    assert f"`stream_bytes_max` ({config.stream_bytes_max >> 20} MiB)" in PAGE
