"""How ``worker`` and ``dev`` run their worker processes under a supervisor: a child's order, and its end."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from fencepost.cli.session import Session
from fencepost.config import Config
from fencepost.engine.expiry import Expiry
from fencepost.engine.supervisor import Hooks, Outcome, Supervisor

if TYPE_CHECKING:
    from fencepost.engine.link import Ready

FAULT_VARIABLE = "TEST_FENCEPOST_FAULT"


class Ended(Exception):
    """The supervision ended in a failure; ``exit_code`` is the command's."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Order(msgspec.Struct, frozen=True):
    """What a worker process is to do."""

    config: Config
    modules: tuple[str, ...]
    log_format: str
    log_level: str
    own_build: bool = False
    """Each process is a build of its own: its code may be another."""


def supervise(
    config: Config,
    modules: tuple[str, ...],
    session: Session,
    ready: Callable[[list[Ready]], None],
    *,
    restarted: Callable[[Ready], None] = lambda word: None,
    changed: Callable[[dict[str, int]], Awaitable[str]] | None = None,
    lost: Callable[[], Awaitable[str]] | None = None,
    own_builds: bool = False,
) -> None:
    """Run worker processes until told to stop. Raises Ended. ``ready`` and those below it: see Hooks.
    ``own_builds``: what one process has parked, the next one takes up.
    """
    order = Order(config, modules, session.log_format, session.log_level or "info", own_builds)
    expiry = Expiry(config)

    def all_ready(words: list[Ready]) -> None:
        expiry.begin()
        ready(words)

    hooks = Hooks(expiry.expire, all_ready, restarted, changed, lost)
    outcome = asyncio.run(_supervise(config, order, hooks, expiry))
    if outcome.code:
        raise Ended(outcome.message, outcome.code)


async def _supervise(config: Config, order: Order, hooks: Hooks, expiry: Expiry) -> Outcome:
    fault = os.environ.pop(FAULT_VARIABLE, None)  # for the first process of each place only, or none would ever stay
    supervisor = Supervisor(
        (sys.executable, "-m", "fencepost.cli.child"),
        msgspec.json.encode(order),
        hooks,
        processes=config.processes,
        drain_seconds=config.drain_seconds,
        lease_seconds=config.lease_seconds,
        first_environ={FAULT_VARIABLE: fault} if fault else None,
    )
    try:
        return await supervisor.run()
    finally:
        await expiry.close()
