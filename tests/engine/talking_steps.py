"""Steps with a process of their own that say something there, in every way in which a program does."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import structlog

from fencepost import logger
from fencepost.authoring.registry import Registry
from fencepost.authoring.step import step

registry = Registry()
own = logging.getLogger("shop.reports")


@step(process=True, registry=registry, retries=0)
def says_it_all(order: int) -> int:
    """A line by each logger, by print, by a child and by what is no Python."""
    own.debug("debug of %d", order)
    own.info("info of %d", order)
    own.warning("warning of %d", order)
    structlog.get_logger().info("structured", order=order)
    logger.info("by fencepost's logger of %d", order)
    print(f"printed of {order}")
    print(f"error of {order}", file=sys.stderr)
    os.write(2, b"descriptor of %d\n" % order)
    subprocess.run([sys.executable, "-c", f"import sys; sys.stderr.write('child of {order}\\n')"], check=True)
    return order


@step(process=True, registry=registry, retries=0)
def says_much(lines: int) -> int:
    """More than a pipe holds, past Python's streams."""
    for n in range(lines):
        os.write(2, b"%06d %s\n" % (n, b"x" * 92))
    return lines


@step(process=True, registry=registry, retries=0)
def says_and_dies(order: int) -> int:
    """Its last words."""
    own.warning("last words of %d", order)
    os._exit(7)


@step(process=True, registry=registry, retries=0)
def runs_a_program() -> int:
    """One that reads its standard input to the end, and prints more than the pool's own messages have."""
    script = "import sys; sys.stdin.read(); print('p' * 1000)"
    return subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode
