"""Steps that another process imports."""

from __future__ import annotations

import builtins
import dataclasses
import functools
import os
import sys
from collections.abc import Callable

from fencepost.authoring.context import current
from fencepost.authoring.registry import Registry
from fencepost.authoring.step import step
from fencepost.errors import Fatal

registry = Registry()


@dataclasses.dataclass
class Job:
    n: int


class Unpicklable(Fatal):
    """Its arguments are not its args, so pickle could not bring it back."""

    def __init__(self, job: Job, *, why: str) -> None:
        super().__init__(f"job {job.n}: {why}")
        self.why = why


@step(process=True, registry=registry)
def crunch(job: Job) -> tuple[Job, int, str]:
    return Job(job.n + 1), os.getpid(), current().idempotency_key


@step(process=True, registry=registry)
async def crunch_async(job: Job) -> Job:
    return Job(job.n * 2)


@step(process=True, registry=registry)
def refuse(job: Job) -> None:
    raise Unpicklable(job, why="tired")


@step(process=True, registry=registry)
def leave(job: Job) -> None:
    sys.exit(3)


def scale(n: int) -> int:
    """What the two below pretend to be."""
    return n


def scaled(factor: int) -> Callable[[int], int]:
    """One ``def``, several functions of one qualified name."""

    @functools.wraps(scale)
    def body(n: int) -> int:
        return n * factor

    return body


double = step(name="double", process=True, registry=registry)(scaled(2))
treble = step(name="treble", process=True, registry=registry)(scaled(3))


@step(process=True, registry=registry)
def ends(error: str) -> None:
    """By any exception of Python's own."""
    raise getattr(builtins, error)
