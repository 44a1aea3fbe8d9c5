"""The child process of a suspect: ``python -m fencepost.engine.suspect FD``; the order is a line on standard input, the
report goes to FD.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from fencepost import payload_codecs
from fencepost.authoring import registry
from fencepost.config import Config
from fencepost.connections import open_store
from fencepost.engine.alone import ALIVE, BEGUN, Order, Report
from fencepost.engine.logs import configure_logs, enable_loggers
from fencepost.engine.loops import run_loop
from fencepost.engine.ports import real_ports
from fencepost.engine.shell import Shell
from fencepost.engine.steps import handle_step
from fencepost.engine.tick import handle_tick
from fencepost.engine.turn_watch import WATCH_SECONDS, TurnWatch, end_with_process, failing, watch_processor, writing
from fencepost.engine.worker import build_shell
from fencepost.engine.worker_life import WorkerLife
from fencepost.payload_keys import codecs_of
from fencepost.standard_streams import secure
from fencepost.telemetry import note
from fencepost_queue.protocol import Delivery, Entry, Queue, QueueTrouble, Settled, SettleOutcome, Subscription

NOT_BEGUN_DELAY_MS = 5_000
"""When a message is offered again whose process could not load the user's code, or reach Postgres."""


class Recorder:
    """Stands in for the queue in the child: takes down what the message's end would have been."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.report: Report | None = None
        self._withdrawn: list[tuple[str, str]] = []
        self._published: list[str] = []

    async def settle(
        self,
        delivery: Delivery,
        follow_ups: Sequence[Entry] = (),
        *,
        lease_ms: int,
        recovered: bool = False,
        conflicts: int = 0,
    ) -> Settled:
        """Take down, and let the message go."""
        self.report = Report(True, tuple(follow_ups), recovered, conflicts, withdrawn=tuple(self._withdrawn))
        return Settled(SettleOutcome.settled)

    async def release(self, delivery: Delivery, delay_ms: int = 0, *, proof: bool = False) -> bool:
        """Take down."""
        self.report = Report(False, delay_ms=delay_ms, withdrawn=tuple(self._withdrawn))
        return True

    async def refuse(self, delivery: Delivery, code: str, why: str) -> bool:
        """Take down."""
        self.report = Report(False, lack=why, withdrawn=tuple(self._withdrawn))
        return True

    async def withdraw(self, queue: str, keys: Sequence[str]) -> list[str]:
        """Take down; the parent tells the owners."""
        self._withdrawn += [(queue, key) for key in keys]
        return []

    async def publish(self, channel: str, message: bytes) -> None:
        """Take down, once: it only says that there is something to look at."""
        if channel not in self._published:
            self._published.append(channel)

    async def writable(self) -> None:
        """It takes down whatever it is told."""

    def subscribe(self, channel: str) -> Subscription:
        """A body that reads a stream polls here."""
        raise QueueTrouble("a suspect's process has no connection to the queue")

    def final(self) -> Report:
        """The report with the hints in it. A message that was walked away from is released."""
        report = self.report or Report(False)
        return msgspec.structs.replace(report, published=tuple(self._published))


async def run(order: Order, say: Callable[[bytes], None]) -> tuple[Report, Callable[[], Awaitable[None]]]:
    """Deal with the one message: the report, and what is to be closed behind it. ``say``: ALIVE, again and again while
    that is done, and BEGUN before user code.
    """
    if order.logs is not None:
        configure_logs(order.logs.form, order.logs.level)
    try:
        shell, recorder, close = await _prepare(order)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, the message has not been touched
        note("suspect_not_begun", key=order.delivery.key, error=f"{type(error).__name__}: {error}")
        return Report(False, delay_ms=NOT_BEGUN_DELAY_MS), _nothing
    shell.begins = lambda: say(BEGUN)
    watch_processor(shell.guard, shell.ports.monotonic, shell.settings.replay_budget_seconds)
    watch = TurnWatch(shell.ports.monotonic, shell.guard, shell.settings.replay_budget_seconds, failing(order.config))
    threading.Thread(
        target=asyncio.run, args=(_watch(watch, shell, order.config, say),), name="fencepost-watch", daemon=True
    ).start()
    if order.delivery.key.startswith("s:"):
        shell.slots.take()
        await handle_step(shell, order.delivery)
    else:
        await handle_tick(shell, order.delivery)
    return recorder.final(), close


async def _nothing() -> None:
    """Nothing was opened."""


async def _prepare(order: Order) -> tuple[Shell, Recorder, Callable[[], Awaitable[None]]]:
    for name in order.modules:
        importlib.import_module(name)
    enable_loggers()
    payload_codecs.install(codecs_of(order.config))
    life = WorkerLife(registry.default.lifespans)
    await life.start()
    store = await open_store(order.config)
    recorder = Recorder(order.delivery.token.rpartition(".")[0])
    queue: Queue = recorder  # type: ignore[assignment]
    ports = real_ports(lost_threads_max=order.config.lost_threads_max)
    shell, coalescer = build_shell(order.config, registry.default, store, queue, ports, store.join)
    shell.alone = True
    shell.clock.read(await store.now())
    # The parent renews the lease and ends this process if it is lost.
    shell.keeper.hold(order.delivery, float("inf"))

    async def close() -> None:
        await coalescer.close()
        await store.close()
        await life.stop()

    return shell, recorder, close


async def _watch(watch: TurnWatch, shell: Shell, config: Config, say: Callable[[bytes], None]) -> None:
    """In a thread: this process's guard against its user code, as a worker's keeper thread is. A body that blocks the
    loop beyond its own time is ended with the process, for its timer is in that loop.
    """
    write = writing(config)
    while True:
        say(ALIVE)
        await asyncio.sleep(WATCH_SECONDS)
        await watch.look()
        held = shell.keeper.beyond()
        if held is not None:
            await end_with_process(held, write, "")


def _end_with_parent() -> None:
    """The other end of standard input is open for as long as the worker lives; without it nobody renews the lease."""
    os.read(0, 1)  # not sys.stdin: a thread inside its lock would break the interpreter's end
    os._exit(1)


def main() -> None:
    """Read the order, do it, write the report."""
    secure(daemon=True)
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    threading.Thread(target=_end_with_parent, name="fencepost-parent", daemon=True).start()
    sys.path.insert(0, os.getcwd())
    run_loop(_report(order, int(sys.argv[1])))


async def _report(order: Order, fd: int) -> None:
    """Say it, and end at once: a body that was left behind in a thread would hold up an ordinary end for ever."""
    talking = threading.Lock()

    def say(word: bytes) -> None:
        with talking:
            os.write(fd, word)

    report, close = await run(order, say)
    talking.acquire()  # for good: nothing comes between or behind
    with os.fdopen(fd, "wb") as pipe:
        pipe.write(msgspec.json.encode(report) + b"\n")
    # Shutdown code of the user's may do anything: the message has been dealt with.
    with contextlib.suppress(Exception):
        await close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
