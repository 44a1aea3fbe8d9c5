"""H158: every process that fencepost starts has one hash seed. On real runs: tests/kills/test_hash_seed.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fencepost.engine import hash_seed
from fencepost.engine.process import environment


def test_h158_processes_are_started_with_one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of the user's own is kept; ``random`` and what is no number are none."""
    for given, expected in (("", "0"), ("random", "0"), ("17", "17"), ("-1", "0")):
        monkeypatch.setenv(hash_seed.VARIABLE, given)
        assert environment()[hash_seed.VARIABLE] == expected
    monkeypatch.delenv(hash_seed.VARIABLE)
    assert environment({"A": "b"})[hash_seed.VARIABLE] == "0"
    assert environment({"A": "b"})["A"] == "b"


def test_h158_replay_is_done_under_that_seed_too(tmp_path: Path) -> None:
    """What a worker would do is the question. The command says so through the module that it loads."""
    (tmp_path / "tells_seed.py").write_text("import os\nprint('seed', os.environ['PYTHONHASHSEED'])\n")
    (tmp_path / "runs.jsonl").touch()
    environ = {name: value for name, value in os.environ.items() if name != hash_seed.VARIABLE}
    done = subprocess.run(
        [sys.executable, "-m", "fencepost", "replay", "runs.jsonl", "--module", "tells_seed"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "seed 0" in done.stdout, done.stderr


def test_another_program_that_calls_the_command_is_not_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as this test runner."""
    monkeypatch.delenv(hash_seed.VARIABLE, raising=False)

    def never(*args: object) -> None:
        pytest.fail("started anew")

    monkeypatch.setattr(os, "execve", never)
    hash_seed.begin_again()
