"""Bodies that write down that they run: what a log says of starts is one thing, what ran is another.

One line per run of a body, appended in one write to a file that all worker processes share.
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from pathlib import Path

from tests.ordeal.fleet import BODIES

from fencepost import current


def ran() -> int:
    """Called first thing in a body: writes it down; the attempt."""
    step = current()
    os.write(_file(), f"{step.run_id} {step.step_id} {step.attempt}\n".encode())
    return step.attempt


@functools.cache
def _file() -> int:
    return os.open(os.environ[BODIES], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def read(path: Path, offset: int = 0) -> tuple[Counter[tuple[str, str, int]], int]:
    """How often each attempt's body ran, by run, entity and attempt, from ``offset`` on; and where to go on."""
    found: Counter[tuple[str, str, int]] = Counter()
    if not path.exists():
        return found, offset
    with path.open("rb") as lines:
        lines.seek(offset)
        for line in lines:
            if line.endswith(b"\n"):
                offset += len(line)
                run, entity, attempt = line.decode().split()
                found[run, entity, int(attempt)] += 1
    return found, offset
