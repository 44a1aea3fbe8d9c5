"""The distribution: one wheel with everything that the code reads at run time, and an import that costs little."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"worker": "fencepost", "queue": "fencepost_queue", "store": "fencepost_store"}
HEAVY = {
    "asyncpg",
    "redis",
    "hiredis",
    "rich",
    "click",
    "structlog",
    "starlette",
    "uvicorn",
    "hypothesis",
    "pytest",
    "yaml",
}
MODULES_MAX = 40
"""What ``import fencepost`` may add to a bare interpreter: the public names are looked up when they are used."""


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files of a wheel built from this checkout."""
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=100)
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_file_of_the_packages(wheel_names: set[str]) -> None:
    """Code, SQL, Lua, templates, py.typed: what is in the rooms is in the wheel under the package's name."""
    expected = {
        str(path.relative_to(ROOT / room))
        for room, package in PACKAGES.items()
        for path in (ROOT / room / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {f"{package}/py.typed" for package in PACKAGES.values()} <= expected
    assert {name for name in expected if name not in wheel_names} == set()


def test_the_wheel_holds_nothing_else(wheel_names: set[str]) -> None:
    """The packages, the metadata and the licence; no tests, no tools, no folder of the rooms."""
    tops = {name.partition("/")[0] for name in wheel_names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES.values())
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel_names)


def loaded_by(statement: str) -> set[str]:
    """The modules that a statement adds to a bare interpreter."""
    shown = "print(json.dumps(sorted(set(sys.modules) - before)))"
    program = f"import sys, json; before = set(sys.modules); {statement}; {shown}"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(answer.stdout))


def test_importing_the_package_is_light() -> None:
    """No driver, no drawing, no command line; a handful of modules."""
    loaded = loaded_by("import fencepost")
    assert {name for name in loaded if name.partition(".")[0] in HEAVY} == set()
    assert len(loaded) <= MODULES_MAX, sorted(loaded)


@pytest.mark.parametrize("module", ["authoring", "config", "records", "service", "dev.servers", "replay.interface"])
def test_what_authors_and_tools_import_loads_no_driver(module: str) -> None:
    """Workflow code is imported by clients, tests and tools that never connect."""
    loaded = loaded_by(f"import fencepost.{module}")
    assert f"fencepost.{module}" in loaded
    assert {name for name in loaded if name.partition(".")[0] in HEAVY} == set()


def test_the_measure_sees_a_heavy_import() -> None:
    """The check above can fail."""
    assert {"asyncpg", "redis"} <= loaded_by("import asyncpg, redis")
