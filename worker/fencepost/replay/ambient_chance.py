"""The standard library's chance, as workflow code sees it: drawn from the run, the same in every replay.

The functions of ``random`` are methods of one hidden generator; in a workflow each task has one of its own, made from
the run's id and the task's path, so that a draw more in one task changes nothing in another. What must not be guessed
(``os.urandom``, and on top of it ``secrets`` and ``uuid.uuid4``) is made from the run's recorded secret. Outside
workflow code everything is what it was, and so it is for codecs of user values: a nonce is never drawn twice.
"""

from __future__ import annotations

import functools
import hashlib
import os
import random
import uuid
from collections.abc import Callable
from typing import Any

from fencepost.replay.ambient_time import asking_loop
from fencepost.replay.everywhere import StockFunction, replace_everywhere
from fencepost.replay.identity import PATH, TaskPath
from fencepost.replay.limits import WorkflowRestriction
from fencepost.replay.loop import WorkflowLoop


class AmbientRandom(random.Random):
    """What the hidden generator of ``random`` becomes. Everything else in ``random`` calls these."""

    def random(self) -> float:
        loop = asking_loop(2)
        return super().random() if loop is None else generator(loop).random()

    def getrandbits(self, k: int, /) -> int:
        loop = asking_loop(2)
        return super().getrandbits(k) if loop is None else generator(loop).getrandbits(k)

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        loop = asking_loop(2)
        return super().gauss(mu, sigma) if loop is None else generator(loop).gauss(mu, sigma)

    def seed(self, a: Any = None, version: int = 2) -> None:
        loop = asking_loop(2)
        if loop is None:
            super().seed(a, version)
        else:
            generator(loop).seed(a, version)

    def getstate(self) -> tuple[Any, ...]:
        loop = asking_loop(2)
        return super().getstate() if loop is None else generator(loop).getstate()

    def setstate(self, state: tuple[Any, ...]) -> None:
        loop = asking_loop(2)
        if loop is None:
            super().setstate(state)
        else:
            generator(loop).setstate(state)


class TaskRandom(random.Random):
    """The generator of a task. ``made``: how many generators the task has seeded without a seed of its own."""

    made = 0


def draw_from_the_run() -> None:
    """Put these in the places of the stock ones, once."""
    hidden: Any = random._inst  # pyright: ignore
    stock = {random.random: "random", random.getrandbits: "getrandbits"}
    state = {name: getattr(random, name) for name in ("gauss", "seed", "getstate", "setstate")}
    hidden.__class__ = AmbientRandom
    # Methods written in C, and those that are overridden, were bound before; the others find the new ones by name.
    names = {**stock, **{function: name for name, function in state.items()}}
    replacements: dict[Callable[..., Any], Callable[..., Any]] = {
        **{function: getattr(hidden, name) for function, name in names.items()},
        os.urandom: _Urandom(os.urandom),
        uuid.uuid1: _uuid1_of(uuid.uuid1),
    }
    replace_everywhere(replacements)
    random.Random.seed = _seed_of(random.Random.seed)  # type: ignore[method-assign]


def generator(loop: WorkflowLoop) -> TaskRandom:
    """The generator of the running task."""
    path = _path(loop)
    if path.chance is None:
        seed = loop.fencepost_instance.seed(f"{path.prefix}~random")
        path.chance = TaskRandom(int.from_bytes(seed, "big"))
    found: TaskRandom = path.chance
    return found


def _path(loop: WorkflowLoop) -> TaskPath:
    return PATH.get(loop.fencepost_instance.path)


def _seed_of(real: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(real)
    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is None:  # from the system: also a generator that is made without a seed comes here
            loop = asking_loop(2)
            if loop is not None:
                # From a series apart: one that a library makes at its first use is made in one run of a process only,
                # and must not move what others draw.
                own = generator(loop)
                own.made += 1
                a = int.from_bytes(loop.fencepost_instance.seed(f"{_path(loop).prefix}~Random#{own.made}"), "big")
        real(self, a, version)

    return seed


class _Urandom(StockFunction):
    def __call__(self, size: int, /) -> bytes:
        loop = asking_loop(2)
        if loop is None or size < 0:
            found: bytes = self.stock(size)
            return found
        path = _path(loop)
        path.draws += 1
        secret = loop.fencepost_instance.secret(f"{path.prefix}~urandom#{path.draws}")
        return hashlib.shake_256(secret).digest(size)


def _uuid1_of(real: Callable[..., uuid.UUID]) -> Callable[..., uuid.UUID]:
    @functools.wraps(real)
    def uuid1(*args: Any, **kwargs: Any) -> uuid.UUID:
        if asking_loop(2) is not None:
            raise WorkflowRestriction("uuid.uuid1, which holds this machine's clock and address (uuid.uuid4 can),")
        return real(*args, **kwargs)

    return uuid1
