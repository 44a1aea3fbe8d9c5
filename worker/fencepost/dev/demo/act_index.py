"""The first act: index the standard library, and kill -9 a worker in the middle of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from fencepost.dev.demo.bodies import read_journal
from fencepost.dev.demo.facts import IndexFacts, Kill
from fencepost.dev.demo.history import History
from fencepost.dev.demo.index import Report, index_library, parse_module
from fencepost.dev.demo.server import Moment
from fencepost.dev.demo.stage import Stage
from fencepost.dev.demo.team import Member

RUN_SECONDS = 120.0
"""A bound on waiting, far above what the run takes, so that a stall ends in words."""
LOOK_SECONDS = 0.05
QUICK_LOOK_SECONDS = 0.01
QUEUE = "default"
PEEK = 100
"""Leased messages come first, and there are no more of them than bodies and turns at once."""
IN_FLIGHT_MIN = 2
FREEZES_MAX = 20


class Missed(Exception):
    """The demo could not do what it set out to do. The message says what was seen instead."""


@dataclass(frozen=True, slots=True)
class Act:
    """What the first act hands on: all facts but the direct report, which is not known yet."""

    run: str
    history: History
    kill: Kill
    owners: dict[str, str]
    begun_before_kill: dict[str, int]
    began: Moment
    ended: Moment
    report: Report


async def play(stage: Stage) -> Act:
    """Run it. Raises Missed, TimeoutError and what the client raises."""
    screen, team = stage.screen, stage.team
    first_team = list(team.members)
    began = await stage.server.moment()
    run = await stage.client.start(index_library)
    screen.step(f"run {run.id}: index the standard library, one step per module")
    history = History(run)
    async with asyncio.timeout(RUN_SECONDS):
        await _until_a_third(stage, history)
        victim = max(first_team, key=lambda member: len(history.in_flight(member.owner)))
        kill, begun = await _kill(stage, history, victim, first_team)
        replacement = await team.hire()
        screen.step(f"{replacement.label} takes its place (process {replacement.pid})")
        await _until_the_end(stage, history)
    report = await run.result(RUN_SECONDS)
    ended = await stage.server.moment()
    owners = {member.owner: member.label for member in (*first_team, replacement)}
    screen.step(f"the run has ended: {len(history.steps)} steps, {len(history.events)} events")
    return Act(run.id, history, kill, owners, begun, began, ended, report)


def facts_of(stage: Stage, act: Act, direct: Report) -> IndexFacts:
    """The act in figures."""
    steps, kill = act.history.steps.values(), act.kill
    again = [step for step in steps if len(step.starts) > 1]
    repeats = [start for step in again for start in step.starts[1:]]
    bodies: dict[str, int] = {}
    for body in read_journal(stage.team.journal):
        if body.run == act.run:
            bodies[body.step] = bodies.get(body.step, 0) + 1
    victim = next(owner for owner, label in act.owners.items() if label == kill.victim)
    first = min((start.at for start in repeats), default=None)
    events = act.history.events
    return IndexFacts(
        run=act.run,
        steps=len(steps),
        events=len(events),
        seconds=round((events[-1].at - events[0].at) / 1e6, 3),
        commits=act.ended.transactions - act.began.transactions,
        kill=kill,
        begun_before_kill=act.begun_before_kill,
        lost=tuple(sorted(step.entity for step in act.history.lost(victim))),
        begun_again={
            step.entity: tuple(act.owners.get(start.owner, start.owner) for start in step.starts) for step in again
        },
        ran_twice=tuple(sorted(step for step, count in bodies.items() if count > 1)),
        not_ended_once=tuple(sorted(step.entity for step in steps if step.ends != 1)),
        recovery_ms=None if first is None else (first - kill.at) / 1000,
        before_them=sum(kill.at < step.starts[0].at < first for step in steps) if first is not None else 0,
        report=act.report,
        direct=direct,
    )


async def _until_a_third(stage: Stage, history: History) -> None:
    """Until a third of the modules are done and both workers have some in flight."""
    while True:
        await history.read()
        parses = history.named(parse_module.name)
        done = sum(step.ends for step in parses)
        stage.screen.progress(done, len(parses), "modules")
        busy = all(history.in_flight(member.owner) for member in stage.team.members)
        if parses and done * 3 >= len(parses) and busy:
            return
        if history.ended or (parses and done == len(parses)):
            raise Missed(f"{done} of {len(parses)} modules were done before both workers were at work: none was killed")
        await asyncio.sleep(LOOK_SECONDS)


async def _kill(stage: Stage, history: History, victim: Member, team: list[Member]) -> tuple[Kill, dict[str, int]]:
    """Freeze, look at the log, kill. Frozen, the victim cannot end a body between the look and the signal."""
    screen, server = stage.screen, stage.server
    for _ in range(FREEZES_MAX):
        await victim.freeze()
        still = await server.still((await server.moment()).now)
        await history.read()
        held = history.in_flight(victim.owner)
        if still and len(held) >= IN_FLIGHT_MIN:
            break
        victim.thaw()
        await asyncio.sleep(LOOK_SECONDS)
    else:
        raise Missed(
            f"{victim.label} had no {IN_FLIGHT_MIN} bodies in flight, or Postgres was at work for it,"
            f" at each of {FREEZES_MAX} looks"
        )
    begun = _begun(history, {member.owner: member.label for member in team})
    done = sum(step.ends for step in history.steps.values())
    screen.step(f"{victim.label} is frozen (SIGSTOP); the log shows {len(held)} bodies of its in flight")
    at = (await server.moment()).now
    code = await stage.team.kill(victim)
    ended = await stage.queue.expire(victim.owner)
    screen.step(f"{victim.label} is killed (kill -9) after {done} steps; the queue is told, as a supervisor would")
    await _handed_on(stage, victim)
    handed_on = ((await server.moment()).now - at) / 1000
    entities = tuple(sorted(step.entity for step in held))
    return Kill(victim.label, victim.pid, code, at, done, entities, ended, handed_on), begun


async def _handed_on(stage: Stage, victim: Member) -> None:
    """Until the queue holds nothing under the victim's name."""
    while await _held(stage, victim):  # noqa: ASYNC110 - another process's doing, told to nobody
        await asyncio.sleep(QUICK_LOOK_SECONDS)


def _begun(history: History, labels: Mapping[str, str]) -> dict[str, int]:
    """Steps begun by each worker so far."""
    counts = dict.fromkeys(labels.values(), 0)
    for step in history.steps.values():
        for start in step.starts:
            counts[labels[start.owner]] += 1
    return counts


async def _held(stage: Stage, victim: Member) -> bool:
    return any(message.owner == victim.owner for message in await stage.queue.peek(QUEUE, PEEK))


async def _until_the_end(stage: Stage, history: History) -> None:
    while not history.ended:
        await asyncio.sleep(LOOK_SECONDS)
        await history.read()
        parses = history.named(parse_module.name)
        stage.screen.progress(sum(step.ends for step in parses), len(parses), "modules")
