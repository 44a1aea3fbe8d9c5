"""The demo from its beginning to its end: both acts, then what they come to."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

import msgspec

from fencepost.dev.demo import act_index, act_order, direct
from fencepost.dev.demo.act_index import Act, Missed
from fencepost.dev.demo.bodies import read_journal
from fencepost.dev.demo.facts import Facts
from fencepost.dev.demo.history import History
from fencepost.dev.demo.index import Report
from fencepost.dev.demo.owned import owned
from fencepost.dev.demo.screen import Screen
from fencepost.dev.demo.stage import Stage, set_up
from fencepost.dev.demo.timeline import draw


async def play(screen: Screen, *, keep: bool) -> Facts:
    """Everything but the verdict. Shows the timelines. When this returns, nothing is left."""
    async with set_up(screen, keep=keep) as stage:
        act = await act_index.play(stage)
        before = await stage.server.moment()
        async with asyncio.TaskGroup() as group:
            report = group.create_task(_direct(screen))
            orders = await act_order.play(stage)
        after = await stage.server.moment()
        screen.step("the workers are told to drain")
        codes = await stage.team.drain()
        left = sum(lane.ready + lane.leased + lane.delayed for lane in await stage.queue.depth())
        facts = Facts(
            index=act_index.facts_of(stage, act, report.result()),
            orders=tuple(facts for facts, _ in orders),
            order_commits=after.transactions - before.transactions,
            unrecorded=_unrecorded(stage, act, [history for _, history in orders]),
            exit_codes=codes,
            left_in_queue=left,
            lease_seconds=stage.config.lease_seconds,
            seconds=0.0,
        )
        _show_timelines(screen, act, [(f"order {facts.order}", history) for facts, history in orders])
    return msgspec.structs.replace(facts, seconds=round(screen.seconds, 1))


async def _direct(screen: Screen) -> Report:
    """The report, computed by a process that knows nothing of workflows. Runs beside the second act, which mostly
    waits.
    """
    command = [sys.executable, "-I", str(direct.__file__)]
    pipe = asyncio.subprocess.PIPE
    starting = asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, stdin=asyncio.subprocess.DEVNULL)
    async with owned(starting, _end) as process:
        output, errors = await process.communicate()
    if process.returncode != 0:
        raise Missed(f"computing the report directly failed:\n{errors.decode(errors='replace')}")
    screen.step("the same report is computed directly, by plain code in a process of its own")
    return msgspec.json.decode(output, type=Report)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


def _unrecorded(stage: Stage, act: Act, orders: list[History]) -> tuple[str, ...]:
    """Bodies without their start in the log, and bodies that began more than once for one start."""
    starts = {
        (history.run_id, step.entity, start.attempt)
        for history in (act.history, *orders)
        for step in history.steps.values()
        for start in step.starts
    }
    bodies = Counter((body.run, body.step, body.attempt) for body in read_journal(stage.team.journal))
    return tuple(
        sorted(
            f"{run} {step} {attempt}"
            for (run, step, attempt), n in bodies.items()
            if n > 1 or (run, step, attempt) not in starts
        )
    )


def _show_timelines(screen: Screen, act: Act, orders: list[tuple[str, History]]) -> None:
    kill = act.kill
    marks = [(kill.at, f"kill -9 of {kill.victim}, {len(kill.in_flight)} bodies in flight")]
    for title, lines in (("index", draw(act.history, marks)), *((title, draw(h)) for title, h in orders)):
        screen.say()
        screen.say(title)
        for line in lines:
            screen.say(f"  {line}")
    screen.say()
