"""One hash seed for all processes that run workflow code.

Python salts the hashes of texts and bytes anew in each process, and with them the order of sets of texts, enum members,
dates and tuples of those. Workflow code that iterates such a set would visit it in another order after a crash. So the
processes that fencepost starts are given one seed, everywhere the same. A number in PYTHONHASHSEED that stands in the
environment already is kept: it must be the same wherever the namespace's workers run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "PYTHONHASHSEED"
SEED = "0"
"""What a process is given that has no number of its user's."""


def seeded(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment for a process that is to be started."""
    kept = environ.get(VARIABLE, "")
    return {**environ, VARIABLE: kept if kept.isdecimal() else SEED}


def begin_again() -> None:
    """Start this command anew under the seed, as the same process, unless it has one. For its first line: nothing is
    open yet. Returns where the process is not ours: another program has called the command, or Python was told to
    ignore its environment.
    """
    if os.environ.get(VARIABLE, "").isdecimal() or sys.flags.ignore_environment or not _is_ours():
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], seeded(os.environ))


def _is_ours() -> bool:
    program = Path(sys.argv[0])
    ours = (("fencepost", "__main__.py"), ("cli", "main.py"))
    return program.stem == "fencepost" or ("fencepost" in program.parts and program.parts[-2:] in ours)
