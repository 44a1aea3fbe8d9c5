"""Suspects: a message that ended several hand-overs in a crash is dealt with alone, in a child process
(docs/protocol.md section 6).

The child has no queue connection: it does the message's work against the store and tells, over a pipe, how its message
is to be settled; the parent holds and
renews the lease and settles. If the child dies instead, and has said that user code begins, that is a proof, and only
that is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

import msgspec

from fencepost.config import Config
from fencepost.engine.handback import hand_back_unbegun, release, settle
from fencepost.engine.logs import Logs, configured_logs
from fencepost.engine.process import environment, silence
from fencepost.engine.shell import Shell
from fencepost.engine.shortage import NotBegun, told
from fencepost.engine.stopping import withdraw
from fencepost.engine.unfit import refuse
from fencepost.telemetry import note
from fencepost_queue.protocol import Delivery, Entry


class Order(msgspec.Struct, frozen=True):
    """What the parent tells the child. ``logs``: how the parent logs."""

    config: Config
    modules: tuple[str, ...]
    delivery: Delivery
    logs: Logs | None = None


class Report(msgspec.Struct, frozen=True):
    """How the child wants its message dealt with. ``settled`` False: release, after ``delay_ms``; or refuse, for the
    ``lack`` of code that it names. ``withdrawn``: (queue, key) of messages not wanted any more. ``published``: channels
    of hints."""

    settled: bool
    entries: tuple[Entry, ...] = ()
    recovered: bool = False
    conflicts: int = 0
    delay_ms: int = 0
    withdrawn: tuple[tuple[str, str], ...] = ()
    published: tuple[str, ...] = ()
    lack: str = ""


ALIVE = b"\n"
"""A suspect's word that it is alive, on the pipe that its report comes through."""

BEGUN = b"begun\n"
"""A suspect's word that what is the user's begins to run."""

REPORT_BYTES_MAX = 1 << 26
"""More than any report has: it names messages, and a run has some thousands at most."""

LAST_WORD_SECONDS = 1.0

SEATS = 2
"""Suspects of a kind at a time: each costs an interpreter. Runs' ticks and steps have seats apart, as a body may take
hours and a turn is bounded by its budget."""

SEAT_DELAY_MS = 2_000
"""Upper end of the jittered delay of who finds no seat: it is handed back at once, for another worker may have one."""

PROOF_DELAY_MS = 5_000
"""Upper end of the delay after a proof, and twice its lower end: whatever else was wrong with the machine at that time
should not be the second one as well."""

SEAT_SECONDS = 60.0
"""Who has lived for so long proves nothing any more: its seat is free for the next one, and it goes on ..."""

LONG_MAX = 14
"""... if no more than so many do; else it keeps its seat."""

SILENT_SECONDS = 10.0
"""A suspect's process that has said once that it is alive, and then does not for so long, or for a lease, is frozen, or
its code holds the GIL, so that its own watch cannot stop it. It is killed, and that is a proof."""

TICK_SECONDS = 600.0
"""A tick's process that has not ended by then hangs outside of any turn (in the import of a module), and is killed."""


class Seat:
    """Lent to one suspect by ``Seats.take``. ``give`` is idempotent."""

    def __init__(self, seats: Seats) -> None:
        self._seats = seats
        self._lapsed = False
        self._given = False
        self._timer = asyncio.get_running_loop().call_later(SEAT_SECONDS, self._lapse)

    def _lapse(self) -> None:
        if self._seats.long < LONG_MAX:
            self._seats.long += 1
            self._lapsed = True
            self._seats.free += 1

    def give(self) -> None:
        """The suspect has ended."""
        if self._given:
            return
        self._given = True
        self._timer.cancel()
        if self._lapsed:
            self._seats.long -= 1
        else:
            self._seats.free += 1


class Seats:
    """Seats of one kind. ``long``: suspects that go on without one."""

    def __init__(self) -> None:
        self.free: int = SEATS
        self.long: int = 0

    def take(self) -> Seat | None:
        """A seat, or None if none is free."""
        if self.free == 0:
            return None
        self.free -= 1
        return Seat(self)


class Alone:
    """Runs each suspect in a process of its own, so that it can neither take bystanders with it nor be blamed for
    them. No suspect waits for ever behind another (H149).
    """

    def __init__(self, shell: Shell, config: Config, modules: tuple[str, ...]) -> None:
        self._shell = shell
        self._config = config
        self._modules = modules
        self._seats = {"t": Seats(), "s": Seats()}

    async def __call__(self, delivery: Delivery) -> None:
        shell = self._shell
        seat = self._seats[delivery.key[0]].take()
        if seat is None:
            await release(shell, delivery, shell.jitter_ms(SEAT_DELAY_MS))
            return
        try:
            await self._seated(delivery)
        finally:
            seat.give()

    async def _seated(self, delivery: Delivery) -> None:
        shell = self._shell
        if not shell.keeper.fresh(delivery.token):  # it is another worker's by now
            shell.keeper.drop(delivery.token)
            return
        note("suspect_alone", key=delivery.key, crashes=delivery.crashes, proofs=delivery.proofs)
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        reasons: list[str] = []

        def stop(why: str) -> None:
            reasons.append(why)
            loop.call_soon_threadsafe(stopped.set)

        shell.keeper.watch(delivery.token, stop)
        report, missing = None, ""
        try:
            report = await self._child(delivery, stopped)
        except NotBegun as unbegun:
            missing = str(unbegun)
        if "withdrawn" in reasons:
            await settle(shell, delivery)  # the log has the step's end, nothing more is owed
            return
        if stopped.is_set():
            shell.keeper.drop(delivery.token)
            return
        if missing:
            await hand_back_unbegun(shell, delivery, missing)
            return
        if report is None:
            note("suspect_crashed", key=delivery.key, proofs=delivery.proofs + 1)
            delay = PROOF_DELAY_MS // 2 + shell.jitter_ms(PROOF_DELAY_MS // 2)
            await release(shell, delivery, delay, proof=True)
            return
        await self._carry_out(delivery, report)

    async def _carry_out(self, delivery: Delivery, report: Report) -> None:
        shell = self._shell
        await withdraw(shell, report.withdrawn)
        if report.lack:
            await refuse(shell, delivery, report.lack, delivery.key)
            return
        if not report.settled:
            await release(shell, delivery, report.delay_ms)
            return
        settled = await settle(shell, delivery, report.entries, recovered=report.recovered, conflicts=report.conflicts)
        for channel in report.published:
            await shell.queue.publish(channel, b"")
        if settled.again is not None:
            await release(shell, settled.again)

    async def _child(self, delivery: Delivery, stopped: asyncio.Event) -> Report | None:
        """The child's report; None if it died in user code. Raises NotBegun if it died before that, or never was."""
        order = msgspec.json.encode(Order(self._config, self._modules, delivery, configured_logs()))
        try:
            child, reader, pipe = await _spawned()
        except OSError as error:  # also where the interpreter has been moved away, as an upgrade does
            raise NotBegun(f"a process for a suspect: {told(error)}") from error
        assert child.stdin is not None
        stop = asyncio.create_task(stopped.wait())
        words = Words()
        reading = asyncio.create_task(words.report(reader))
        silent = asyncio.create_task(words.silence(max(SILENT_SECONDS, self._config.lease_seconds)))
        try:
            # The pipe stays open: its end tells the child that this process is gone, by whatever death.
            child.stdin.write(order + b"\n")
            ended = asyncio.create_task(child.wait())
            bound = TICK_SECONDS if delivery.key.startswith("t:") else None
            await asyncio.wait({ended, stop, silent}, timeout=bound, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                _kill(child)
            code = await ended
            # What it said is here already. The end of the pipe may never come: something that it forked may have it.
            await asyncio.wait({reading}, timeout=LAST_WORD_SECONDS)
        except asyncio.CancelledError:
            _kill(child)
            await asyncio.shield(child.wait())
            raise
        finally:
            stop.cancel()
            silent.cancel()
            reading.cancel()
            child.stdin.close()
            pipe.close()
        data = reading.result() if reading.done() and not reading.cancelled() else b""
        if data.endswith(b"\n"):
            return msgspec.json.decode(data, type=Report)
        if not words.begun:
            raise NotBegun(f"a process to run it alone: that ended with code {code} before user code began")
        return None


class Words:
    """What a suspect's process says: ALIVE again and again, from when it begins to work, BEGUN before user code, and at
    its end its report.
    """

    def __init__(self) -> None:
        self.begun: bool = False
        self._count = 0
        self._first = asyncio.Event()

    async def report(self, reader: asyncio.StreamReader) -> bytes:
        """The report's line; empty if there is none."""
        while (line := await reader.readline()) in (ALIVE, BEGUN):
            self.begun |= line == BEGUN
            self._count += 1
            self._first.set()
        return line

    async def silence(self, seconds: float) -> None:
        """Return when it has begun to work, and then has said nothing for so long."""
        await self._first.wait()
        await silence(lambda: self._count, seconds)


async def _spawned() -> tuple[asyncio.subprocess.Process, asyncio.StreamReader, asyncio.BaseTransport]:
    """A child, and the pipe that its report comes through. Where one of the two cannot be had, for the machine is short
    of processes or descriptors, neither is left behind: each further suspect would make the shortage worse.
    """
    read, write = os.pipe()
    source = os.fdopen(read, "rb", 0)
    try:
        with os.fdopen(write, "wb", 0):
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "fencepost.engine.suspect",
                str(write),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(write,),
                env=environment(),
            )
        reader = asyncio.StreamReader(limit=REPORT_BYTES_MAX)
        try:
            pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), source
            )
        except BaseException:
            _kill(child)
            await asyncio.shield(child.wait())
            raise
    except BaseException:
        source.close()
        raise
    return child, reader, pipe


def _kill(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended
        child.kill()
