"""The demo as a command: signals in, exit code out."""

from __future__ import annotations

import asyncio
import signal
import sys

from fencepost.dev.demo.act_index import Missed
from fencepost.dev.demo.facts import Facts
from fencepost.dev.demo.play import play
from fencepost.dev.demo.screen import Screen
from fencepost.dev.demo.team import WorkerTrouble
from fencepost.dev.demo.verdict import conclude
from fencepost.dev.servers import ServersError
from fencepost.errors import FencepostError
from fencepost_queue.protocol import QueueTrouble
from fencepost_store.protocol import StoreTrouble

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FAILED = 1
EXPECTED = (Missed, WorkerTrouble, ServersError, FencepostError, QueueTrouble, StoreTrouble, TimeoutError)
"""What may go wrong without a bug in the demo itself: told in a sentence, not by a traceback."""


def run(*, json: bool, keep: bool) -> int:
    """See ``fencepost.dev.demo.main``."""
    screen = Screen(sys.stderr if json else sys.stdout)
    stopped: list[int] = []
    try:
        facts = asyncio.run(_until_signal(screen, keep, stopped))
    except asyncio.CancelledError:
        screen.say(f"stopped by {signal.Signals(stopped[0]).name}; nothing is left behind")
        return 128 + stopped[0]
    except Exception as error:
        first = _first(error)
        if not isinstance(first, EXPECTED):
            raise
        return _failed(screen, first)
    return conclude(facts, screen, json=sys.stdout if json else None)


async def _until_signal(screen: Screen, keep: bool, stopped: list[int]) -> Facts:
    """The first signal cancels the play, which then cleans up; later ones find that under way and change nothing.

    Signals arrive in the event loop only, so that none comes between making something and knowing that it is made.
    """
    loop = asyncio.get_running_loop()
    playing = asyncio.create_task(play(screen, keep=keep))

    def stop(number: int) -> None:
        if not stopped and not playing.done():
            stopped.append(number)
            screen.step("stopping: workers and servers are ended")
            playing.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        return await playing
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


def _first(error: BaseException) -> BaseException:
    """The error that ended a group of tasks; others in it are consequences."""
    members: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    return _first(members[0]) if members else error


def _failed(screen: Screen, error: BaseException) -> int:
    screen.say(f"the demo could not go on: {type(error).__name__}: {error or 'nothing moved in time'}")
    return FAILED
