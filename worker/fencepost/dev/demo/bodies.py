"""Evidence beside the log: every step body of the demo writes one line when it begins, so that what the log says about
bodies can be held against what really ran.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from fencepost.authoring.context import current


class BodyRun(msgspec.Struct, frozen=True):
    """One body that began: of which run, step and attempt."""

    run: str
    step: str
    attempt: int


_journal: list[int] = []
"""The descriptor, once it is open."""


def open_journal(path: Path) -> None:
    """Where this process's bodies leave their lines. Several processes share one file."""
    _journal[:] = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)]


def begin() -> None:
    """Called first in every body. One write of one short line, which the kernel neither splits nor loses when the
    process is killed. Without a journal (a body called directly) nothing is written.
    """
    for descriptor in _journal:
        step = current()
        os.write(descriptor, msgspec.json.encode(BodyRun(step.run_id, step.step_id, step.attempt)) + b"\n")


def read_journal(path: Path) -> list[BodyRun]:
    """All lines, in the order in which the bodies began."""
    if not path.exists():
        return []
    return [msgspec.json.decode(line, type=BodyRun) for line in path.read_bytes().splitlines()]
