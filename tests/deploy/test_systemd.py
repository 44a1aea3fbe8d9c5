"""The systemd unit: understood by systemd itself where it is installed, and in step with the configuration
everywhere.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fencepost.config import Config, load_config

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "fencepost-worker.service"


def settings(text: str) -> dict[str, list[str]]:
    """``Section.Key`` to its values; keys may repeat."""
    found: dict[str, list[str]] = {}
    section = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            found.setdefault(f"{section}.{key}", []).append(value)
    return found


def faults(text: str) -> list[str]:
    """What is wrong with a unit, apart from its syntax."""
    unit, config, found = settings(text), Config(), list[str]()

    def one(key: str) -> str:
        return unit.get(f"Service.{key}", [""])[-1]

    for key, value in {
        "Type": "notify",
        "Restart": "always",
        "KillSignal": "SIGTERM",
        "NoNewPrivileges": "yes",
    }.items():
        if one(key) != value:
            found.append(f"{key} is {one(key)!r}, not {value!r}")
    if not float(one("TimeoutStopSec") or 0) > config.drain_seconds:
        found.append("TimeoutStopSec does not exceed drain_seconds: a draining worker would be killed")
    if not float(one("WatchdogSec") or 0) > 3 * config.renewal_seconds:
        found.append("WatchdogSec leaves no room for three renewals")
    if one("User") in ("", "root"):
        found.append("runs as root")
    lines = [line.partition("=") for line in unit.get("Service.Environment", [])]
    environ = {name: value for name, _, value in lines}
    if environ.get("FENCEPOST_ENV") != "production":
        found.append("FENCEPOST_ENV is not production")
    names = {name: value for name, value in environ.items() if name != "FENCEPOST_CONFIG"}
    load_config(environ={**names, "FENCEPOST_DATABASE_URL": "postgresql://h/d", "FENCEPOST_REDIS_URL": "redis://h"})
    return found


def test_the_unit_is_in_step_with_the_configuration() -> None:
    """Its times fit the defaults, its variables are settings."""
    assert faults(UNIT.read_text()) == []


@pytest.mark.parametrize(
    ("line", "planted"),
    [
        ("TimeoutStopSec=40", "TimeoutStopSec=20"),
        ("WatchdogSec=20", "WatchdogSec=5"),
        ("Type=notify", "Type=simple"),
        ("Restart=always", ""),
        ("User=fencepost", ""),
        ("Environment=FENCEPOST_ENV=production", ""),
    ],
)
def test_a_planted_fault_is_found(line: str, planted: str) -> None:
    """Each of them, alone."""
    text = UNIT.read_text()
    assert f"\n{line}\n" in text
    assert len(faults(text.replace(line, planted))) == 1


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed: syntax not verified"
)
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """With a program that exists here in place of the user's; a misspelt key is found."""

    def verify(text: str) -> str:
        unit = tmp_path / UNIT.name
        unit.write_text(text.replace("/opt/app/.venv/bin/fencepost", "/bin/true"))
        command = ["systemd-analyze", "verify", "--man=no", str(unit)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        lines = (answer.stdout + answer.stderr).splitlines()
        return "\n".join(line for line in lines if UNIT.stem in line)  # not what it says of the machine's other units

    assert verify(UNIT.read_text()) == ""
    assert "TimeoutStopSecs" in verify(UNIT.read_text().replace("TimeoutStopSec", "TimeoutStopSecs"))
