"""docs/changing-code.md does what it says: its builds take each other's runs up, on a virtual clock."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World
from oracle import check
from tests.docs.markdown import blocks, read

from fencepost.authoring import registry
from fencepost.authoring.registry import Registry
from fencepost.client.run import Run
from fencepost.history import lines, recorded
from fencepost_store.events import EventType


def build(monkeypatch: pytest.MonkeyPatch, version: int) -> Registry:
    """What a file of the page registers."""
    name = f"billing_v{version}.py"
    made = Registry()
    monkeypatch.setattr(registry, "default", made)
    exec(compile(shown(name), name, "exec"), {"__name__": f"billing_v{version}"})
    monkeypatch.undo()
    return made


def shown(name: str) -> str:
    """A file of the page."""
    (source,) = [text for text in blocks(read("docs/changing-code.md"), "python") if text.startswith(f"# {name}\n")]
    return source


def deploy(world: World, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """Workers that start from now on have that version."""
    world.registry = build(monkeypatch, version)
    world.config = World(build=f"v{version}").config


async def bill(world: World, cents: int) -> Run[Any]:
    """A run, once it waits in its hook."""
    found = world.registry.find_workflow("bill")
    assert found is not None
    started = await world.start(found, cents)
    await asyncio.sleep(3)
    assert (await world.log(started))[-1].type is EventType.hook_created
    return started


async def ended(world: World, started: Run[Any], cents: int) -> object:
    """The result of a run whose hook is confirmed."""
    await world.client().resume(f"confirm:{cents}", "yes")
    result = await started.result(60)
    check(await world.log(started))
    return result


OLD, NEW = "mailed charged {}", "mailed charged {}, signed"


def test_runs_of_each_build_end_by_their_own_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started before the change, after it, and after it was retired; each taken up by the build that comes next."""

    async def main() -> None:
        world = World()
        deploy(world, monkeypatch, 1)
        async with world.worker("A"):
            old, early = await bill(world, 1), await bill(world, 2)
        deploy(world, monkeypatch, 2)
        async with world.worker("B"):
            new = await bill(world, 3)
            assert await ended(world, old, 1) == OLD.format(1)
        deploy(world, monkeypatch, 3)
        async with world.worker("C"):
            later = await bill(world, 4)
            assert await ended(world, new, 3) == NEW.format(3)
            assert await ended(world, later, 4) == NEW.format(4)
            markers = [
                [event.entity for event in await world.log(one) if event.type is EventType.marker]
                for one in (old, new, later)
            ]
            assert markers == [[], ["patched:sign-receipts"], []]
            await world.client().resume("confirm:2", "yes")
            await asyncio.sleep(10)
            assert (await early.status()).status == "parked", "retired too early for this one"
        deploy(world, monkeypatch, 2)
        async with world.worker("D"):
            assert await early.result(60) == OLD.format(2)

    run(main)


def test_the_build_before_parks_what_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the new build goes on with it by itself."""

    async def main() -> None:
        world = World()
        deploy(world, monkeypatch, 2)
        async with world.worker("A"):
            new = await bill(world, 1)
        deploy(world, monkeypatch, 1)
        async with world.worker("B"):
            await world.client().resume("confirm:1", "yes")
            await asyncio.sleep(10)
            parked = (await new.status()).parked
            assert parked is not None
            assert "marker patched:sign-receipts" in parked.recorded
        deploy(world, monkeypatch, 2)
        async with world.worker("C"):
            assert await new.result(60) == NEW.format(1)

    run(main)


def test_the_page_s_own_test_says_what_fits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Histories of the first two builds, held against each: only the retired one does not fit the oldest."""

    async def main() -> None:
        world = World()
        for version in (1, 2):
            deploy(world, monkeypatch, version)
            async with world.worker(f"W{version}"):
                waits = await bill(world, version)
                loaded = await world.store.load(waits.id)
                assert loaded is not None
                text = b"\n".join(lines(recorded(loaded.run, loaded.events)))
                (tmp_path / "histories" / f"v{version}.jsonl").write_bytes(text)

    (tmp_path / "histories").mkdir()
    (tmp_path / "test_histories.py").write_text(shown("test_histories.py"))
    run(main)
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", "-p", "no:cacheprovider"]
    for version, failed in ((1, "v2"), (2, ""), (3, "v1")):
        (tmp_path / "billing.py").write_text(shown(f"billing_v{version}.py"))
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environ)
        words = re.findall(r"^FAILED .*histories/(\w+)\.jsonl", done.stdout, re.MULTILINE)
        assert words == ([failed] if failed else []), done.stdout
        assert ("HistoryDiffers: run " in done.stdout) == bool(failed)
        assert f"{1 if failed else 2} passed" in done.stdout, done.stdout
