"""A worker process of the demo: ``python -m fencepost.dev.demo.worker``, with the link to the demo as standard input.

The same worker as ``fencepost worker`` runs, over the demo's two workflows, in a folder of its own: nothing of the
user's is imported, and whatever is logged goes to a file.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

import msgspec

from fencepost.config import Config
from fencepost.dev.demo.bodies import open_journal
from fencepost.dev.guard import PR_SET_PDEATHSIG
from fencepost.engine.child import serve
from fencepost.engine.link import Failed, ParentLink
from fencepost.engine.logs import configure_logs

MODULES = ("fencepost.dev.demo.index", "fencepost.dev.demo.order")


class Order(msgspec.Struct, frozen=True):
    """What the demo tells a worker. ``folder``: where it works, ``log``: where it writes, both absolute."""

    config: Config
    folder: str
    log: str
    journal: str


def main() -> int:
    """Take the order, work until told to drain or until the demo is gone."""
    link = ParentLink.from_stdin()
    line = link.order()
    if not line:  # the demo died before it could say anything
        return 1
    _die_with_the_demo()
    order = msgspec.json.decode(line, type=Order)
    os.chdir(order.folder)
    log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    configure_logs("text")
    open_journal(Path(order.journal))
    try:
        serve(order.config, MODULES, link.tell, parent=link)
    except Exception as error:
        link.tell(Failed(1, f"{type(error).__name__}: {error}"))
        raise
    return 0


def _die_with_the_demo() -> None:
    """The end of the link tells a worker that the demo is gone, but not one that is frozen at that moment: for it, the
    kernel has a signal (Linux).
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
