"""The judge and what it goes by can fail: logs that were tampered with, wrong results, bodies that nobody started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest
from tests.ordeal.fleet import Fleet
from tests.ordeal.judge import repeats
from tests.ordeal.recovery import recovery, story
from tests.ordeal.verdict import Judgement, Question, judge

from fencepost.client import Client
from fencepost.config import Config
from fencepost.errors import HookNotFound
from fencepost.records import StepCreated, StepStarted, WaitCreated, pack
from fencepost_store.events import Event, EventType
from fencepost_store.migrations import migrate

E = EventType
SECOND = 1_000_000


class Court:
    """Runs that have ended well, and a way to spoil their logs."""

    def __init__(self, fleet: Fleet, admin: Any, runs: list[str]) -> None:
        self.fleet = fleet
        self.admin = admin
        self.runs = runs

    async def verdict(self) -> Judgement:
        """Of a fresh process."""
        checker = "tests.stress.winners:check"
        bodies = str(self.fleet.bodies)
        return await judge(Question(self.fleet.config, "tests.stress.storm_flows", checker, self.runs, bodies))

    async def spoil(self, statement: str) -> set[tuple[str, str]]:
        """Change the first run's log; what is found then, and that nothing was found before or elsewhere."""
        before = await self.verdict()
        assert before.problems == []
        transaction = self.admin.transaction()
        await transaction.start()
        changed = await self.admin.execute(
            statement.replace("events", f"{self.fleet.config.namespace}.events"), self.runs[0]
        )
        await transaction.commit()
        assert not changed.endswith(" 0"), "the log was not changed"
        after = await self.verdict()
        return {("first" if problem.run == self.runs[0] else "other", problem.kind) for problem in after.problems}


@pytest.fixture
async def court(postgres_url: str, valkey_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[Court]:
    """Two storm runs whose races one payload has won."""
    await migrate(postgres_url, namespace)
    config = Config(database_url=postgres_url, redis_url=valkey_url, namespace=namespace, env="test")
    fleet = Fleet(config, "tests.stress.storm_flows", tmp_path)
    admin: Any = await cast(Any, asyncpg).connect(postgres_url)
    try:
        await fleet.boot()
        async with Client(config) as client:
            runs = [await client.start("storm", base, 2, 1_000) for base in ("a", "b")]
            for base in ("a:1", "b:1"):
                await _listening(client, base)
                await client.resume(base, 7)
            for run in runs:
                assert "took 7, 21" in str(await run.result(60))
        yield Court(fleet, admin, [run.id for run in runs])
    finally:
        await admin.close()
        await fleet.end()


async def _listening(client: Client, token: str) -> None:
    while True:
        try:
            await client.hook(token)
        except HookNotFound:
            await asyncio.sleep(0.01)  # its first turn has not been; there is nothing to wait on but time
        else:
            return


async def test_a_gap_is_found(court: Court) -> None:
    """Its last event but one is gone."""
    spoilt = await court.spoil("DELETE FROM events WHERE run_id = $1 AND seq = 5")
    assert spoilt == {("first", "log")}


async def test_an_event_that_came_too_late_for_its_decision_is_found(court: Court) -> None:
    """What unfenced writers do: the winner of a race stands behind what its loser has led to."""
    swapped = (
        "UPDATE events SET seq = -seq WHERE run_id = $1 AND seq = ANY (SELECT seq FROM events WHERE run_id = $1 AND"
        " type = 32)"
    )
    seq = await court.admin.fetchval(
        f"SELECT seq FROM {court.fleet.config.namespace}.events WHERE run_id = $1 AND type = 32", court.runs[0]
    )
    name = f"{court.fleet.config.namespace}.events"
    assert (await court.verdict()).problems == []
    await court.admin.execute(swapped.replace("events", name), court.runs[0])
    await court.admin.execute(f"UPDATE {name} SET seq = {seq} WHERE run_id = $1 AND seq = {seq + 1}", court.runs[0])
    await court.admin.execute(f"UPDATE {name} SET seq = {seq + 1} WHERE run_id = $1 AND seq < 0", court.runs[0])
    assert {(p.run == court.runs[0], p.kind) for p in (await court.verdict()).problems} == {(True, "replay")}


async def test_another_result_is_found(court: Court) -> None:
    """The run's end says other than its winners: the replay sees the same run, the checker does not."""
    text = "UPDATE events SET payload = (SELECT payload FROM events e WHERE e.run_id <> $1 AND e.type = 13 LIMIT 1)"
    assert await court.spoil(f"{text} WHERE run_id = $1 AND type = 3") == {("first", "result")}


async def test_bodies_are_counted(court: Court) -> None:
    """One ran twice under one start, another one under none."""
    ran = court.fleet.bodies.read_text().splitlines()
    mine = next(line for line in ran if line.startswith(court.runs[0]))
    run, entity, attempt = mine.split()
    with court.fleet.bodies.open("a") as bodies:
        bodies.write(f"{run} {entity} {attempt}\n{run} {entity} {int(attempt) + 1}\n")
    assert [(p.run, p.kind) for p in (await court.verdict()).problems] == [(run, "body")] * 2


def _event(
    seq: int, kind: EventType, at: float, entity: str = "", *, attempt: int = 0, due: float | None = None
) -> Event:
    payload = {
        E.step_created: pack(StepCreated("s", b"")),
        E.step_started: pack(StepStarted("w1")),
        E.wait_created: pack(WaitCreated("sleep")),
    }.get(kind, b"")
    when = None if due is None else int(due * SECOND)
    return Event(seq, kind, entity, attempt, int(at * SECOND), when, None, None, payload)


def test_a_start_that_follows_on_a_failure_is_no_repeat() -> None:
    """Two starts with step_retrying between them are as they should be; without it somebody has to answer for it."""
    created = _event(1, E.step_created, 0, "s#1")
    first, second = _event(2, E.step_started, 1, "s#1", attempt=1), _event(4, E.step_started, 5, "s#1", attempt=2)
    assert repeats("r", [created, first, _event(3, E.step_retrying, 2, "s#1", attempt=1), second]) == []
    (found,) = repeats("r", [created, first, second])
    assert (found.worker, found.since, found.until) == ("w1", 1 * SECOND, 5 * SECOND)


STEP = [
    _event(1, E.run_created, 0),
    _event(2, E.step_created, 1, "s#1"),
    _event(3, E.step_started, 1, "s#1", attempt=1),
]
WAIT = [_event(1, E.run_created, 0), _event(2, E.wait_created, 1, "sleep#1", due=9)]


def test_the_story_of_a_slow_run_ends_with_the_first_sign_of_a_worker() -> None:
    """What is older than a minute is left out, and who a step was started by is told."""
    log = [*STEP, _event(4, E.hook_received, 63, "h#1"), _event(5, E.step_completed, 65, "s#1", attempt=1)]
    late = [*log, _event(6, E.run_completed, 66)]
    assert story(late, 62 * SECOND) == ["+1.000 hook_received h#1", "+3.000 step_completed s#1 1"]
    assert story(log[:3], 2 * SECOND) == [
        "-2.000 run_created",
        "-1.000 step_created s#1",
        "-1.000 step_started s#1 1 w1",
    ]


@pytest.mark.parametrize(
    ("log", "owes", "moment", "expected"),
    [
        ([*STEP, _event(4, E.step_completed, 7, "s#1", attempt=1)], [True, False, False, True], 2, (0.0, 5.0)),
        (STEP, [True, False, False], 2, (0.0, float("inf"))),
        ([*WAIT, _event(3, E.wait_completed, 9.5, "sleep#1")], [True, False, True], 5, (4.0, 0.5)),
        ([*WAIT, _event(3, E.wait_completed, 9.5, "sleep#1")], [True, False, True], 2, None),
        ([*WAIT, _event(3, E.wait_completed, 9.5, "sleep#1")], [True, False, True], 0.5, (0.0, 0.5)),
        (WAIT, [True, False], -1, None),
        ([*WAIT, _event(3, E.run_terminated, 4)], [True, False, False], 5, None),
    ],
    ids=["open step", "never moved", "due soon", "due later", "a turn owed", "not there yet", "ended"],
)
def test_recovery_counts_from_when_there_was_something_to_do(
    log: list[Event], owes: list[bool], moment: float, expected: tuple[float, float] | None
) -> None:
    """Within five seconds after the moment."""
    assert recovery(log, owes, int(moment * SECOND), 5 * SECOND) == expected
