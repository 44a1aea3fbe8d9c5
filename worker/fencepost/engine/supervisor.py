"""The parent of worker processes: starts them, starts others in place of those that die, ends their leases, and passes
on when it is told to stop.

It loads no user code and does no work itself, so that it outlives both. A death is noticed by waiting for the process,
never by asking whether it is there. Its own death, by whatever cause, is the end of every child's link, and they drain.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fencepost.engine.link import Failed, Ready
from fencepost.engine.process import ChildProcess, environment, told
from fencepost.engine.reaping import reap
from fencepost.engine.signals import Signals, handled
from fencepost.engine.watchdog import feed
from fencepost.service import notify
from fencepost.telemetry import note

HANG_SECONDS = 10.0
"""What a child may take to end beyond drain_seconds before it is killed: handing back is a few round trips."""
STABLE_SECONDS = 10.0
"""A process that worked for so long and then died did not die of its start."""
RESTART_SECONDS = 0.1
"""The pause before another process is started; it doubles with every one that does not become stable ..."""
RESTART_SECONDS_MAX = 30.0
"""... up to this."""
SILENT_SECONDS = 10.0
"""A process that has not said for so long, or for a lease, that it is alive is frozen, or code holds the GIL: its
leases are lost, so it is killed, and another one takes its place."""
AT_ONCE_SECONDS = 1.0
"""What the word to the queue may take when the end is wanted at once."""
UNASKED_SECONDS = 1.0
"""How long a process that drains unasked keeps its place: whoever stops a whole service signals all of its processes,
and then no other one is to be started."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the supervision ended: an exit code and, unless it is 0, why."""

    code: int = 0
    message: str = ""


def _quiet(word: Ready) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the supervisor's owner takes part in. ``expire(owner)``: end a dead process's leases. ``ready(words)``: all
    processes consume; called once. ``restarted(word)``: another process has taken a dead one's place.
    ``changed(files)``: returns the file whose change calls for a process that loads the code anew (None:
    never). ``lost()``: returns, with the reason, when there is nothing to work with any more (None: never).
    """

    expire: Callable[[str], Awaitable[None]]
    ready: Callable[[list[Ready]], None]
    restarted: Callable[[Ready], None] = _quiet
    changed: Callable[[dict[str, int]], Awaitable[str]] | None = None
    lost: Callable[[], Awaitable[str]] | None = None


@dataclass(frozen=True, slots=True)
class _End:
    """How one process ended. ``reload``: because we wanted another one. ``leaving``: it drains unasked, and has left
    its place before its end.
    """

    ready: Ready | None
    failed: Failed | None
    code: int
    seconds: float
    reload: bool
    leaving: bool = False


class Supervisor:
    """``await Supervisor(...).run()`` returns when it was told to stop and every child has ended.

    ``argv``: a child's command; ``order``: its first line. ``first_environ``: variables that only the first process of
    each place gets, not those that replace it.
    """

    def __init__(
        self,
        argv: Sequence[str],
        order: bytes,
        hooks: Hooks,
        *,
        processes: int,
        drain_seconds: float,
        lease_seconds: float = 0.0,
        first_environ: dict[str, str] | None = None,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._argv = argv
        self._order = order
        self._hooks = hooks
        self._processes = processes
        self._drain_seconds = drain_seconds
        self._silent_seconds = max(SILENT_SECONDS, lease_seconds)
        self._first_environ = first_environ or {}
        self._uniform = uniform
        self._children: dict[int, ChildProcess] = {}
        self._leaving: dict[int, ChildProcess] = {}
        self._ready: dict[int, Ready] = {}
        self._was_ready = False
        self._said_ready = False
        self._stopping = asyncio.Event()
        self._outcome = Outcome()

    async def run(self) -> Outcome:
        """Supervise until SIGTERM, SIGINT or SIGHUP; drain; return. A second such signal, a second later or more, ends
        the children at once. As process 1 of a container it also reaps what others have left behind.

        Returns a failure as soon as a child cannot start and none ever could: starting others would not help.
        """
        loop = asyncio.get_running_loop()
        numbers = handled()
        signals = Signals(lambda number: self.stop(), lambda number: self.stop())
        for number in numbers:
            loop.add_signal_handler(number, signals, number)
        beside = [asyncio.create_task(feed()), asyncio.create_task(self._until_lost())]
        if os.getpid() == 1:
            beside.append(asyncio.create_task(reap(lambda: {child.pid for child in self._all()})))
        try:
            async with asyncio.TaskGroup() as group:
                for place in range(self._processes):
                    group.create_task(self._keep(place, group), name=f"worker process {place}")
        finally:
            for task in beside:
                task.cancel()
            for number in numbers:
                loop.remove_signal_handler(number)
        return self._outcome

    def stop(self) -> None:
        """As the signal does: drain; called again, end the children at once."""
        again = self._stopping.is_set()
        note("supervisor_stopping", processes=len(self._children), at_once=again)
        if not again:
            self._drain()
            return
        self._outcome = Outcome(1, "ended at once by a second signal, before all work was handed back")
        for child in self._all():
            child.signal(signal.SIGKILL)

    def _all(self) -> list[ChildProcess]:
        return [*self._children.values(), *self._leaving.values()]

    def _drain(self) -> None:
        notify("STOPPING=1")
        self._stopping.set()
        for child in self._children.values():
            child.signal(signal.SIGTERM)

    async def _until_lost(self) -> None:
        """End it all when the owner has lost what it works with."""
        if self._hooks.lost is None:
            return
        reason = await self._hooks.lost()
        if not self._stopping.is_set():
            self._outcome = Outcome(1, reason)
            self._drain()

    async def _keep(self, place: int, group: asyncio.TaskGroup) -> None:
        """Keep one place filled until the end."""
        failures = 0
        environ = environment(self._first_environ)
        files: dict[str, int] = {}
        while not self._stopping.is_set():
            end = await self._life(place, environ, group)
            environ = environment()
            if end.ready is not None:
                files = end.ready.files
                if end.code != 0:
                    group.create_task(self._expire(end.ready.owner))
            if self._stopping.is_set():
                return
            if end.reload:
                continue
            if not self._was_ready:  # the command says why, once
                self._give_up(end)
                return
            if not end.leaving:
                note("child_died", place=place, ended=told(end.code), error=end.failed.message if end.failed else "")
            failures = 0 if end.seconds > STABLE_SECONDS else failures + 1
            if self._hooks.changed is not None and end.failed is not None:
                await self._unless_stopping(self._hooks.changed({**files, **end.failed.files}), None)
            else:
                await self._unless_stopping(None, self._restart_delay(failures))

    async def _life(self, place: int, environ: dict[str, str], group: asyncio.TaskGroup) -> _End:
        """One process from its start to its end, or until it leaves its place."""
        clock = asyncio.get_running_loop().time
        began = clock()
        child = await ChildProcess.start(self._argv, self._order, environ)
        self._children[place] = child
        reload = leaving = False
        try:
            if self._stopping.is_set():  # told while it was being started
                child.signal(signal.SIGTERM)
            word = await self._word(child)
            if isinstance(word, Ready):
                self._tell_ready(place, word)
                reload = await self._until_reload(child, word)
                leaving = not reload and await self._leaves(place, child)
            if leaving:
                self._leaving[place] = child
                group.create_task(self._left(place, child), name=f"worker process {child.pid}")
                return _End(child.ready, None, 0, clock() - began, reload=False, leaving=True)
            code = await self._end(child)
        except BaseException:  # cancelled: whoever does that wants an end now
            child.signal(signal.SIGKILL)
            raise
        finally:
            del self._children[place]
            self._ready.pop(place, None)
            if not leaving:
                child.close()
        return _End(child.ready, child.failed, code, clock() - began, reload)

    async def _word(self, child: ChildProcess) -> Ready | Failed | None:
        """What the child says first. None if it ends without a word, or has said none when we are told to stop: startup
        code of the user's that hangs gets what a drain gets.
        """
        word, stop = asyncio.create_task(child.word()), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({word, stop}, return_when=asyncio.FIRST_COMPLETED)
            return word.result() if word.done() else None
        finally:
            word.cancel()
            stop.cancel()

    async def _until_reload(self, child: ChildProcess, word: Ready) -> bool:
        """Wait until the child ends, or is to end, or is silent for too long. True, and it is told to end, if its code
        has changed.
        """
        ended, stop = asyncio.create_task(child.ended()), asyncio.create_task(self._stopping.wait())
        silent = asyncio.create_task(child.silent(self._silent_seconds))
        draining = asyncio.create_task(child.draining.wait())
        waits: list[asyncio.Task[Any]] = [ended, stop, silent, draining]
        if self._hooks.changed is not None:
            waits.append(asyncio.create_task(self._reloaded(word)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if ended.done() or stop.done():
                return False
            if draining.done():  # unasked: it has a drain's time to end, and another one takes its place (H151)
                note("child_draining", pid=child.pid)
                return False
            if silent.done():
                note("child_killed", pid=child.pid, seconds=self._silent_seconds)
                child.signal(signal.SIGKILL)
                return False
            child.signal(signal.SIGTERM)
            return True
        finally:
            for task in waits:
                task.cancel()

    async def _leaves(self, place: int, child: ChildProcess) -> bool:
        """Whether the child drains unasked, and its place is free for another one meanwhile: a drain may take
        ``drain_seconds``, in which nothing would be consumed. One at a time does so per place.
        """
        if not child.draining.is_set() or place in self._leaving:
            return False
        ended = asyncio.ensure_future(child.ended())
        await self._unless_stopping(ended, UNASKED_SECONDS)
        return not ended.done() and not self._stopping.is_set()

    async def _left(self, place: int, child: ChildProcess) -> None:
        """See a child to its end that has left its place."""
        try:
            code = await self._end(child)
        except BaseException:
            child.signal(signal.SIGKILL)
            raise
        finally:
            del self._leaving[place]
            child.close()
        note("child_died", place=place, ended=told(code), error=child.failed.message if child.failed else "")
        if code != 0 and child.ready is not None:
            await self._expire(child.ready.owner)

    async def _reloaded(self, word: Ready) -> bool:
        assert self._hooks.changed is not None
        note("code_changed", file=await self._hooks.changed(word.files))
        return True

    async def _end(self, child: ChildProcess) -> int:
        """The child's exit code. It was told to end, or has ended, or could not start; if it hangs, it is killed."""
        bound = self._drain_seconds + HANG_SECONDS
        try:
            async with asyncio.timeout(bound):
                return await child.ended()
        except TimeoutError:
            note("child_killed", pid=child.pid, seconds=bound)
            if self._stopping.is_set():
                self._outcome = Outcome(1, f"a worker process did not end within {bound:g} s and was killed")
            child.signal(signal.SIGKILL)
            return await child.ended()

    def _tell_ready(self, place: int, word: Ready) -> None:
        self._ready[place] = word
        notify(f"STATUS={len(self._ready)} of {self._processes} worker processes ready")
        if self._was_ready and self._said_ready:
            self._hooks.restarted(word)
        self._was_ready = True
        if len(self._ready) == self._processes and not self._said_ready:
            self._said_ready = True
            notify("READY=1")
            self._hooks.ready([self._ready[p] for p in sorted(self._ready)])

    def _give_up(self, end: _End) -> None:
        """No process has ever become ready: say why, and end the others."""
        if end.failed is not None:
            self._outcome = Outcome(end.failed.code, end.failed.message)
        else:
            self._outcome = Outcome(1, f"a worker process ended with {told(end.code)} while it was starting")
        if not self._stopping.is_set():
            self._drain()

    async def _expire(self, owner: str) -> None:
        """Tell the queue of a death. If the end is wanted, this does not hold it up."""
        telling = asyncio.ensure_future(self._hooks.expire(owner))
        stop = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({telling, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        await asyncio.wait({telling}, timeout=AT_ONCE_SECONDS)
        if telling.done():
            telling.result()
        else:
            telling.cancel()

    def _restart_delay(self, failures: int) -> float:
        """Seconds, jittered, so that processes that died together do not come back together."""
        return min(RESTART_SECONDS_MAX, RESTART_SECONDS * 2.0**failures) * (0.5 + self._uniform() / 2)

    async def _unless_stopping(self, event: Awaitable[object] | None, seconds: float | None) -> None:
        """Wait for an event or a time, but no longer than until we are told to stop."""
        waits = {asyncio.create_task(self._stopping.wait())}
        if event is not None:
            waits.add(asyncio.ensure_future(event))  # type: ignore[arg-type]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
