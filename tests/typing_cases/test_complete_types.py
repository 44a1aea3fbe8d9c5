"""``pyright --verifytypes`` is 100 % for all three packages, as a user has them: installed from the wheel, without the
sources beside them. What a checker would have to guess, and might guess differently, counts as unknown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("fencepost", "fencepost_queue", "fencepost_store")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel installs."""
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=100)
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target / "site")
    return target / "site"


def unknown_in(package: str, site: Path) -> list[str]:
    """The public names whose type is not written down, with the reason; "no py.typed" if nothing is promised at all.

    Types that other packages leave open do not count: they are theirs. pyright asks the ``python`` of the PATH where
    packages are, whatever its configuration says.
    """
    environment = {
        **os.environ,
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
        "PYTHONPATH": str(site),
    }
    command = [sys.executable, "-m", "pyright", "--verifytypes", package, "--ignoreexternal", "--outputjson"]
    done = subprocess.run(command, cwd=site, env=environment, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)["typeCompleteness"]
    if "pyTypedPath" not in report:
        return ["no py.typed"]
    assert Path(report["pyTypedPath"]).is_relative_to(site), "another copy was checked"
    bad = [
        symbol
        for symbol in report["symbols"]
        if symbol["isExported"] and (symbol["isTypeAmbiguous"] or not symbol["isTypeKnown"])
    ]
    assert bool(bad) == (report["completenessScore"] < 1), report["completenessScore"]
    # One that is unknown only because it has to do with another one says nothing of its own.
    told = [f"{symbol['name']}: {said['message']}" for symbol in bad for said in symbol["diagnostics"]]
    return told or [symbol["name"] for symbol in bad]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_type_is_written_down(installed: Path, package: str) -> None:
    """An attribute is annotated where ``__init__`` makes it; a constant that is a dict or list, at its definition."""
    assert unknown_in(package, installed) == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(x): ...", "planted.f: Type annotation for parameter"),
        ("class A:\n    def __init__(self) -> None:\n        self.x = str(1)", "planted.A.x: Type is missing"),
        ("def f(x: list) -> None: ...", "planted.f: Type of parameter"),
    ],
)
def test_a_planted_gap_is_found(tmp_path: Path, source: str, said: str) -> None:
    """And the same package without its marker promises nothing."""
    package = tmp_path / "planted"
    package.mkdir()
    (package / "py.typed").touch()
    (package / "__init__.py").write_text("def known() -> None: ...\n")
    assert unknown_in("planted", tmp_path) == []
    (package / "__init__.py").write_text(f"def known() -> None: ...\n{source}\n")
    unknown = unknown_in("planted", tmp_path)
    assert any(line.startswith(said) for line in unknown), unknown
    (package / "py.typed").unlink()
    assert unknown_in("planted", tmp_path) == ["no py.typed"]
