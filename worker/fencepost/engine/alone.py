"""Suspects: a message that ended several hand-overs in a crash is dealt with alone, in a child process
(docs/protocol.md section 6).

The child has no queue connection: it does the message's work against the store and tells, over a pipe, how its message
is to be settled; the parent holds and
renews the lease and settles. If the child dies instead, that is a proof, and only that is.
"""

from __future__ import annotations

import asyncio
import os
import sys

import msgspec

from fencepost.config import Config
from fencepost.engine.handback import release, settle
from fencepost.engine.logs import Logs, configured_logs
from fencepost.engine.shell import Shell
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


class Alone:
    """Runs each suspect in a process of its own, so that it can neither take bystanders with it nor be blamed for
    them; two at a time, for each costs an interpreter.
    """

    def __init__(self, shell: Shell, config: Config, modules: tuple[str, ...]) -> None:
        self._shell = shell
        self._config = config
        self._modules = modules
        self._turn = asyncio.Semaphore(2)

    async def __call__(self, delivery: Delivery) -> None:
        async with self._turn:
            shell = self._shell
            note("suspect_alone", key=delivery.key, crashes=delivery.crashes, proofs=delivery.proofs)
            stopped = asyncio.Event()
            loop = asyncio.get_running_loop()

            reasons: list[str] = []

            def stop(why: str) -> None:
                reasons.append(why)
                loop.call_soon_threadsafe(stopped.set)

            shell.keeper.watch(delivery.token, stop)
            report = await self._child(delivery, stopped)
            if "withdrawn" in reasons:
                await settle(shell, delivery)  # the log has the step's end, nothing more is owed
                return
            if stopped.is_set():
                shell.keeper.drop(delivery.token)
                return
            if report is None:
                note("suspect_crashed", key=delivery.key, proofs=delivery.proofs + 1)
                await release(shell, delivery, proof=True)
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
        """The child's report; None if it died before it could make one."""
        order = msgspec.json.encode(Order(self._config, self._modules, delivery, configured_logs()))
        read, write = os.pipe()
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "fencepost.engine.suspect",
            str(write),
            stdin=asyncio.subprocess.PIPE,
            pass_fds=(write,),
        )
        os.close(write)
        assert child.stdin is not None
        stop = asyncio.create_task(stopped.wait())
        reading = asyncio.create_task(asyncio.to_thread(_read_all, read))
        try:
            # The pipe stays open: its end tells the child that this process is gone, by whatever death.
            child.stdin.write(order + b"\n")
            ended = asyncio.create_task(child.wait())
            await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                child.kill()
            code = await ended
        except asyncio.CancelledError:
            child.kill()
            await asyncio.shield(child.wait())
            raise
        finally:
            stop.cancel()
            child.stdin.close()
        data = await reading
        return msgspec.json.decode(data, type=Report) if code == 0 and data else None


def _read_all(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as pipe:
        return pipe.read()
